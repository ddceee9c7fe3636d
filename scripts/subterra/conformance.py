"""Whether an agent kept to its procedure, judged by machine, with a sentence that a person can check.

The scenario's customer says the same whatever the agent answers, so the flowchart demands the same node
run (agent nodes up to the next customer turn or end) after each of the customer's turns, however far the
agent has strayed: every agent turn is judged on its own, and the walk finds its way back with the
customer's next words.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from subterra.flowchart import Flowchart

MOST_RUNS = 1_000

Run = tuple[str, ...]


@dataclass(frozen=True)
class Demand:
    """What the agent has to do after a customer turn: one of `runs`, the scenario's own first.

    A run holds node ids, an end without words included. `after` is the customer's last node, "" at the start.
    """

    after: str
    runs: tuple[Run, ...]


def expected_runs(flowchart: Flowchart, scenario: dict) -> list[Demand]:
    """Return what is demanded before the customer's first turn and after each one (one entry more).

    `runs` is ((),) where nothing is demanded: before the first words of a customer who opens the talk.
    """
    return [
        Demand(
            after,
            tuple(dict.fromkeys([own, *_legal_runs(flowchart, own[0], scenario["values"])] if own else [()])),
        )
        for after, own in _own_runs(flowchart, scenario["nodes"])
    ]


def label(flowchart: Flowchart, run: Run) -> str:
    """Return the nodes of a run that speak, joined by "+": the name under which a matcher hears it."""
    return "+".join(node for node in run if flowchart.speaks(node) == "agent")


def score_dialogue(flowchart: Flowchart, scenario: dict, dialogue: dict, matched: Sequence[tuple[str, float]]) -> dict:
    """Return the score row (see records.SCORE) of a dialogue with a scenario's customer.

    `matched` holds what a matcher heard, (label or "?", confidence) for each agent turn in order;
    ValueError where their numbers differ. Turns are counted from 0, as in the dialogue. An agent turn of
    which nothing is demanded (an answer after an end without words) is not judged.
    """
    demands = expected_runs(flowchart, scenario)
    steps, chosen = [], []
    for index, said, (heard, confidence) in _agent_turns(dialogue, matched):
        demand = demands[said] if said < len(demands) else Demand("", ((),))
        if label(flowchart, demand.runs[0]):
            run = _chosen(flowchart, demand, heard)
            chosen.append(run)
            steps.append(
                _step(flowchart, scenario, dialogue["turns"][index]["content"], run)
                | {
                    "turn": index,
                    "after": demand.after,
                    "heard": heard,
                    "confidence": float(confidence),
                    "legal": label(flowchart, run) == heard,
                }
            )
    complete = _complete(flowchart, demands, dialogue, len(steps))
    reached = _outcome(flowchart, demands, dialogue, steps, chosen)
    return _row(flowchart, scenario, dialogue, steps, chosen, complete, reached)


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


def _own_runs(flowchart: Flowchart, path: Sequence[str]) -> list[tuple[str, Run]]:
    """Cut a path at its customer turns: (customer's last node before, the agent's nodes)."""
    found: list[tuple[str, list[str]]] = [("", [])]
    for before, node in pairwise(["", *path]):
        if flowchart.speaks(node) != "user":
            found[-1][1].append(node)
        elif before and flowchart.speaks(before) == "user":
            found[-1] = (node, [])
        else:
            found.append((node, []))
    return [(after, tuple(run)) for after, run in found]


def _legal_runs(flowchart: Flowchart, first: str, values: dict[str, str]) -> list[Run]:
    """Return the runs of agent nodes from `first` that the draw allows, no edge twice, at most MOST_RUNS."""
    found: list[Run] = []
    waiting: list[Run] = [(first,)]
    while waiting and len(found) < MOST_RUNS:
        run = waiting.pop()
        taken = set(pairwise(run))
        node = flowchart.nodes[run[-1]]
        if not node.ways or any(flowchart.speaks(way.to) == "user" and _fits(way, values) for way in node.ways):
            found.append(run)
        for way in node.ways:
            if flowchart.speaks(way.to) != "user" and _fits(way, values) and (run[-1], way.to) not in taken:
                waiting.append((*run, way.to))
    return found


def _fits(way, values: dict[str, str]) -> bool:
    return all(values.get(name, allowed[0]) in allowed for name, allowed in way.where.items())


def _agent_turns(dialogue: dict, matched: Sequence[tuple[str, float]]) -> Iterator[tuple[int, int, tuple[str, float]]]:
    """Yield (index, customer turns before it, what was heard) for each agent turn."""
    agent = [index for index, turn in enumerate(dialogue["turns"]) if turn["role"] == "assistant"]
    for index, heard in zip(agent, matched, strict=True):
        yield index, sum(turn["role"] == "user" for turn in dialogue["turns"][:index]), heard


def _chosen(flowchart: Flowchart, demand: Demand, heard: str) -> Run:
    """Return the demanded run that was heard; the scenario's own where it was none of them."""
    return next((run for run in demand.runs if label(flowchart, run) == heard), demand.runs[0])


