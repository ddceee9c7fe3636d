"""What a flowchart must hold as a whole, so that a model can learn it from conversations alone.

Every node lies between the start and an end; every branch shows in the dialogue; the agent never has to say a value
that nobody has told it.
"""

from collections import deque
from collections.abc import Iterable

from subterra.flowchart import Flowchart, Node, Way
from subterra.spec_file import Place, SpecFile
from subterra.text import names

MOST_STATES = 20_000


def check(spec: SpecFile, flowchart: Flowchart) -> None:
    """Note every mistake of a well-formed flowchart in `spec`."""
    if _connected(spec, flowchart):
        for node in flowchart.nodes.values():
            if len(node.ways) > 1:
                _branches_are_named(spec, node)
        spoken = _spoken_before(flowchart)
        _agent_knows_what_it_says(spec, flowchart, spoken)
        _words_name_the_same(spec, flowchart)
        _branches_are_explained(spec, flowchart, spoken)
        _restrictions_agree(spec, flowchart)


def _connected(spec: SpecFile, flowchart: Flowchart) -> bool:
    """Check that there is an end, and that every node lies on a way from the start to one."""
    if not flowchart.ends:
        spec.mistake(("nodes",), "no end: give at least one node `role: end` and an outcome")
        return False
    backwards: dict[str, list[str]] = {name: [] for name in flowchart.nodes}
    for source, target in flowchart.edges:
        backwards[target].append(source)
    forwards = {name: [way.to for way in node.ways] for name, node in flowchart.nodes.items()}
    reached, ending = _reach(forwards, [flowchart.start]), _reach(backwards, flowchart.ends)
    for name in flowchart.nodes:
        if name not in reached:
            spec.mistake(
                ("nodes", name),
                f"'{name}': no way leads here from {flowchart.start}: add one, or take the node out",
            )
        if name not in ending:
            spec.mistake(("nodes", name), f"'{name}': no way leads from here to an end: add one")
    return len(reached) == len(ending) == len(flowchart.nodes)


def _reach(edges: dict[str, list[str]], sources: Iterable[str]) -> set[str]:
    reached, waiting = set(sources), deque(sources)
    while waiting:
        for target in edges[waiting.popleft()]:
            if target not in reached:
                reached.add(target)
                waiting.append(target)
    return reached


def _branches_are_named(spec: SpecFile, node: Node) -> None:
    """Check that no two ways out of a hub have the same `when` (a missing one is a matter of form)."""
    seen: dict[str, str] = {}
    for way in node.ways:
        when = way.when.casefold()
        if when and when in seen:
            spec.mistake(
                (*_place(spec, node, way), "when"),
                f"'{way.when}' is also the way to {seen[when]}: say what sets them apart",
            )
        seen.setdefault(when, way.to)


def _spoken_before(flowchart: Flowchart) -> dict[str, frozenset[str]]:
    """Return for every node the variables whose value was said on every route to it (a forward must-analysis)."""
    everything = frozenset(flowchart.variables)
    spoken = {name: everything for name in flowchart.nodes}
    spoken[flowchart.start] = frozenset()
    waiting = deque([flowchart.start])
    queued = {flowchart.start}
    visited = set()
    while waiting:
        name = waiting.popleft()
        queued.discard(name)
        visited.add(name)
        node = flowchart.nodes[name]
        for way in node.ways:
            known = spoken[way.to] & (spoken[name] | said_on(node, way))
            if known != spoken[way.to] or way.to not in visited:
                spoken[way.to] = known
                if way.to not in queued:
                    queued.add(way.to)
                    waiting.append(way.to)
    return spoken


def said_on(node: Node, way: Way) -> frozenset[str]:
    """Return the variables that are surely said when a node is left by a way."""
    if node.speaker == "agent":
        return frozenset(node.demands)
    lines = way.says or node.says
    return frozenset.intersection(*(frozenset(names(line)) for line in lines)) if lines else frozenset()


def _agent_knows_what_it_says(
    spec: SpecFile, flowchart: Flowchart, spoken: dict[str, frozenset[str]]
) -> None:
    for node in flowchart.nodes.values():
        for name in node.demands:
            if name in flowchart.variables and name not in spoken[node.id]:
                spec.mistake(
                    ("nodes", node.id, "prompt"),
                    f"{{{name}}}: on some route to {node.id} nobody has said it yet: let the customer say it before, or drop it",
                )


