"""Whether an agent kept to its procedure, judged by machine, with a sentence that a person can check.

The scenario's customer says the same whatever the agent answers, so the flowchart demands the same node
run (agent nodes up to the next customer turn, tool or end) after each of the customer's turns and after each tool's
answer, however far the agent has strayed: every agent turn is judged on its own, and the walk finds its way back with
the customer's next words. A customer that a model plays says what it likes: there a turn is legal that may come after
any of its ways (see free_walk).
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence

from subterra.demands import Demand, Run, call_of, demanded_values, expected_runs, is_due, label
from subterra.flowchart import HEARD, OLD, Flowchart
from subterra.free_walk import FreeWalk, interrupts
from subterra.records import NOTHING, SCRIPTED
from subterra.text import names, readable


def score_dialogue(flowchart: Flowchart, scenario: dict, dialogue: dict, matched: Sequence[tuple[str, float]]) -> dict:
    """Return the score row (see records.SCORE) of a dialogue with a scenario's customer.

    `matched` holds what a matcher heard, (label or "?", confidence) for each agent turn in order;
    ValueError where their numbers differ. Turns are counted from 0, as in the dialogue. An agent turn of
    which nothing is demanded (an answer after an end without words) is not judged.
    """
    if dialogue["customer"] != SCRIPTED:
        return _score_freely(flowchart, scenario, dialogue, matched)
    demands = expected_runs(flowchart, scenario)
    by_place = {demand.place: demand for demand in demands}
    judged = []
    for index, place, (heard, confidence) in _agent_turns(dialogue, matched):
        demand = by_place.get(place)
        if demand and is_due(flowchart, demand.runs[0]):
            judged.append(Judged(flowchart, demand, dialogue["turns"][index], index, heard, float(confidence)))
    complete = _complete(flowchart, demands, dialogue, len(judged))
    reached = _outcome(flowchart, demands, dialogue, judged)
    asked = sum(name.endswith(HEARD) for name in scenario["nodes"])
    handled = _handled(flowchart, scenario, judged)
    return _row(flowchart, scenario, dialogue, judged, complete, reached, (handled, asked))


def _score_freely(flowchart: Flowchart, scenario: dict, dialogue: dict, matched: Sequence[tuple[str, float]]) -> dict:
    walk, judged, reached = FreeWalk(flowchart, scenario), [], None
    for number, (index, _, (heard, confidence)) in enumerate(_agent_turns(dialogue, matched), 1):
        if (demand := walk.demand()) is None:
            break
        one = Judged(flowchart, demand, dialogue["turns"][index], index, heard, float(confidence))
        # The customer may have left without an answer: then these words are none that a node demands.
        if not one.step["legal"] and number == len(matched) and (reached := walk.may_have_ended()):
            break
        one.step["after"] = interrupts(one.run) or one.step["after"]
        judged.append(one)
        walk.take(one.run, one.step["legal"], one.step["heard"])
    if dialogue["stopped"] == "finished" and dialogue["turns"][-1]["role"] == "user":
        reached = walk.may_have_ended()
    reached = reached or _end_of(flowchart, judged)
    handled = sum(bool(interrupts(one.run)) and one.step["legal"] for one in judged)
    told = sum(bool(interrupts(one.run)) for one in judged)
    return _row(flowchart, scenario, dialogue, judged, reached is not None, reached, (handled, told))


class Judged:
    """One agent turn beside what was demanded: the run it is taken for, and what it lacks."""

    def __init__(self, flowchart: Flowchart, demand: Demand, turn: Mapping, index: int, heard: str, confidence: float):
        heard = heard if turn["content"].strip() else ""
        self.demand, self.run = demand, _chosen(flowchart, demand, heard, bool(turn["call"]))
        expected = label(flowchart, self.run)
        called = call_of(flowchart, self.run, demand.values)
        made = json.loads(turn["call"]) if turn["call"] else {}
        self.values = demanded_values(flowchart, self.run, demand.values)
        self.lacking = [name for name in self.values if not says(turn["content"], demand.values[name])]
        self.arguments = called.get("arguments", {})
        given = made.get("arguments", {}) if made.get("name") == called.get("name") else {}
        self.wrong = [name for name, value in self.arguments.items() if given.get(name) != value]
        templates = [flowchart.step(self.run[-1]).call.arguments[name] for name in self.wrong]
        self.misused = {*self.lacking, *(name for template in templates for name in names(template))}
        self.step = {
            "turn": index,
            "after": demand.after,
            "expected": expected,
            "heard": heard,
            "confidence": confidence,
            "legal": expected == heard and called == made,
            "values_missing": [f"{name}={demand.values[name]}" for name in self.lacking],
            "call_expected": readable(called) if called else "",
            "call_made": turn["call"],
        }


def score_dialogues(flowchart: Flowchart, scenarios: Sequence[dict], dialogues: Sequence[dict], matcher) -> list[dict]:
    """Return a score row for each dialogue, in their order; `matcher` hears all agent turns at once."""
    by_id = {scenario["id"]: scenario for scenario in scenarios}
    texts = [[t["content"] for t in talk["turns"] if t["role"] == "assistant"] for talk in dialogues]
    heard = iter(matcher.match_all([text for said in texts for text in said]))
    return [
        score_dialogue(flowchart, by_id[talk["id"]], talk, [next(heard) for _ in said])
        for talk, said in zip(dialogues, texts, strict=True)
    ]


def says(text: str, value: str) -> bool:
    """Tell whether a text says a value as whole words or a whole number, in large or small letters.

    >>> says("That is 1,500 dollars.", "1500"), says("That is 50 dollars.", "5")
    (True, False)
    """
    pattern = rf"(?<!\w)(?<!\d[.,]){re.escape(_plain(value))}(?!\w)(?![.,]\d)"
    return re.search(pattern, _plain(text)) is not None


def _plain(text: str) -> str:
    """Return small letters, single spaces, and numbers without commas between thousands."""
    return re.sub(r"(?<=\d),(?=\d{3}(?!\d))", "", " ".join(text.split()).casefold())


def _agent_turns(
    dialogue: dict, matched: Sequence[tuple[str, float]]
) -> Iterator[tuple[int, tuple[int, int], tuple[str, float]]]:
    """Yield (index, place as in a Demand, what was heard) for each agent turn."""
    heard = iter(matched)
    said = asked = agent = 0
    for index, turn in enumerate(dialogue["turns"]):
        if turn["role"] == "user":
            said, asked = said + 1, 0
        elif turn["role"] == "tool":
            asked += 1
        else:
            agent += 1
            if agent <= len(matched):
                yield index, (said, asked), next(heard)
    if agent != len(matched):
        raise ValueError(f"{agent} agent turns and {len(matched)} of them heard")


def _chosen(flowchart: Flowchart, demand: Demand, heard: str, called: bool) -> Run:
    """Return the demanded run that was heard, with or without a call; the scenario's own where it was none of them."""
    same = [run for run in demand.runs if label(flowchart, run) == heard]
    return next((run for run in same if bool(flowchart.step(run[-1]).call) == called), [*same, demand.runs[0]][0])


