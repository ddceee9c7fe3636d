"""Where the boxes and edges of a flowchart's picture lie: layers from top to bottom, as Sugiyama has them.

Edges that lead downwards go from layer to layer through narrow places of their own; edges that lead back,
and those that skip many layers, leave through the gap below their box, run beside everything in a lane of
their own and come back through the gap above their target. So no edge runs through a box. Nothing recurses.
"""

from bisect import bisect_right, insort
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

LONGEST = 12  # layers a downward edge may cross before it takes the side lane
SWEEPS = 8
SPACE, BEND, TRACK, LANE, LABEL = 26, 44, 17, 16, 15

Edge = tuple[str, str]
Place = str | tuple[Edge, int]  # a node, or an edge on its way through a layer


@dataclass
class Layout:
    """Centres of the boxes, points of the edges, centres of their labels, size of the whole; in pixels."""

    centres: dict[str, tuple[float, float]] = field(default_factory=dict)
    down: dict[Edge, list[tuple[float, float]]] = field(default_factory=dict)  # vertical tangents at every point
    side: dict[Edge, list[tuple[float, float]]] = field(default_factory=dict)  # right angles
    labels: dict[Edge, tuple[float, float]] = field(default_factory=dict)
    width: float = 0
    height: float = 0


def lay_out(
    start: str,
    ways: Mapping[str, Sequence[str]],
    widths: Mapping[str, float],
    labels: Mapping[Edge, float],
    height: float,
) -> Layout:
    """Lay out the graph `ways` (node -> targets), given the widths of the boxes and of the edges' labels."""
    edges = list(dict.fromkeys((a, b) for a, targets in ways.items() for b in targets))
    layer = layers(start, ways)
    down = [(a, b) for a, b in edges if 0 < layer[b] - layer[a] <= LONGEST]
    side = [edge for edge in edges if not 0 < layer[edge[1]] - layer[edge[0]] <= LONGEST]
    rows, chains = _rows(layer, down)
    up, below = _neighbours(chains)
    rows = _untangle(rows, up, below)
    room = _rooms(rows, chains, widths, labels)
    x = _abreast(rows, up, below, room)
    return _draw(rows, x, chains, side, layer, widths, labels, height)


def layers(start: str, ways: Mapping[str, Sequence[str]]) -> dict[str, int]:
    """Return every node's layer: the longest way from the start, edges that lead back left out.

    >>> layers("a", {"a": ["b", "c"], "b": ["c", "a"], "c": []})
    {'a': 0, 'b': 1, 'c': 2}
    """
    order, back = _depth_first(start, ways)
    layer = dict.fromkeys(order, 0)
    for node in order:
        for target in ways[node]:
            if (node, target) not in back:
                layer[target] = max(layer[target], layer[node] + 1)
    return layer


def _depth_first(start: str, ways: Mapping[str, Sequence[str]]) -> tuple[list[str], set[Edge]]:
    """Return the nodes in topological order, and the edges back to a node that is still open."""
    finished: list[str] = []
    state: dict[str, int] = {}
    back: set[Edge] = set()
    for root in (start, *ways):
        stack = [] if root in state else [(root, iter(ways[root]))]
        state.setdefault(root, 1)
        while stack:
            node, targets = stack[-1]
            target = next(targets, None)
            if target is None:
                state[node] = 2
                finished.append(node)
                stack.pop()
            elif target not in state:
                state[target] = 1
                stack.append((target, iter(ways[target])))
            elif state[target] == 1:
                back.add((node, target))
    return finished[::-1], back


def _rows(layer: Mapping[str, int], down: list[Edge]) -> tuple[list[list[Place]], dict[Edge, list[Place]]]:
    rows: list[list[Place]] = [[] for _ in range(max(layer.values()) + 1)]
    chains: dict[Edge, list[Place]] = {}
    for node, depth in layer.items():
        rows[depth].append(node)
    for edge in down:
        middle = range(layer[edge[0]] + 1, layer[edge[1]])
        for depth in middle:
            rows[depth].append((edge, depth))
        chains[edge] = [edge[0], *((edge, depth) for depth in middle), edge[1]]
    return rows, chains


def _neighbours(chains: Mapping[Edge, list[Place]]) -> tuple[dict, dict]:
    up: dict[Place, list[Place]] = {}
    below: dict[Place, list[Place]] = {}
    for chain in chains.values():
        for upper, lower in pairwise(chain):
            below.setdefault(upper, []).append(lower)
            up.setdefault(lower, []).append(upper)
    return up, below


