"""The picture of a flowchart: an SVG that needs nothing but a browser, and Mermaid text for READMEs.

Shapes say who acts (agent: box; user: rounded, as a hub: hexagon; tool: box with double sides; end: pill).
Given rates, colours and captions say how often a node or edge was done right. Dark mode has its own colours.
"""

from collections.abc import Mapping
from html import escape

from subterra.flowchart import Flowchart, Node
from subterra.layout import Layout, lay_out
from subterra.text import readable

LABEL_LENGTH = 26
LETTER, SMALL_LETTER = 7.3, 6.1  # widths of a letter of 13 and 11 pixels, generously
STEPS = ((0.98, 4), (0.95, 3), (0.85, 2), (0.60, 1), (0.0, 0))

STYLE = """
.fc{--fc-ink:#1c2733;--fc-soft:#5b6876;--fc-line:#8492a1;--fc-page:#fff;--fc-agent:#e6effb;--fc-agent-edge:#3b76c4;
--fc-user:#fdf1d9;--fc-user-edge:#b7791f;--fc-tool:#efe8fb;--fc-tool-edge:#7c53c3;--fc-end:#e9ecef;--fc-end-edge:#5b6876;
--fc-r0:#c0392b;--fc-r1:#c9621a;--fc-r2:#a97c00;--fc-r3:#4d8a2f;--fc-r4:#1d7f53;font-family:system-ui,-apple-system,
"Segoe UI",Roboto,sans-serif}
@media (prefers-color-scheme:dark){.fc{--fc-ink:#e6ebf0;--fc-soft:#a3b0bd;--fc-line:#748291;--fc-page:#151b22;
--fc-agent:#1b2d45;--fc-agent-edge:#6ba3e8;--fc-user:#3a2d13;--fc-user-edge:#e0ac53;--fc-tool:#2d2344;
--fc-tool-edge:#b194ec;--fc-end:#2a323b;--fc-end-edge:#a3b0bd;--fc-r0:#ff8577;--fc-r1:#f59e5c;--fc-r2:#e3bd4a;
--fc-r3:#9ccf74;--fc-r4:#58cf9b}}
.fc .fc-edge{fill:none;stroke:var(--fc-line);stroke-width:1.4}
.fc .fc-head{fill:context-stroke}
.fc .fc-way{font-size:11px;fill:var(--fc-soft);text-anchor:middle;dominant-baseline:central;
paint-order:stroke;stroke:var(--fc-page);stroke-width:4px;stroke-linejoin:round}
.fc .fc-name{font-size:13px;fill:var(--fc-ink);text-anchor:middle;dominant-baseline:central}
.fc .fc-rate{font-size:11px;font-weight:600;text-anchor:middle;dominant-baseline:central}
.fc .fc-shape{stroke-width:1.5}
.fc .fc-agent{fill:var(--fc-agent);stroke:var(--fc-agent-edge)}
.fc .fc-user{fill:var(--fc-user);stroke:var(--fc-user-edge)}
.fc .fc-tool{fill:var(--fc-tool);stroke:var(--fc-tool-edge)}
.fc .fc-end{fill:var(--fc-end);stroke:var(--fc-end-edge)}
""" + "".join(
    f".fc .fc-shape.fc-r{n}{{stroke:var(--fc-r{n});stroke-width:2.5}}"
    f".fc .fc-edge.fc-r{n}{{stroke:var(--fc-r{n})}}"
    f".fc text.fc-r{n}{{fill:var(--fc-r{n})}}"
    for n in range(5)
)

Rate = tuple[int, int]


def svg(flowchart: Flowchart, rates: Mapping[str, Mapping[str, Rate]] | None = None) -> str:
    """Return the picture as SVG text.

    `rates` is {"nodes": {id: (passed, total)}, "edges": {"a->b": (passed, total)}}; what it leaves out, or
    what was never tried (total 0), is drawn without colour. The same input gives the same bytes.
    """
    of_nodes, of_edges = ((rates or {}).get(key, {}) for key in ("nodes", "edges"))
    labels = {edge: _label(flowchart, edge, of_edges) for edge in flowchart.edges}
    layout = lay_out(
        flowchart.start,
        {node.id: list(dict.fromkeys(way.to for way in node.ways)) for node in flowchart.nodes.values()},
        {name: _width(flowchart.nodes[name]) for name in flowchart.nodes},
        {edge: len(text) * SMALL_LETTER + 8 if text else 0 for edge, text in labels.items()},
        46 if rates else 36,
    )
    busiest = max((total for _, total in of_edges.values()), default=0)
    order = sorted(layout.down) + sorted(layout.side)
    parts = [_edge(layout, edge, of_edges.get("->".join(edge)), busiest) for edge in order]
    parts += [_node(flowchart.nodes[n], *layout.centres[n], of_nodes.get(n), bool(rates)) for n in flowchart.nodes]
    parts += [
        _way(flowchart, edge, labels[edge], layout, of_edges.get("->".join(edge))) for edge in order if labels[edge]
    ]
    return _frame(flowchart, layout, parts)