def _complete(flowchart: Flowchart, demands: list[Demand], dialogue: dict, judged: int) -> bool:
    """Tell whether all the customer's words were said, and answered wherever an answer is due."""
    return _customer_turns(dialogue) == demands[-1].place[0] and judged == sum(
        is_due(flowchart, demand.runs[0]) for demand in demands
    )


def _customer_turns(dialogue: dict) -> int:
    return sum(turn["role"] == "user" for turn in dialogue["turns"])


def _outcome(flowchart: Flowchart, demands: list[Demand], dialogue: dict, judged: list[Judged]) -> str | None:
    """Return the outcome of the last end that was reached, None for none.

    An end without words is reached by the legal turn before it, or by the customer who leads there.
    """
    last = demands[-1]
    if last.runs[0] and not is_due(flowchart, last.runs[0]) and _customer_turns(dialogue) == last.place[0]:
        return flowchart.nodes[last.runs[0][-1]].outcome
    return _end_of(flowchart, judged)


def _end_of(flowchart: Flowchart, judged: list[Judged]) -> str | None:
    """Return the outcome of the last end that was heard, None for none."""
    for one in reversed(judged):
        node = flowchart.nodes.get(one.run[-1] if one.step["legal"] else one.step["heard"].split("+")[-1])
        if node is not None and node.role == "end":
            return node.outcome
    return None