def _untangle(rows: list[list[Place]], up: dict, below: dict) -> list[list[Place]]:
    """Order each row by the barycentre of its neighbours, down and up; keep the one with fewest crossings."""
    best, fewest = [list(row) for row in rows], _crossings(rows, below)
    for sweep in range(SWEEPS):
        if not fewest:
            break
        neighbours, order = (up, rows) if sweep % 2 == 0 else (below, rows[::-1])
        for before, row in pairwise(order):
            at = {place: index for index, place in enumerate(before)}
            own = {place: index for index, place in enumerate(row)}
            row.sort(key=lambda place: _mean([at[n] for n in neighbours.get(place, ())], own[place]))
        found = _crossings(rows, below)
        if found < fewest:
            best, fewest = [list(row) for row in rows], found
    return best


def _mean(values: Sequence[float], otherwise: float) -> float:
    return sum(values) / len(values) if values else otherwise


def _crossings(rows: list[list[Place]], below: dict) -> int:
    """Count the pairs of edges between neighbouring rows that cross."""
    count = 0
    for upper, lower in pairwise(rows):
        at = {place: index for index, place in enumerate(lower)}
        seen: list[int] = []
        for place in upper:
            targets = sorted(at[target] for target in below.get(place, ()))
            count += sum(len(seen) - bisect_right(seen, target) for target in targets)
            for target in targets:
                insort(seen, target)
    return count


def _rooms(rows, chains, widths: Mapping[str, float], labels: Mapping[Edge, float]) -> dict[Place, float]:
    """Return the width every place takes: its box or lane, or the widest of the labels above it."""
    room = {place: widths[place] if isinstance(place, str) else 10.0 for row in rows for place in row}
    for edge, chain in chains.items():
        room[chain[1]] = max(room[chain[1]], labels.get(edge, 0) - SPACE / 2)
    return room


def _abreast(rows: list[list[Place]], up: dict, below: dict, room: Mapping[Place, float]) -> dict[Place, float]:
    """Return x for every place: as near to its neighbours as the order and the room of each row allow."""
    x: dict[Place, float] = {}
    both = {place: [*up.get(place, ()), *below.get(place, ())] for row in rows for place in row}
    for row in rows:
        x.update(zip(row, _spread([0.0] * len(row), [room[p] for p in row], [1] * len(row)), strict=True))
    for sweep in range(2 * SWEEPS):
        neighbours, order = (up, rows) if sweep % 2 == 0 else (below, rows[::-1])
        for row in order:
            near = neighbours if sweep < SWEEPS else both
            wanted = [_mean([x[n] for n in near.get(place, ())], x[place]) for place in row]
            weights = [1 if isinstance(place, str) else 8 for place in row]
            x.update(zip(row, _spread(wanted, [room[p] for p in row], weights), strict=True))
    return x


def _spread(wanted: Sequence[float], room: Sequence[float], weights: Sequence[float]) -> list[float]:
    """Return places in order, none nearer than its room, with the least squared distance from `wanted`.

    Isotonic regression by pooling neighbours that violate the order.

    >>> _spread([0, 0], [74, 74], [1, 1])
    [-50.0, 50.0]
    """
    offsets = [0.0]
    for left, right in pairwise(room):
        offsets.append(offsets[-1] + (left + right) / 2 + SPACE)
    pools: list[list[float]] = []  # [weighted sum, weight, count]
    for value, offset, weight in zip(wanted, offsets, weights, strict=False):
        pools.append([(value - offset) * weight, weight, 1])
        while len(pools) > 1 and pools[-2][0] / pools[-2][1] > pools[-1][0] / pools[-1][1]:
            last = pools.pop()
            pools[-1] = [a + b for a, b in zip(pools[-1], last, strict=True)]
    means = [total / weight for total, weight, count in pools for _ in range(int(count))]
    return [mean + offset for mean, offset in zip(means, offsets, strict=False)]


