"""A model as the judge: it sees the procedure, what is true and the transcript, and never whose transcript it is.

What it answers is checked (see verdicts), and asked for again with what is wrong. A dialogue that gets no verdict after
all tries is a row that says why: one bad answer never costs the run.
"""

import json
from collections.abc import Mapping, Sequence
from functools import partial
from itertools import pairwise
from typing import Any

from subterra.errors import printable
from subterra.models import Chat, ContextFull, Reply
from subterra.models.asking import Unanswered
from subterra.prompts import Prompts
from subterra.side_by_side import side_by_side
from subterra.text import digest, readable
from subterra.verdicts import CRITERIA, Unfit, read_verdict

SPEAKERS = {"assistant": "agent", "user": "customer", "tool": "tool"}
CUT = {
    "length": "it is cut off before its end: keep each reason and quote short",
    "refusal": "it refuses to judge: nothing is asked but what the turns are worth",
    "content_filter": "a filter keeps it back: quote other words",
}
NO_VERDICT = {"criteria": [], "challenged": None, "failed": None}


async def judge_dialogue(
    chat: Chat,
    prompts: Prompts,
    procedure: str,
    scenario: Mapping,
    dialogue: Mapping,
    *,
    judge: str,
    temperature: float,
    seed: int,
    max_tokens: int,
    tries: int,
) -> dict:
    """Return the row (see records.JUDGEMENT) of a dialogue with a scenario's customer.

    `procedure` is the flowchart as text, with all that the agent knows by heart; `prompts` are those of the part
    `judge`, `judge` is the model's name, for the row alone. The same transcript is always the same request.
    Raises what stops everything: NoUse, BudgetReached.
    """
    asked = messages = first_request(prompts, procedure, scenario, dialogue)
    replies: list[Reply] = []
    problem = ""
    try:
        for trial in range(tries):
            salt = (seed + trial) % 2**32
            reply = await chat.reply(messages, temperature=temperature, seed=salt, max_tokens=max_tokens, as_json=True)
            replies.append(reply)
            try:
                verdict = read_verdict(reply.text, dialogue["turns"])
            except Unfit as wrong:
                faults = [CUT[reply.finish]] if reply.finish in CUT else wrong.faults
                problem = f"no verdict after {trial + 1} tries: {'; '.join(faults)}"
                mend = prompts.write("repair", faults=faults, criteria=CRITERIA)
                messages = _again(asked, reply.text.strip(), mend)
            else:
                return _row(dialogue, judge, replies, verdict)
    except (Unanswered, ContextFull) as reason:
        problem = printable(f"no answer: {' '.join(str(reason).split())}")
    return _row(dialogue, judge, replies, NO_VERDICT | {"problem": problem})


async def judge_dialogues(
    chat: Chat,
    prompts: Prompts,
    procedure: str,
    scenarios: Sequence[Mapping],
    dialogues: Sequence[Mapping],
    *,
    parallel: int,
    label: str = "judgements",
    **settings: Any,
) -> list[dict]:
    """Return a row for each dialogue, in their order; at most `parallel` are asked for at once.

    `settings` are those of `judge_dialogue`. Where something stops everything, what is on its way is waited for: it is
    paid for, and kept by whoever asks.
    """
    by_id = {scenario["id"]: scenario for scenario in scenarios}
    judging = [
        partial(judge_dialogue, chat, prompts, procedure, by_id[dialogue["id"]], dialogue, **settings)
        for dialogue in dialogues
    ]
    return await side_by_side(judging, parallel, label)


def first_request(prompts: Prompts, procedure: str, scenario: Mapping, dialogue: Mapping) -> list[dict[str, str]]:
    """Return the messages that ask for a verdict. The first is the same for all dialogues of an agent."""
    lines = transcript_lines(dialogue["turns"])
    known = {
        "values": scenario["values"],
        "corrected": scenario["corrected"],
        "answers": [
            {"call": json.loads(turn["call"]), "result": json.loads(answer["content"])}
            for turn, answer in pairwise(scenario["turns"])
            if turn["call"]
        ],
    }
    finished = dialogue["stopped"] == "finished"
    asked = prompts.write("transcript", lines=lines, mark=digest(lines, 8), finished=finished, **known)
    return [
        {"role": "system", "content": prompts.write("system", criteria=CRITERIA, procedure=procedure)},
        {"role": "user", "content": asked},
    ]


def transcript_lines(turns: Sequence[Mapping]) -> list[str]:
    """Return a talk as lines of JSON, one a turn, so that no turn can look like another or like the end of it.

    >>> turn = {"role": "user", "content": "Hi!", "call": "", "nodes": ["greeted"], "values": {}}
    >>> transcript_lines([turn])
    ['{"turn": 0, "speaker": "customer", "text": "Hi!"}']
    """
    return [
        readable({"turn": number, "speaker": SPEAKERS[turn["role"]], **_said(turn)})
        for number, turn in enumerate(turns)
    ]


def _said(turn: Mapping) -> dict:
    if turn["role"] == "tool":
        return {"answers": json.loads(turn["content"])}
    asks = {"asks": json.loads(turn["call"])} if turn.get("call") else {}
    return ({"text": turn["content"]} if turn["content"] or not asks else {}) | asks


def _again(asked: list[dict], answer: str, mend: str) -> list[dict]:
    """Return the messages that ask for a verdict once more; where nothing was answered there is nothing to show."""
    if answer:
        return [*asked, {"role": "assistant", "content": answer}, {"role": "user", "content": mend}]
    *before, last = asked
    return [*before, {**last, "content": f"{last['content']}\n\n{mend}"}]


def _row(dialogue: Mapping, judge: str, replies: Sequence[Reply], verdict: Mapping) -> dict:
    return {
        **{key: dialogue[key] for key in ("id", "split", "condition", "temperature", "trial")},
        "judge": judge,
        "problem": "",
        **verdict,
        "calls": len(replies),
        **{key: sum(getattr(reply, key) for reply in replies) for key in ("tokens_in", "tokens_out", "dollars")},
    }
