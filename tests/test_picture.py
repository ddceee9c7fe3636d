"""The picture is read back as XML and its geometry checked: boxes apart, edges beside them."""

import re
from itertools import combinations, pairwise
from xml.etree import ElementTree

from subterra.flowchart import Flowchart, Node, Way
from subterra.layout import lay_out
from subterra.picture import mermaid, svg

SVG = "{http://www.w3.org/2000/svg}"
LOOPS = {
    "greet": ["ask"],
    "ask": ["offer", "detail", "end"],
    "detail": ["ask"],
    "offer": ["answer"],
    "answer": ["ask", "detail", "book", "end"],
    "book": ["end"],
    "end": [],
}


def flowchart(ways: dict[str, list[str]], when: str = "they say {}") -> Flowchart:
    nodes = {
        name: Node(
            id=name,
            role="end" if not targets else "user" if len(targets) > 1 else "agent",
            prompt="Speak.",
            says=("Words.",),
            ways=tuple(Way(to, when.format(to) if len(targets) > 1 else "", (), {}) for to in targets),
        )
        for name, targets in ways.items()
    }
    return Flowchart("toy", "Toy", "You help.", next(iter(ways)), "trail", {}, nodes)


def drawn(chart: Flowchart, rates=None) -> ElementTree.Element:
    return ElementTree.fromstring(svg(chart, rates))


def texts(root: ElementTree.Element, look: str) -> list[str]:
    return [
        "".join(text.itertext()) if look != "fc-way" else text[0].tail
        for text in root.iter(f"{SVG}text")
        if look in text.get("class", "").split()
    ]


def test_every_node_and_every_way_is_drawn_once():
    root = drawn(flowchart(LOOPS))
    assert sorted(texts(root, "fc-name")) == sorted(LOOPS)
    edges = [path for path in root.iter(f"{SVG}path") if "fc-edge" in path.get("class", "")]
    assert len(edges) == sum(map(len, LOOPS.values()))


def test_hubs_ends_and_agents_have_shapes_of_their_own():
    root = drawn(flowchart(LOOPS))
    assert len(list(root.iter(f"{SVG}polygon"))) == 2
    radii = {box.get("class"): float(box.get("rx")) for box in root.iter(f"{SVG}rect")}
    assert radii["fc-shape fc-end"] > radii["fc-shape fc-agent"]


def test_boxes_never_touch_and_edges_never_run_through_one():
    widths = dict.fromkeys(LOOPS, 100.0)
    layout = lay_out("greet", LOOPS, widths, {}, 36)
    for (a, (ax, ay)), (b, (bx, by)) in combinations(layout.centres.items(), 2):
        assert abs(ax - bx) >= 100 or abs(ay - by) >= 36, (a, b)
    for edge, points in (layout.down | layout.side).items():
        for (x0, y0), (x1, y1) in pairwise(points):
            for node, (cx, cy) in layout.centres.items():
                beside = max(x0, x1) <= cx - 50 or min(x0, x1) >= cx + 50
                apart = max(y0, y1) <= cy - 17.9 or min(y0, y1) >= cy + 17.9
                assert beside or apart, (edge, node)


def test_edges_that_lead_back_run_outside_of_all_boxes():
    layout = lay_out("greet", LOOPS, dict.fromkeys(LOOPS, 100.0), {}, 36)
    assert ("detail", "ask") in layout.side
    left = min(x for x, _ in layout.centres.values()) - 50
    right = max(x for x, _ in layout.centres.values()) + 50
    for points in layout.side.values():
        assert points[2][0] < left or points[2][0] > right


def test_layers_untangle_a_crossing_that_need_not_be():
    ways = {"s": ["a", "b"], "a": ["y"], "b": ["x"], "x": [], "y": []}
    centres = lay_out("s", ways, dict.fromkeys(ways, 60.0), {}, 36).centres
    assert (centres["a"][0] < centres["b"][0]) == (centres["y"][0] < centres["x"][0])


def test_a_long_condition_is_shortened_and_kept_whole_in_its_title():
    long = "rejects, and wants to change every single detail"
    root = drawn(flowchart({"a": ["b", "c"], "b": [], "c": []}, when=long))
    shown = texts(root, "fc-way")
    assert all(text.endswith("…") and len(text) < 30 for text in shown) and len(shown) == 2
    assert f"a -> b: {long}" in [title.text for title in root.iter(f"{SVG}title")]


def test_rates_give_captions_and_colours_and_untried_nodes_stay_plain():
    rates = {
        "nodes": {"offer": (97, 100), "book": (1, 4), "detail": (0, 0)},
        "edges": {"ask->offer": (97, 100)},
    }
    root = drawn(flowchart(LOOPS), rates)
    assert sorted(texts(root, "fc-rate")) == ["25 %", "97 %"]
    assert "they say offer · 97 %" in texts(root, "fc-way")
    assert {"25 %"} == set(texts(root, "fc-r0"))


def test_markup_in_words_is_text():
    picture = svg(flowchart({"a": ["b", "c"], "b": [], "c": []}, when='<script>"&{}'))
    assert "<script" not in picture
    assert any("<script>" in (title.text or "") for title in ElementTree.fromstring(picture).iter(f"{SVG}title"))


def test_the_same_flowchart_gives_the_same_bytes_and_follows_dark_mode():
    assert svg(flowchart(LOOPS)) == svg(flowchart(LOOPS))
    assert "prefers-color-scheme:dark" in svg(flowchart(LOOPS))


def test_a_chain_of_two_thousand_nodes_and_a_dense_graph_are_drawn():
    chain = {f"n{i}": [f"n{i + 1}"] if i < 1999 else [] for i in range(2000)}
    assert len(texts(drawn(flowchart(chain)), "fc-name")) == 2000
    dense = {f"d{i}": [f"d{j}" for j in range(22) if j != i] for i in range(22)}
    assert len(texts(drawn(flowchart(dense)), "fc-way")) == 22 * 21


def test_mermaid_names_every_node_and_way_and_escapes_what_mermaid_reads():
    text = mermaid(flowchart({"end": ["b", "c"], "b": [], "c": []}, when='says "{}" #1 <b>'))
    assert text.startswith("flowchart TD\n")
    assert 'n0{{"end"}}:::user' in text
    assert '-->|"says #quot;b#quot; #35;1 #lt;b#gt;"| n1' in text
    assert len(re.findall("-->", text)) == 2
