"""Where an agent went wrong: by node, by way out of a hub, and by what was heard instead, with talks that show it."""

from collections import Counter, defaultdict
from collections.abc import Iterable
from itertools import pairwise

from subterra.flowchart import Flowchart
from subterra.report.inputs import Key, Run, key_of
from subterra.statistics import wilson

MOST = 8
SHOWN = 3  # talks for each

Edge = tuple[str, str]


def rates(flowchart: Flowchart, scores: Iterable[dict]) -> dict[str, dict[str, tuple[int, int]]]:
    """Return how often the agent did right: {"nodes": {id: (right, asked)}, "edges": {"a->b": ...}}.

    A step counts for every node that was expected, for the edge from the customer's last node to the
    first of them, and for the edges inside the run. Nodes and edges of the customer are not judged and
    do not appear.
    """
    right: Counter = Counter()
    asked: Counter = Counter()
    for score in scores:
        for step in score["steps"]:
            for place in _places(flowchart, step):
                asked[place] += 1
                right[place] += step["legal"]
    return {
        "nodes": {key: (right[key], asked[key]) for key in asked if isinstance(key, str)},
        "edges": {"->".join(key): (right[key], asked[key]) for key in asked if not isinstance(key, str)},
    }


def worst_nodes(flowchart: Flowchart, run: Run) -> list[dict]:
    """Return the agent's nodes with the most failures, at most MOST.

    Rows of {place, when, right, asked, low, high, heard, talks}; `heard` is what was heard most often instead.
    """
    return _worst(flowchart, run, lambda place: isinstance(place, str) and place in flowchart.nodes)


def worst_ways(flowchart: Flowchart, run: Run) -> list[dict]:
    """Return the ways out of hubs with the most failures, in that shape; `when` is what the spec says of the way."""
    return _worst(flowchart, run, lambda place: isinstance(place, tuple) and place[0] in flowchart.hubs)


def mistakes(run: Run | None) -> list[dict]:
    """Return the most frequent wrong steps of a run: {after, expected, heard, count, talks}."""
    wrong = defaultdict(list)
    for score in run.scores if run else ():
        for step in score["steps"]:
            if not step["legal"]:
                wrong[step["after"], step["expected"], step["heard"]].append(key_of(score))
    ranked = sorted(wrong.items(), key=lambda item: (-len(item[1]), item[0]))[:MOST]
    return [
        {"after": a.replace("|", " or "), "expected": e, "heard": h, "count": len(keys), "talks": _some(keys)}
        for (a, e, h), keys in ranked
    ]


def _worst(flowchart: Flowchart, run: Run, wanted) -> list[dict]:
    asked: Counter = Counter()
    heard: dict = defaultdict(Counter)
    talks: dict = defaultdict(list)
    for score in run.scores:
        for step in score["steps"]:
            for place in filter(wanted, _places(flowchart, step)):
                asked[place] += 1
                if not step["legal"]:
                    heard[place][step["heard"]] += 1
                    talks[place].append(key_of(score))
    ranked = sorted(talks, key=lambda place: (-len(talks[place]), asked[place], place))[:MOST]
    return [_told(flowchart, place, asked[place], heard[place], talks[place]) for place in ranked]


def _told(flowchart: Flowchart, place: str | Edge, asked: int, heard: Counter, talks: list[Key]) -> dict:
    right = asked - len(talks)
    low, high = wilson(right, asked)
    return {
        "place": place if isinstance(place, str) else " → ".join(place),
        "when": "" if isinstance(place, str) else flowchart.way(*place).when,
        "right": right,
        "asked": asked,
        "low": 100 * low,
        "high": 100 * high,
        "heard": min(heard, key=lambda name: (-heard[name], name)),
        "talks": _some(talks),
    }


def _some(keys: list[Key]) -> list[Key]:
    return list(dict.fromkeys(keys))[:SHOWN]


def _places(flowchart: Flowchart, step: dict) -> list[str | Edge]:
    """Return the nodes and the edges that a step was to go along."""
    run = [name for name in step["expected"].split("+") if name in flowchart.nodes]
    if step["call_expected"]:
        run += _tools_after(flowchart, run[-1] if run else step["after"])
    # After a customer that a model plays, several nodes may have been meant; a way is known where only one leads on.
    before = [name for name in step["after"].split("|") if run and (name, run[0]) in flowchart.edges]
    chain = [*before, *run] if len(before) == 1 else run
    pairs = {pair for pair in pairwise(chain) if pair in flowchart.edges}
    return [*dict.fromkeys(run), *sorted(pairs)]


def _tools_after(flowchart: Flowchart, name: str) -> list[str]:
    ways = flowchart.nodes[name].ways if name in flowchart.nodes else ()
    return [way.to for way in ways if flowchart.speaks(way.to) == "tool"]
