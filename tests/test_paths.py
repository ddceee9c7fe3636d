"""Paths are those the rule and the draws allow: counted first, all listed or a covering sample, and nothing hangs."""

import random
import sys
from itertools import pairwise
from pathlib import Path

import pytest
from subterra import paths as module
from subterra.checker import check_spec
from subterra.flowchart import Flowchart, Node, Way
from subterra.paths import derive, edge_pairs_of, edges_of, path_id
from subterra.routes import restrict

SPECS = Path(__file__).parents[1] / "specs"
RULES = ("simple", "trail", "visits: 2", "visits:3")


def flowchart(edges, start, ends, rule, where=None):
    """A flowchart of agent nodes; `where` holds the restrictions of edges."""
    names = sorted({name for edge in edges for name in edge} | {start, *ends})
    ways = {name: [] for name in names}
    for source, target in edges:
        ways[source].append(Way(target, f"to {target}", (), (where or {}).get((source, target), {})))
    nodes = {name: Node(name, "end" if name in ends else "agent", "", (), tuple(ways[name])) for name in names}
    return Flowchart("toy", "Toy", "", start, rule, {}, nodes)


def arrows(text, ends, rule, where=None):
    """A flowchart written as `ab bc ...`, each an edge between nodes of one letter; the first one starts."""
    edges = [tuple(edge) for edge in text.split()]
    return flowchart(edges, edges[0][0], list(ends), rule, where)


def tangle(seed):
    """A small random flowchart: cyclic, with self loops, every other one with `where` on its hubs."""
    rng = random.Random(seed)
    names = [f"n{index}" for index in range(rng.randint(3, 7))]
    ends = names[-rng.randint(1, 2) :]
    edges = [(a, b) for a in names if a not in ends for b in names if rng.random() < 0.35]
    where = {
        edge: {rng.choice("xyz"): tuple(sorted(rng.sample("abc", rng.randint(1, 2))))}
        for edge in edges
        if seed % 2 and rng.random() < 0.4
    }
    return flowchart(edges, names[0], ends, rng.choice(RULES), where)


def obeys(path, rule):
    if rule == "trail":
        return len(set(pairwise(path))) == len(path) - 1
    return max(map(path.count, path)) <= (1 if rule == "simple" else int(rule[7:]))


def every_path(chart, most=3_000):
    """All paths by plain search, sorted; None where they are more than `most`."""
    found, waiting = [], [((chart.start,), {})]
    while waiting and len(found) <= most:
        path, allowed = waiting.pop()
        if chart.nodes[path[-1]].role == "end":
            found.append(path)
            continue
        for way in chart.nodes[path[-1]].ways:
            left = restrict(allowed, way.where)
            if left is not None and obeys((*path, way.to), chart.rule):
                waiting.append(((*path, way.to), left))
    return None if waiting else sorted(found)


def takes(paths):
    return edges_of(paths) | edge_pairs_of(paths)


def is_path(path, chart):
    known = set(chart.edges)
    return (
        path[0] == chart.start
        and chart.nodes[path[-1]].role == "end"
        and known.issuperset(pairwise(path))
        and obeys(path, chart.rule)
    )


TANGLES = [(chart, paths) for chart in map(tangle, range(150)) if (paths := every_path(chart)) and len(paths) > 1]

# -- the three rules


def test_simple_takes_no_node_twice():
    found = derive(arrows("ab ba bb bz az", "z", "simple"), 10)
    assert found.paths == (("a", "b", "z"), ("a", "z"))
    assert (found.count, found.sampled) == (2, False)


def test_trail_takes_no_edge_twice():
    found = derive(arrows("ab ba bz", "z", "trail"), 10)
    assert found.paths == (("a", "b", "z"),)  # back at a, the edge to b is used up
    found = derive(arrows("ab ba bz az", "z", "trail"), 10)
    assert found.paths == (("a", "b", "a", "z"), ("a", "b", "z"), ("a", "z"))


def test_visits_takes_no_node_more_often_than_said():
    assert derive(arrows("aa az", "z", "visits: 3"), 10).paths == (
        ("a", "a", "a", "z"),
        ("a", "a", "z"),
        ("a", "z"),
    )


def test_a_self_loop_is_an_edge_once_a_repeated_node_never():
    assert derive(arrows("aa az", "z", "trail"), 10).paths == (("a", "a", "z"), ("a", "z"))
    assert derive(arrows("aa az", "z", "simple"), 10).paths == (("a", "z"),)


def test_a_start_that_is_an_end_is_a_path_of_its_own():
    assert derive(flowchart([], "a", ["a"], "trail"), 10).paths == (("a",),)


@pytest.mark.parametrize("rule", RULES)
def test_counts_and_paths_agree_with_plain_search(rule):
    compared = [(chart, paths) for chart, paths in TANGLES if chart.rule == rule]
    assert len(compared) >= 5
    for chart, paths in compared:
        found = derive(chart, 10**6)
        assert list(found.paths) == paths
        assert (found.count, found.sampled) == (len(paths), False)