def _draw(rows, x, chains, side, layer, widths, labels, height) -> Layout:
    """Turn rows and x into points; the gaps are as high as the tracks and labels in them need."""
    sides = _hands(x, side)
    out, into = _ports(x, chains, sides, widths)
    lanes = _lanes(x, sides, layer, widths)
    leaving = _tracks([(layer[e[0]], out[e], lanes[e], e) for e in side], labels)
    entering = _tracks([(layer[e[1]], into[e], lanes[e], e) for e in side], {})
    gaps = _Gaps(
        leave=_highest({(layer[e[0]], e): index for e, index in leaving.items()}),
        enter=_highest({(layer[e[1]], e): index for e, index in entering.items()}),
        stack=_stacked(chains, labels),
        layer=layer,
        height=height,
    )
    tops = gaps.tops(len(rows))
    layout = Layout(centres={n: (x[n], tops[layer[n]] + height / 2) for n in layer})
    layout.height = tops[-1] + height + TRACK * gaps.leave.get(len(rows) - 1, 0) + 12
    for edge, chain in chains.items():
        layout.down[edge] = _downwards(edge, chain, x, out[edge], into[edge], gaps, tops)
        depth = layer[edge[0]] + 1
        layout.labels[edge] = (x[chain[1]], tops[depth] - gaps.label(edge, depth))
    for edge in side:
        begin, finish = tops[layer[edge[0]]] + height, tops[layer[edge[1]]]
        low, high = begin + TRACK * (leaving[edge] + 0.6), finish - TRACK * (entering[edge] + 0.6)
        a, lane, b = out[edge], lanes[edge], into[edge]
        layout.side[edge] = [(a, begin), (a, low), (lane, low), (lane, high), (b, high), (b, finish)]
        layout.labels[edge] = (a + sides[edge] * (labels.get(edge, 0) / 2 + 10), low)
    return _moved(layout, widths, labels)


@dataclass
class _Gaps:
    """What the gaps between layers hold: tracks that leave below a layer or enter above one, and labels."""

    leave: dict[int, int]
    enter: dict[int, int]
    stack: dict[Edge, int]
    layer: Mapping[str, int]
    height: float

    def __post_init__(self):
        self.labels = _highest({(self.layer[edge[0]] + 1, edge): index for edge, index in self.stack.items()})

    def above(self, depth: int) -> float:
        """Return the height of the straight part above a layer."""
        return TRACK * self.enter.get(depth, 0) + LABEL * self.labels.get(depth, 0)

    def label(self, edge: Edge, depth: int) -> float:
        """Return how far above its layer the middle of an edge's label lies."""
        return TRACK * self.enter.get(depth, 0) + LABEL * (self.stack.get(edge, 0) + 0.5) + 6

    def tops(self, count: int) -> list[float]:
        """Return the upper edge of every layer's boxes."""
        found = [12.0 + self.above(0)]
        for depth in range(1, count):
            gap = TRACK * self.leave.get(depth - 1, 0) + self.above(depth) + BEND
            found.append(found[-1] + self.height + gap)
        return found


def _downwards(edge, chain, x, out: float, into: float, gaps: _Gaps, tops) -> list[tuple[float, float]]:
    """Return the points of an edge that leads down: upright beside boxes, tracks and labels, bent between."""
    first = gaps.layer[edge[0]]
    begin = tops[first] + gaps.height
    points = [(out, begin), (out, begin + TRACK * gaps.leave.get(first, 0))]
    for depth, place in enumerate(chain[1:], first + 1):
        here = into if place == edge[1] else x[place]
        points += [(here, tops[depth] - gaps.above(depth) - 8), (here, tops[depth])]
        if place != edge[1]:
            points.append((here, tops[depth] + gaps.height + TRACK * gaps.leave.get(depth, 0)))
    return points


def _hands(x, side: list[Edge]) -> dict[Edge, int]:
    """Return for each side edge whether it runs on the left (-1) or on the right (1): the nearer one."""
    middle = (min(x.values()) + max(x.values())) / 2
    return {edge: -1 if (x[edge[0]] + x[edge[1]]) / 2 < middle else 1 for edge in side}


def _ports(x, chains, sides: Mapping[Edge, int], widths) -> tuple[dict[Edge, float], dict[Edge, float]]:
    """Return where each edge leaves the bottom of its source and enters the top of its target."""
    out: dict[str, list] = {}
    into: dict[str, list] = {}
    for edge, chain in chains.items():
        out.setdefault(edge[0], []).append((0, x[chain[1]], edge))
        into.setdefault(edge[1], []).append((0, x[chain[-2]], edge))
    for edge, hand in sides.items():
        out.setdefault(edge[0], []).append((hand, 0, edge))
        into.setdefault(edge[1], []).append((hand, 0, edge))
    return _along(out, x, widths), _along(into, x, widths)