def _step(flowchart: Flowchart, scenario: dict, text: str, run: Run) -> dict:
    missing = [
        f"{name}={scenario['values'][name]}"
        for name in _demanded_values(flowchart, scenario, run)
        if not says(text, scenario["values"][name])
    ]
    return {"expected": label(flowchart, run), "values_missing": missing}


def _demanded_values(flowchart: Flowchart, scenario: dict, run: Run) -> list[str]:
    """Return the variables that a run has to say, each once."""
    demanded = dict.fromkeys(name for node in run for name in flowchart.nodes[node].demands)
    return [name for name in demanded if name in scenario["values"]]


def _complete(flowchart: Flowchart, demands: list[Demand], dialogue: dict, judged: int) -> bool:
    """Tell whether all the customer's words were said, and answered wherever an answer is due."""
    customer = sum(turn["role"] == "user" for turn in dialogue["turns"])
    due = sum(bool(label(flowchart, demand.runs[0])) for demand in demands)
    return customer == len(demands) - 1 and judged == due


def _outcome(
    flowchart: Flowchart, demands: list[Demand], dialogue: dict, steps: list[dict], chosen: list[Run]
) -> str | None:
    """Return the outcome of the last end that was reached, None for none.

    An end without words is reached by the legal turn before it, or by the customer who leads there.
    """
    last = demands[-1].runs[0]
    customer = sum(turn["role"] == "user" for turn in dialogue["turns"])
    if last and not label(flowchart, last) and customer == len(demands) - 1:
        return flowchart.nodes[last[-1]].outcome
    for step, run in reversed(list(zip(steps, chosen, strict=True))):
        node = flowchart.nodes.get(run[-1] if step["legal"] else step["heard"].split("+")[-1])
        if node is not None and node.role == "end":
            return node.outcome
    return None


def _row(
    flowchart: Flowchart,
    scenario: dict,
    dialogue: dict,
    steps: list[dict],
    chosen: list[Run],
    complete: bool,
    reached: str | None,
) -> dict:
    wrong = [step for step in steps if not step["legal"]]
    total = sum(len(_demanded_values(flowchart, scenario, run)) for run in chosen)
    missing = sum(len(step["values_missing"]) for step in steps)
    turns = dialogue["turns"]
    return {
        **{key: dialogue[key] for key in ("id", "split", "condition", "temperature")},
        "conforming": complete and not wrong,
        "outcome_expected": scenario["outcome"],
        "outcome_reached": reached,
        "outcome_correct": reached == scenario["outcome"],
        "legal_steps": len(steps) - len(wrong),
        "steps_total": len(steps),
        "first_wrong": wrong[0]["turn"] if wrong else None,
        "values_total": total,
        "values_correct": total - missing,
        "turns": len(turns),
        **{key: sum(turn[key] for turn in turns) for key in ("tokens_in", "tokens_out", "seconds")},
        "steps": steps,
        "justification": _justification(steps, complete, reached, total - missing, total, dialogue["stopped"]),
    }


def _justification(steps: list[dict], complete: bool, reached: str | None, said: int, values: int, stopped: str) -> str:
    """Return one sentence: the first wrong turn, else why the talk broke off, else what went well."""
    for step in steps:
        if not step["legal"]:
            after = f"after {step['after']}" if step["after"] else "at the start"
            heard = "nothing known" if step["heard"] == "?" else step["heard"]
            sure = f"{step['confidence']:.2f}"
            return f"Turn {step['turn']}: expected {step['expected']} {after}, heard {heard} ({sure})."
    if not complete:
        return f"The talk broke off ({stopped}) after {len(steps)} legal agent turns, before an end was reached."
    spoken = f"{said} of {values} values were said" if values else "no value had to be said"
    lost = next((step for step in steps if step["values_missing"]), None)
    where = f" (first missing: {lost['values_missing'][0]} in turn {lost['turn']})" if lost else ""
    return f"All {len(steps)} agent turns were legal up to the end ({reached}), and {spoken}{where}."