def mermaid(flowchart: Flowchart) -> str:
    """Return the flowchart as Mermaid text, nodes numbered because Mermaid reserves words such as `end`."""
    number = {name: f"n{index}" for index, name in enumerate(flowchart.nodes)}
    lines = ["flowchart TD"]
    for node in flowchart.nodes.values():
        left, right = _mermaid_shape(node)
        lines.append(f'    {number[node.id]}{left}"{_mermaid_text(node.id)}"{right}:::{node.role}')
    for node in flowchart.nodes.values():
        for way in node.ways:
            label = f'|"{_mermaid_text(way.when)}"|' if way.when else ""
            lines.append(f"    {number[node.id]} -->{label} {number[way.to]}")
    lines += [
        "    classDef agent fill:#e6effb,stroke:#3b76c4,color:#1c2733",
        "    classDef user fill:#fdf1d9,stroke:#b7791f,color:#1c2733",
        "    classDef tool fill:#efe8fb,stroke:#7c53c3,color:#1c2733",
        "    classDef end fill:#e9ecef,stroke:#5b6876,color:#1c2733",
    ]
    return "\n".join(lines).replace("classDef end ", "classDef finish ").replace(":::end", ":::finish") + "\n"


def step_of(rate: Rate | None) -> int | None:
    """Return the colour step of a rate, 0 (bad) to 4 (good), None for what was never tried."""
    if not rate or not rate[1]:
        return None
    return next(step for least, step in STEPS if rate[0] / rate[1] >= least)


def percent(passed: int, total: int) -> str:
    """Return a rate in whole percent that says 100 (or 0) only where it is exactly that.

    >>> percent(999, 1000), percent(5, 5)
    ('99 %', '100 %')
    """
    whole = round(100 * passed / total)
    if whole == 100 and passed < total:
        whole = 99
    if whole == 0 and passed:
        whole = 1
    return f"{whole} %"


def _label(flowchart: Flowchart, edge: tuple[str, str], of_edges: Mapping[str, Rate]) -> str:
    """Return the words on an edge: its condition, shortened, and its rate."""
    when = flowchart.way(*edge).when
    short = when if len(when) <= LABEL_LENGTH else when[: LABEL_LENGTH - 1].rstrip() + "…"
    rate = of_edges.get("->".join(edge))
    return " · ".join(filter(None, [short, percent(*rate) if rate and rate[1] else ""]))


def _width(node: Node) -> float:
    return max(76.0, len(node.id) * LETTER + (52 if len(node.ways) > 1 else 28))


def _mermaid_text(text: str) -> str:
    return text.replace("#", "#35;").replace('"', "#quot;").replace("<", "#lt;").replace(">", "#gt;").replace("\n", " ")


def _mermaid_shape(node: Node) -> tuple[str, str]:
    if node.role == "end":
        return "([", "])"
    if node.role == "tool":
        return "[[", "]]"
    if len(node.ways) > 1:
        return "{{", "}}"
    return ("(", ")") if node.role == "user" else ("[", "]")


def _frame(flowchart: Flowchart, layout: Layout, parts: list[str]) -> str:
    width, height = round(layout.width), round(layout.height)
    title = escape(f"Flowchart of {flowchart.title}: {len(flowchart.nodes)} nodes, {len(flowchart.edges)} edges")
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="fc" role="img" aria-label="{title}" '
        f'style="--w:{width}px" width="{width}" height="{height}" viewBox="0 0 {width} {height}">\n'
        f"<title>{title}</title>\n<style>{STYLE}</style>\n"
        '<defs><marker id="fc-arrow" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" markerHeight="8" '
        'markerUnits="userSpaceOnUse" orient="auto"><path class="fc-head" d="M0 0.5 8 4 0 7.5z"/></marker>'
        "</defs>\n"
    )
    return head + "\n".join(parts) + "\n</svg>\n"


def _edge(layout: Layout, edge: tuple[str, str], rate: Rate | None, busiest: int) -> str:
    path = _curve(layout.down[edge]) if edge in layout.down else _lane(layout.side[edge])
    step = step_of(rate)
    look, width = ("", "") if step is None else (f" fc-r{step}", _stroke(rate, busiest))
    return f'<path class="fc-edge{look}"{width} d="{path}" marker-end="url(#fc-arrow)"/>'