def _along(ends: dict[str, list], x, widths) -> dict[Edge, float]:
    """Spread the ports of each box: the edges that lead down in its middle, the others outside of them."""
    found = {}
    for node, wanted in ends.items():
        lower = sum(hand < 0 for hand, _, _ in wanted)
        upper = sum(hand > 0 for hand, _, _ in wanted)
        straight = len(wanted) - lower - upper
        step = min(26.0, widths[node] * 0.8 / (straight + 2 * max(lower, upper)))
        for index, (_, _, edge) in enumerate(sorted(wanted), -lower):
            found[edge] = x[node] + (index - (straight - 1) / 2) * step
    return found


def _lanes(x, sides: Mapping[Edge, int], layer, widths) -> dict[Edge, float]:
    """Return x of each side edge's lane, short ones innermost, lanes shared where they do not overlap."""
    rim = {
        -1: min(min(x.values()), min(x[n] - widths[n] / 2 for n in layer)),
        1: max(max(x.values()), max(x[n] + widths[n] / 2 for n in layer)),
    }
    lanes: dict[int, list[list[tuple[float, float]]]] = {-1: [], 1: []}
    found = {}
    for edge in sorted(sides, key=lambda e: (abs(layer[e[0]] - layer[e[1]]), layer[e[0]], e)):
        hand = sides[edge]
        low, high = sorted((layer[edge[0]] + 1, layer[edge[1]]))
        found[edge] = rim[hand] + hand * (SPACE + LANE * _first_free(lanes[hand], low, high))
    return found


def _tracks(asked: list[tuple[int, float, float, Edge]], labels: Mapping[Edge, float]) -> dict[Edge, int]:
    """Return the number of each edge's track in its gap, tracks shared where they do not overlap."""
    gaps: dict[int, list] = {}
    found = {}
    for depth, port, lane, edge in sorted(asked, key=lambda a: (a[0], abs(a[1] - a[2]), a[3])):
        reach = labels.get(edge, 0) + 16
        low, high = min(port, lane), max(port, lane)
        low, high = (min(low, port - reach), high) if lane < port else (low, max(high, port + reach))
        found[edge] = _first_free(gaps.setdefault(depth, []), low, high)
    return found


def _first_free(taken: list[list[tuple[float, float]]], low: float, high: float) -> int:
    """Book [low, high] in the first list where it overlaps nothing; return that list's index."""
    for index, spans in enumerate(taken):
        if all(high < a or b < low for a, b in spans):
            spans.append((low, high))
            return index
    taken.append([(low, high)])
    return len(taken) - 1


def _stacked(chains: Mapping[Edge, list[Place]], labels: Mapping[Edge, float]) -> dict[Edge, int]:
    """Return for each labelled edge how many labels stand below its own, above the same place."""
    count: dict[Place, int] = {}
    found = {}
    for edge, chain in chains.items():
        if labels.get(edge):
            found[edge] = count.get(chain[1], 0)
            count[chain[1]] = found[edge] + 1
    return found


def _highest(indices: Mapping[tuple[int, Edge], int]) -> dict[int, int]:
    """Return how many tracks or labels each gap holds."""
    found: dict[int, int] = {}
    for (depth, _), index in indices.items():
        found[depth] = max(found.get(depth, 0), index + 1)
    return found


def _moved(layout: Layout, widths: Mapping[str, float], labels: Mapping[Edge, float]) -> Layout:
    """Shift everything so that it begins at 12 pixels, and set the width."""
    reach = [(x - widths[n] / 2, x + widths[n] / 2) for n, (x, _) in layout.centres.items()]
    reach += [(x - labels.get(e, 0) / 2, x + labels.get(e, 0) / 2) for e, (x, _) in layout.labels.items()]
    reach += [(x, x) for points in (*layout.down.values(), *layout.side.values()) for x, _ in points]
    left = min(low for low, _ in reach) - 12
    layout.width = max(high for _, high in reach) - left + 12
    layout.centres = {n: (x - left, y) for n, (x, y) in layout.centres.items()}
    layout.labels = {e: (x - left, y) for e, (x, y) in layout.labels.items()}
    for edges in (layout.down, layout.side):
        for edge, points in edges.items():
            edges[edge] = [(x - left, y) for x, y in points]
    return layout