def _handled(flowchart: Flowchart, scenario: dict, judged: list[Judged]) -> int:
    """Return how many interruptions the agent dealt with: answered as demanded, a corrected value used ever after."""
    handled = 0
    for number, answer in enumerate(judged):
        if answer.demand.after.endswith(HEARD):
            heeded = answer.step["legal"] and not answer.lacking
            if OLD in answer.demand.values:
                heeded = heeded and not any(one.misused & scenario["corrected"].keys() for one in judged[number:])
            handled += heeded
    return handled


def _row(
    flowchart: Flowchart,
    scenario: dict,
    dialogue: dict,
    judged: list[Judged],
    complete: bool,
    reached: str | None,
    interruptions: tuple[int, int],
) -> dict:
    steps = [one.step for one in judged]
    wrong = [step for step in steps if not step["legal"]]
    facts = [name in flowchart.knowledge for one in judged for name in one.values]
    no_facts = [name in flowchart.knowledge for one in judged for name in one.lacking]
    values_total, values_missing = facts.count(False), no_facts.count(False)
    arguments = sum(len(one.arguments) for one in judged)
    turns = dialogue["turns"]
    row = {
        **{key: dialogue[key] for key in ("id", "split", "condition", "temperature", "trial")},
        "conforming": complete and not wrong,
        "outcome_expected": scenario["outcome"],
        "outcome_reached": reached,
        "outcome_correct": reached == scenario["outcome"],
        "legal_steps": len(steps) - len(wrong),
        "steps_total": len(steps),
        "first_wrong": wrong[0]["turn"] if wrong else None,
        "values_total": values_total,
        "values_correct": values_total - values_missing,
        "facts_total": facts.count(True),
        "facts_correct": facts.count(True) - no_facts.count(True),
        "arguments_total": arguments,
        "arguments_correct": arguments - sum(len(one.wrong) for one in judged),
        "interruptions_total": interruptions[1],
        "interruptions_handled": interruptions[0],
        "turns": len(turns),
        **{key: sum((turn[key] for turn in turns), none) for key, none in NOTHING.items()},
        "steps": steps,
    }
    return row | {"justification": _justification(row, complete, dialogue["stopped"])}


def _justification(row: dict, complete: bool, stopped: str) -> str:
    """Return one sentence: the first wrong turn, else why the talk broke off, else what went well."""
    steps = row["steps"]
    for step in steps:
        if not step["legal"]:
            return _wrong_step(step)
    if not complete:
        return f"The talk broke off ({stopped}) after {len(steps)} legal agent turns, before an end was reached."
    said, total = (row[f"values_{key}"] + row[f"facts_{key}"] for key in ("correct", "total"))
    spoken = f"{said} of {total} values were said" if total else "no value had to be said"
    lost = next((step for step in steps if step["values_missing"]), None)
    where = f" (first missing: {lost['values_missing'][0]} in turn {lost['turn']})" if lost else ""
    return f"All {len(steps)} agent turns were legal up to the end ({row['outcome_reached']}), and {spoken}{where}."


def _wrong_step(step: dict) -> str:
    after = f"after {step['after']}" if step["after"] else "at the start"
    if step["heard"] == step["expected"]:
        asked, made = (step[key] or "no call" for key in ("call_expected", "call_made"))
        return f"Turn {step['turn']}: expected {asked} {after}, got {made}."
    heard = "nothing known" if step["heard"] == "?" else step["heard"] or "a call without words"
    expected = step["expected"] or "a call without words"
    return f"Turn {step['turn']}: expected {expected} {after}, heard {heard} ({step['confidence']:.2f})."