def test_the_travel_procedure_has_86_paths_by_trail():
    chart = check_spec(SPECS / "travel_booking.yaml")
    found = derive(chart, 10_000)
    assert chart.rule == "trail" and found.count == len(set(found.paths)) == 86


# -- draws


def test_paths_whose_restrictions_contradict_do_not_exist():
    where = {("a", "b"): {"x": ("1",)}, ("a", "c"): {"x": ("2",)}}
    where |= {("d", "y"): {"x": ("1", "3")}, ("d", "z"): {"x": ("2",)}}
    found = derive(arrows("ab ac bd cd dy dz", "yz", "trail", where), 10)
    assert found.paths == (("a", "b", "d", "y"), ("a", "c", "d", "z"))


def test_a_flowchart_without_any_possible_path_has_none():
    where = {("a", "b"): {"x": ("1",)}, ("b", "z"): {"x": ("2",)}}
    found = derive(arrows("ab bz", "z", "trail", where), 10)
    assert (found.paths, found.count, found.sampled) == ((), 0, False)


def asking_diamonds(number, again):
    """Diamonds that each ask for a variable of their own, and `again`: a second row that asks the same."""
    edges, where = [], {}
    for row in range(2 if again else 1):
        for index in range(number):
            here, there = f"h{row}{index:02}", f"h{row}{index + 1:02}"
            for side, value in (("l", "yes"), ("r", "no")):
                edges += [(here, here + side), (here + side, there)]
                where[here, here + side] = {f"x{index}": (value,)}
        edges.append((there, f"h{row + 1}00" if again and not row else "z"))
    return flowchart(edges, "h000", ["z"], "trail", where)


def test_draws_that_are_not_asked_again_are_forgotten():
    assert derive(asking_diamonds(30, again=False), 100).count == 2**30


def test_too_many_draws_to_count_still_give_paths_without_contradiction():
    chart = asking_diamonds(30, again=True)
    found = derive(chart, 50)
    assert found.count is None and len(set(found.paths)) == 50
    for path in found.paths:
        sides = [name[3:] for name in path if name[-1] in "lr"]
        assert is_path(path, chart) and sides[:30] == sides[30:]


# -- samples


@pytest.fixture(params=["counted", "walked"])
def both_ways(request, monkeypatch):
    """Run a test twice: with all states held, and as if they were too many to hold."""
    if request.param == "walked":
        monkeypatch.setattr(module.StateGraph, "build", lambda steps, limit: None)
    return request.param