def _stroke(rate: Rate, busiest: int) -> str:
    return f' style="stroke-width:{1.4 + 2.6 * (rate[1] / busiest) ** 0.5:.1f}"'


def _curve(points: list[tuple[float, float]]) -> str:
    """Return a path through the points, upright at each; straight where two lie above one another."""
    (x, y), *rest = points
    text = [f"M{x:.1f} {y:.1f}"]
    for nx, ny in rest:
        if abs(nx - x) < 0.05:
            text.append(f"V{ny:.1f}")
        else:
            middle = (y + ny) / 2
            text.append(f"C{x:.1f} {middle:.1f} {nx:.1f} {middle:.1f} {nx:.1f} {ny:.1f}")
        x, y = nx, ny
    return "".join(text)


def _lane(points: list[tuple[float, float]], radius: float = 8) -> str:
    """Return a path of right angles with round corners."""
    text = [f"M{points[0][0]:.1f} {points[0][1]:.1f}"]
    for before, corner, after in zip(points, points[1:], points[2:], strict=False):
        begin, finish = _towards(corner, before, radius), _towards(corner, after, radius)
        text.append(f"L{begin[0]:.1f} {begin[1]:.1f}Q{corner[0]:.1f} {corner[1]:.1f} {finish[0]:.1f} {finish[1]:.1f}")
    return "".join(text) + f"L{points[-1][0]:.1f} {points[-1][1]:.1f}"


def _towards(a: tuple[float, float], b: tuple[float, float], radius: float) -> tuple[float, float]:
    length = abs(a[0] - b[0]) + abs(a[1] - b[1])
    share = min(radius, length / 2) / length if length else 0
    return a[0] + (b[0] - a[0]) * share, a[1] + (b[1] - a[1]) * share


def _node(node: Node, x: float, y: float, rate: Rate | None, tall: bool) -> str:
    step = step_of(rate)
    look = f"fc-shape fc-{node.role}" + ("" if step is None else f" fc-r{step}")
    tried = "" if step is None else f"\n{rate[0]} of {rate[1]} right"
    told = f"{node.call.name} {readable(node.call.arguments)}" if node.call else node.prompt
    text = f"<title>{escape(node.id)} ({escape(node.role)}){tried}\n{escape(told)}</title>"
    shape = _shape(node, x, y, _width(node), 46 if tall else 36, look)
    shift = 0 if step is None else 8
    name = f'<text class="fc-name" x="{x:.1f}" y="{y - shift:.1f}">{escape(node.id)}</text>'
    if step is not None:
        name += f'<text class="fc-rate fc-r{step}" x="{x:.1f}" y="{y + 10:.1f}">{percent(*rate)}</text>'
    return f"<g>{text}{shape}{name}</g>"


def _shape(node: Node, x: float, y: float, width: float, height: float, look: str) -> str:
    left, top, right, foot = x - width / 2, y - height / 2, x + width / 2, y + height / 2
    if len(node.ways) > 1:
        cut = 16
        points = [
            (left, y),
            (left + cut, top),
            (right - cut, top),
            (right, y),
            (right - cut, foot),
            (left + cut, foot),
        ]
        corners = " ".join(f"{a:.1f},{b:.1f}" for a, b in points)
        return f'<polygon class="{look}" points="{corners}"/>'
    radius = {"end": height / 2, "user": 14}.get(node.role, 5)
    box = (
        f'<rect class="{look}" x="{left:.1f}" y="{top:.1f}" width="{width:.1f}" height="{height:.1f}" '
        f'rx="{radius:.1f}"/>'
    )
    if node.role == "tool":
        bars = "".join(f"M{at:.1f} {top:.1f}V{foot:.1f}" for at in (left + 7, right - 7))
        box += f'<path class="{look}" d="{bars}"/>'
    return box


def _way(flowchart: Flowchart, edge: tuple[str, str], label: str, layout: Layout, rate: Rate | None) -> str:
    x, y = layout.labels[edge]
    step = step_of(rate)
    look = "" if step is None else f" fc-r{step}"
    tried = "" if step is None else f"\n{rate[0]} of {rate[1]} right"
    full = escape(f"{edge[0]} -> {edge[1]}: {flowchart.way(*edge).when}{tried}")
    return f'<text class="fc-way{look}" x="{x:.1f}" y="{y:.1f}"><title>{full}</title>{escape(label)}</text>'
