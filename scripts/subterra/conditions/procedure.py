"""The whole flowchart as a text that a model can follow: what the in-context condition puts into its system prompt."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby

from subterra.flowchart import Fact, Flowchart, Interruption, Node, Way
from subterra.text import names, readable

WHO = {"agent": "you speak", "user": "the customer speaks", "tool": "you call a tool", "end": "the talk ends"}
FEW = 3  # values in a row that are told one by one


def procedure_text(flowchart: Flowchart) -> str:
    """Return all that the flowchart says: every node, way, tool, end, interruption and fact."""
    order = _in_order(flowchart)
    blocks = [_opening(flowchart)]
    blocks += ["\n".join(_node(flowchart, flowchart.nodes[name])) for name in order]
    if flowchart.interruptions:
        blocks.append("\n".join(_interruptions(flowchart.interruptions.values())))
    if flowchart.knowledge:
        blocks.append("\n".join(["You know by heart:", *fact_lines(flowchart.knowledge)]))
    return "\n\n".join(blocks)


def _in_order(flowchart: Flowchart) -> list[str]:
    """Return the nodes as they may come, from the start on."""
    found = [flowchart.start]
    for name in found:
        found += [way.to for way in flowchart.nodes[name].ways if way.to not in found]
    return found + [name for name in flowchart.nodes if name not in found]


def fact_lines(facts: Mapping[str, Fact]) -> list[str]:
    """Return what is known by heart, a line a fact, and where it depends on a variable a line for each value."""
    lines = []
    for name, fact in facts.items():
        if fact.of:
            lines.append(f"- {{{name}}} depends on {{{fact.of}}}:")
            lines += [f"  - {value}: {text}" for value, text in fact.texts.items()]
        else:
            lines.append(f"- {{{name}}}: {fact.texts['']}")
    return lines


def reason(flowchart: Flowchart, way: Way) -> str:
    """Return when a way is taken, "" where nothing is said of it."""
    told = [f"{{{name}}} is {_values(allowed, flowchart.variables[name])}" for name, allowed in way.where.items()]
    return f"{way.when} ({'; '.join(told)})" if way.when and told else way.when or "; ".join(told)


def _opening(flowchart: Flowchart) -> str:
    who = {"agent": "you speak first", "user": "the customer speaks first", "tool": "you call a tool first"}
    lines = [f"{flowchart.title}: the procedure. It begins at {flowchart.start}: {who[flowchart.opens]}."]
    if _braces(flowchart):
        lines.append(
            "A name in braces, such as {" + _braces(flowchart)[0] + "}, stands for what the customer or a tool said of "
            "it, or for what you know by heart: say that in its place."
        )
    return "\n".join(lines)


def _braces(flowchart: Flowchart) -> list[str]:
    said = [name for node in flowchart.nodes.values() for name in (*names(node.prompt), *node.asks)]
    return said + [name for one in flowchart.interruptions.values() for name in names(one.prompt)]


def _node(flowchart: Flowchart, node: Node) -> list[str]:
    lines = [f"{node.id} ({WHO[node.role]}{', outcome: ' + node.outcome if node.role == 'end' else ''})"]
    if node.prompt:
        lines[0] += f": {node.prompt}"
    if node.call:
        lines[0] += f": {readable({'name': node.call.name, 'arguments': node.call.arguments})}"
    return lines + [f"- {_way(flowchart, node, way)}" for way in node.ways]


def _way(flowchart: Flowchart, node: Node, way: Way) -> str:
    told = reason(flowchart, way)
    if node.role == "tool":
        answer = f"it answers {readable(way.result)}"
        told = f"{told}: {answer}" if told else answer
    return f"if {told}: go to {way.to}" if told else f"then go to {way.to}"


def _interruptions(found: Iterable[Interruption]) -> list[str]:
    lines = ["Whenever you wait for the customer, something else may come instead:"]
    for one in found:
        when = f"{one.id}: if {one.when}" if one.when else one.id
        corrects = " ".join(f"{{{name}}}" for name in one.corrects)
        when += f" (of {corrects}; {{old}} is what it takes back, {{new}} holds from then on)" if corrects else ""
        lines.append(
            f"- {when}: go to {one.to}"
            if one.to
            else f"- {when}: {one.prompt} Then wait at the same place for what was due."
        )
    return lines


def _values(allowed: Sequence[str], pool: Sequence[str]) -> str:
    """Return values for people, numbers that follow one another as a span.

    >>> _values(["2", "3", "4", "5", "9"], [str(number) for number in range(12)])
    '2 to 5 or 9'
    """
    if not all(value.lstrip("-").isdigit() for value in pool):
        return " or ".join(allowed)
    place = {value: number for number, value in enumerate(sorted(pool, key=int))}
    ordered = sorted(allowed, key=int)
    spans = []
    for _, run in groupby(enumerate(ordered), key=lambda at: place[at[1]] - at[0]):
        values = [value for _, value in run]
        spans += [f"{values[0]} to {values[-1]}"] if len(values) > FEW else values
    return " or ".join(spans)