def _words_name_the_same(spec: SpecFile, flowchart: Flowchart) -> None:
    """Check phrasings against what they stand for: an agent's against its prompt, a customer's against one another."""
    for node in flowchart.nodes.values():
        if node.speaker == "agent":
            for line in node.says:
                for name in sorted(set(node.demands) - set(names(line))):
                    spec.mistake(
                        _line_place(spec, node, None, line),
                        f"'{line}' does not say {{{name}}}, which the prompt names",
                    )
                for name in sorted(set(names(line)) - set(node.demands)):
                    spec.mistake(
                        _line_place(spec, node, None, line),
                        f"'{line}' says {{{name}}}, which the prompt does not name",
                    )
            continue
        for way in node.ways:
            lines = way.says or node.says
            everything = set().union(*(names(line) for line in lines))
            for line in lines:
                for name in sorted(everything - set(names(line))):
                    spec.mistake(
                        _line_place(spec, node, way if way.says else None, line),
                        f"'{line}' does not say {{{name}}}, as the other phrasings do",
                    )


def _branches_are_explained(spec: SpecFile, flowchart: Flowchart, spoken: dict[str, frozenset[str]]) -> None:
    """Check that a reader of the dialogue alone could tell which way was taken."""
    for node in flowchart.nodes.values():
        if len(node.ways) < 2:
            continue
        if node.role == "user":
            _words_tell_apart(spec, node)
        else:
            _facts_tell_apart(spec, flowchart, node, spoken[node.id] | frozenset(node.demands))


def _words_tell_apart(spec: SpecFile, node: Node) -> None:
    owner: dict[str, str] = {}
    for way in node.ways:
        for line in way.says:
            if owner.setdefault(line.casefold(), way.to) != way.to:
                spec.mistake(
                    _line_place(spec, node, way, line),
                    f"'{line}' is also said on the way to {owner[line.casefold()]}: nothing in the dialogue tells them apart",
                )


def _facts_tell_apart(spec: SpecFile, flowchart: Flowchart, node: Node, known: frozenset[str]) -> None:
    for way in node.ways:
        place = _place(spec, node, way)
        if not way.where:
            spec.mistake(
                place,
                f"{node.id} -> {way.to}: nothing in the dialogue explains this branch: add `where` over a value already said",
            )
        for name in way.where:
            if name not in known:
                spec.mistake(
                    (*place, "where"),
                    f"{node.id} -> {way.to}: {name} may not have been said by then: nothing in the dialogue explains this branch",
                )
    for index, way in enumerate(node.ways):
        for other in node.ways[index + 1 :]:
            if way.where and other.where and _both_hold(flowchart, way, other):
                spec.mistake(
                    _place(spec, node, other),
                    f"{node.id} -> {other.to} and -> {way.to} can both hold: make their `where` exclude each other",
                )


def _both_hold(flowchart: Flowchart, way: Way, other: Way) -> bool:
    return all(
        set(way.where.get(name, flowchart.variables[name]))
        & set(other.where.get(name, flowchart.variables[name]))
        for name in {*way.where, *other.where}
    )


def _restrictions_agree(spec: SpecFile, flowchart: Flowchart) -> None:
    """Check that every `where` can hold on some route, given the restrictions met before it."""
    if not any(way.where for node in flowchart.nodes.values() for way in node.ways):
        return
    start = (flowchart.start, ())
    seen, waiting, taken = {start}, deque([start]), set()
    while waiting and len(seen) < MOST_STATES:
        name, allowed = waiting.popleft()
        for way in flowchart.nodes[name].ways:
            after = restrict(dict(allowed), way.where)
            if after is not None:
                taken.add((name, way.to))
                state = (way.to, tuple(sorted(after.items())))
                if state not in seen:
                    seen.add(state)
                    waiting.append(state)
    if waiting:
        return
    for source, target in flowchart.edges:
        if (source, target) not in taken:
            node = flowchart.nodes[source]
            spec.mistake(
                _place(spec, node, flowchart.way(source, target)),
                f"{source} -> {target}: contradictory `where`: no route gets here with such a draw",
            )


def restrict(
    allowed: dict[str, frozenset[str]], where: dict[str, tuple[str, ...]]
) -> dict[str, frozenset[str]] | None:
    """Return what a draw may still be after a way with `where`, or None where nothing is left."""
    if not where:
        return allowed
    after = dict(allowed)
    for name, values in where.items():
        after[name] = after[name] & frozenset(values) if name in after else frozenset(values)
        if not after[name]:
            return None
    return after


def _place(spec: SpecFile, node: Node, way: Way) -> Place:
    """Find a way in the file as it was written (the canonical order is another one)."""
    written = spec.data["nodes"][node.id]["next"]
    if isinstance(written, str):
        return ("nodes", node.id, "next")
    return (
        "nodes",
        node.id,
        "next",
        next(i for i, entry in enumerate(written) if entry["to"].strip() == way.to),
    )


def _line_place(spec: SpecFile, node: Node, way: Way | None, line: str) -> Place:
    base = _place(spec, node, way) if way else ("nodes", node.id)
    entry = spec.data
    for part in base:
        entry = entry[part]
    written = entry["says"] if isinstance(entry["says"], list) else [entry["says"]]
    return (*base, "says", next(i for i, text in enumerate(written) if " ".join(str(text).split()) == line))