def test_past_the_limit_there_are_exactly_so_many_different_paths(both_ways):
    for chart, paths in TANGLES:
        for limit in {1, len(paths) // 2, len(paths) - 1}:
            found = derive(chart, limit)
            assert found.sampled and len(set(found.paths)) == len(found.paths) == limit
            assert set(found.paths) <= set(paths)


def test_within_the_limit_all_paths_are_found(both_ways):
    for chart, paths in TANGLES:
        found = derive(chart, len(paths) + 1)
        assert (list(found.paths), found.count, found.sampled) == (paths, len(paths), False)


def test_a_sample_takes_every_edge_and_edge_pair_that_any_path_can_take(both_ways):
    compared = 0
    for chart, paths in TANGLES:
        limit = len(takes(paths))
        if limit < len(paths):
            assert takes(derive(chart, limit).paths) == takes(paths)
            compared += 1
    assert compared >= 10


def test_an_end_beside_the_start_is_covered_too(both_ways):
    chart = flowchart([*layers(2, 4).edges, ("a", "z")], "a", ["z"], "trail")  # 17 paths
    for seed in range(10):
        assert ("a", "z") in edges_of(derive(chart, 14, seed).paths)


def test_a_seed_gives_the_same_sample_and_another_seed_another(both_ways):
    chart = layers(3, 6)
    assert derive(chart, 40, seed=1) == derive(chart, 40, seed=1)
    assert derive(chart, 40, seed=1) != derive(chart, 40, seed=2)


def test_the_order_in_which_a_flowchart_was_written_changes_nothing(both_ways):
    chart = layers(3, 6)
    nodes = {name: Node(name, node.role, "", (), node.ways[::-1]) for name, node in reversed(list(chart.nodes.items()))}
    turned = Flowchart("toy", "Toy", "", chart.start, chart.rule, {}, nodes)
    assert derive(turned, 40) == derive(chart, 40)


def test_uniform_draws_reach_all_parts_of_the_paths():
    found = derive(layers(10, 4), 1_000)  # 10,000 paths
    assert found.count == 10**4
    firsts = [path[1] for path in found.paths]
    assert all(60 < firsts.count(name) < 140 for name in set(firsts)) and len(set(firsts)) == 10


def test_a_limit_just_below_the_count_takes_no_longer_than_others():
    found = derive(layers(10, 4), 9_999)
    assert len(set(found.paths)) == 9_999 and found.sampled


# -- graphs that are hard


def layers(width, depth, rule="trail"):
    """Layers of nodes, each leading to all of the next: width ** depth paths."""
    rows = [["a"], *([f"l{row}_{index}" for index in range(width)] for row in range(depth)), ["z"]]
    edges = [(one, other) for row, following in pairwise(rows) for one in row for other in following]
    return flowchart(edges, "a", ["z"], rule)


def diamonds(number, rule, *more):
    edges = [(f"h{number:02}", "z"), *more]
    for index in range(number):
        for side in "lr":
            edges += [
                (f"h{index:02}", f"h{index:02}{side}"),
                (f"h{index:02}{side}", f"h{index + 1:02}"),
            ]
    return flowchart(edges, "h00", ["z"], rule)


def dense(size, rule):
    names = [f"n{index:02}" for index in range(size)]
    return flowchart([(a, b) for a in names[:-1] for b in names if a != b], names[0], names[-1:], rule)


def chain(length, rule, back=()):
    names = [f"n{index:04}" for index in range(length)]
    edges = [*pairwise([*names, "z"]), *((names[a], names[b]) for a, b in back)]
    return flowchart(edges, names[0], ["z"], rule)


def ladder(rungs, rule):
    """Two rails and rungs, every edge in both directions, and a loop at every node of one rail."""
    edges = [("a00", "z")]
    for index in range(rungs):
        here, there = f"{index:02}", f"{index + 1:02}"
        edges += [("a" + here, "b" + here), ("b" + here, "a" + here), ("b" + here, "b" + here)]
        if index < rungs - 1:
            for rail in "ab":
                edges += [(rail + here, rail + there), (rail + there, rail + here)]
    return flowchart(edges, f"b{rungs - 1:02}", ["z"], rule)


@pytest.mark.parametrize("rule", RULES)
def test_thirty_diamonds_are_counted_exactly(rule):
    chart = diamonds(30, rule)
    found = derive(chart, 500)
    assert found.count == 2**30 and len(set(found.paths)) == 500
    assert all(is_path(path, chart) for path in found.paths)
    assert takes(found.paths) == {*chart.edges, *chart.edge_pairs}


def test_a_way_back_that_no_path_can_take_does_not_spoil_the_count():
    assert derive(diamonds(30, "simple", ("h30", "h00")), 10).count == 2**30


@pytest.mark.parametrize("rule", RULES[:3])
def test_a_dense_graph_of_22_nodes_is_sampled_and_covered(rule):
    chart = dense(22, rule)
    found = derive(chart, 2_000)
    assert found.sampled and len(set(found.paths)) == 2_000
    assert all(is_path(path, chart) for path in found.paths)
    possible = {
        pair for pair in chart.edge_pairs if rule != "simple" or (len(set(pair)) == 3 and chart.start not in pair[1:])
    }
    assert edge_pairs_of(found.paths) == possible


@pytest.mark.parametrize("rule", RULES[:3])
def test_a_chain_of_2000_nodes_has_its_one_path(rule):
    found = derive(chain(2_000, rule), 10)
    assert found.count == 1 and len(found.paths[0]) == 2_001


@pytest.mark.parametrize(("rule", "count"), [("simple", 1), ("trail", 1), ("visits:2", 2)])
def test_a_chain_of_2000_nodes_that_leads_back_is_counted(rule, count):
    assert derive(chain(2_000, rule, back=[(1_999, 0)]), 10).count == count


@pytest.mark.parametrize("rule", RULES[:3])
def test_a_ladder_with_loops_is_sampled_and_covered(rule):
    chart = ladder(30, rule)
    found = derive(chart, 500)
    assert len(set(found.paths)) == 500 and all(is_path(path, chart) for path in found.paths)
    if rule != "simple":
        assert edges_of(found.paths) == set(chart.edges)


def test_no_depth_of_the_stack_is_needed():
    deep, tangled, known = chain(2_000, "trail", back=[(1_999, 0)]), dense(22, "trail"), sys.getrecursionlimit()
    frame, depth = sys._getframe(), 0
    while frame:
        frame, depth = frame.f_back, depth + 1
    try:
        sys.setrecursionlimit(depth + 60)
        counts = derive(deep, 10).count, derive(tangled, 10).count
    finally:
        sys.setrecursionlimit(known)
    assert counts == (1, None)


# -- names


def test_a_paths_name_depends_on_its_nodes_alone():
    assert path_id(("a", "b")) == path_id(("a", "b")) != path_id(("ab",))
    assert len(path_id(("a", "b"))) == 12


def test_edges_and_edge_pairs_of_paths():
    assert edges_of([("a", "b", "c")]) == {("a", "b"), ("b", "c")}
    assert edge_pairs_of([("a", "b", "c"), ("a", "z")]) == {("a", "b", "c")}
