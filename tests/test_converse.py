"""The built-in teacher walks the paths: the same words everywhere, alternating, each value and branch in them."""

import json
import os
from collections import Counter
from itertools import pairwise
from pathlib import Path

import pytest
from subterra import records
from subterra.cache import times_asked
from subterra.checker import check_spec
from subterra.conformance import says
from subterra.conversation import turns
from subterra.converse import write_shard
from subterra.draws import steps_of
from subterra.models import builtin
from subterra.phrasings import forms
from subterra.plan import SPLITS
from subterra.text import fill
from test_plan import CHATTY, DESK, ONE_WAY, WAYS, plan_toy, shards, talks
from toy_spec import TOY, changed, write

FEW = dict.fromkeys(SPLITS, 20) | {"train": 100}

# A second agent node in a row.
EXTRA = """\
  extra:
    role: agent
    prompt: Offer a biscuit with the {drink}.
    says: ["A biscuit with the {drink}?"]
    next: answer
"""
LONGER = changed("    next: answer\n", "    next: extra\n") + EXTRA
SPECS = {"toy": TOY, "longer": LONGER, "desk": DESK, "chatty": CHATTY}


def converse_toy(folder: Path, text: str = TOY, cache: Path | None = None, **settings) -> dict[str, dict]:
    """Plan a spec, write all its conversations into `folder`/toy/conversations, and return them by id."""
    planned = plan_toy(folder, text, **({"conversations": FEW} | settings))
    rows = {}
    for name, work in shards(planned).items():
        out = planned / "conversations" / name
        write_shard(work, cache or folder / "cache", out.with_suffix(".parquet"), out)
        rows |= {row["id"]: row for row in records.read_table(out.with_suffix(".parquet"), records.CONVERSATION)}
    return rows


def counted(folder: Path) -> Counter:
    """Return what the shards say of their teacher, added up."""
    told = [json.loads(file.read_text()) for file in (folder / "toy" / "conversations").glob("*.json")]
    return sum((Counter(calls=count["calls"] - count["cached"], cached=count["cached"]) for count in told), Counter())


@pytest.fixture(autouse=True)
def no_waiting_for_the_disk(monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda _: None)


@pytest.fixture(params=SPECS)
def conversed(request, tmp_path):
    """(flowchart, conversations) of a spec."""
    rows = converse_toy(tmp_path, SPECS[request.param])
    return check_spec(write(tmp_path, SPECS[request.param])), list(rows.values())


def test_held_out_phrasings_are_said_where_they_are_measured_and_nowhere_else(tmp_path):
    rows = converse_toy(tmp_path, CHATTY).values()
    steps = [step for work in shards(tmp_path / "toy").values() for step in work["steps"].values()]
    kept = {line for step in steps for line in step["held_out_says"]}
    said = {row["split"]: set() for row in rows}
    for row in rows:
        (line,) = {way for way in WAYS if fill(way, row["values"]) == row["turns"][1]["content"]}
        said[row["split"]].add(line)
    assert said.pop("held_out_phrasings") == kept
    assert said["train"] == set(WAYS) - kept and not any(lines & kept for lines in said.values())


def test_all_that_a_held_out_phrasing_stands_for_is_held_out(tmp_path):
    lines = [f"[Hello|Hi|Good day], {way}[ Thanks.|]" for way in WAYS]
    rows = converse_toy(tmp_path, changed(ONE_WAY, f"says: {json.dumps(lines)}", DESK)).values()
    steps = [step for work in shards(tmp_path / "toy").values() for step in work["steps"].values()]
    kept = {line for step in steps for line in step["held_out_says"]}
    said = {row["split"]: set() for row in rows}
    for row in rows:
        spoken = {form: line for line in lines for form in forms(fill(line, row["values"]))}
        said[row["split"]].add((spoken[row["turns"][1]["content"]], row["turns"][1]["content"].split(",")[0]))
    assert {line for line, _ in said["held_out_phrasings"]} == kept
    assert {line for line, _ in said["train"]} == set(lines) - kept
    assert len(said["train"]) == 3 * len(set(lines) - kept)


# -- the same everywhere ---------------------------------------------------------------------------------------------


def test_every_conversation_of_the_plan_is_written_with_its_facts(tmp_path):
    rows, planned = converse_toy(tmp_path), talks(tmp_path / "toy")
    assert rows.keys() == planned.keys()
    assert {row["split"] for row in rows.values()} == FEW.keys() - {"held_out_phrasings", "interruptions"}
    for name, row in rows.items():
        assert {key: row[key] for key in row if key != "turns"} == {
            key: planned[name][key] for key in row if key != "turns"
        }
    assert counted(tmp_path) == Counter(calls=len(rows))


def test_conversations_are_the_same_in_any_shard_and_with_any_cache(tmp_path):
    rows = converse_toy(tmp_path / "here", shards=2)
    assert converse_toy(tmp_path / "there", shards=3) == rows
    assert converse_toy(tmp_path / "kept", shards=5, cache=tmp_path / "here" / "cache") == rows
    assert counted(tmp_path / "kept") == Counter(cached=len(rows))


def test_the_same_work_gives_the_same_file_byte_for_byte(tmp_path):
    for name in ("here", "there"):
        converse_toy(tmp_path / name, shards=2)
    for file in (tmp_path / "here" / "toy" / "conversations").iterdir():
        assert file.read_bytes() == (tmp_path / "there" / "toy" / "conversations" / file.name).read_bytes()


def test_every_phrasing_is_used_about_as_often(tmp_path):
    opened = Counter(row["turns"][0]["content"] for row in converse_toy(tmp_path).values())
    assert len(opened) == 3 and max(opened.values()) < 2 * min(opened.values())


def test_phrasings_are_chosen_for_each_step_alone(tmp_path):
    pairs = Counter(
        (row["turns"][0]["content"], row["turns"][1]["content"])
        for row in converse_toy(tmp_path).values()
        if row["outcome"] == "left" and len(row["turns"]) == 2
    )
    assert len(pairs) == 9


# -- what is said ----------------------------------------------------------------------------------------------------


def test_turns_alternate_and_no_node_is_lost(conversed):
    flowchart, rows = conversed
    for row in rows:
        roles = [turn["role"] for turn in row["turns"]]
        assert all(before != after for before, after in pairwise(roles))
        assert [node for turn in row["turns"] for node in turn["nodes"]] == list(filter(flowchart.speaks, row["nodes"]))
        for turn in row["turns"]:
            assert {flowchart.speaks(node) for node in turn["nodes"]} == {
                {"assistant": "agent", "user": "user"}[turn["role"]]
            }


def spoken_lines(flowchart, row: dict) -> list[tuple[str, str, list[str]]]:
    """Return (step, node, what may be said) for each step of a conversation that speaks."""
    found = []
    for step, node in zip(steps_of(flowchart, row["nodes"]), row["nodes"], strict=True):
        _, _, target = step.partition("->")
        says_ = (target and flowchart.way(node, target).says) or flowchart.nodes[node].says
        if flowchart.speaks(node):
            found.append((step, node, [fill(line, row["values"]) for line in says_]))
    return found


def test_each_turn_is_the_phrasings_of_its_nodes_in_order_and_of_the_way_that_is_taken(conversed):
    flowchart, rows = conversed
    for row in rows:
        lines = iter(spoken_lines(flowchart, row))
        for turn in row["turns"]:
            left = turn["content"]
            for node in turn["nodes"]:
                _, spoken, may = next(lines)
                said = [line for line in may if left.startswith(line)]
                assert spoken == node and said, (turn, may)
                left = left.removeprefix(max(said, key=len)).removeprefix(" ")
            assert left == ""


def test_every_value_that_a_prompt_names_is_said(conversed):
    flowchart, rows = conversed
    demanded = 0
    for row in rows:
        for turn in row["turns"]:
            asked = [name for node in turn["nodes"] for name in flowchart.nodes[node].demands]
            assert turn["values"] == {name: row["values"][name] for name in asked if turn["role"] == "assistant"}
            assert all(says(turn["content"], value) for value in turn["values"].values())
            demanded += len(turn["values"])
    assert demanded > len(rows)


def test_consecutive_nodes_of_a_speaker_are_one_turn_and_silent_ones_none():
    steps = [
        {"speaker": speaker, "node": node, "demands": demands}
        for speaker, node, demands in [
            ("agent", "a", ["x"]),
            ("agent", "b", ["y", "x"]),
            ("user", "c", []),
            ("agent", "d", []),
            (None, "e", []),
        ]
    ]
    draw = {"x": "1", "y": "2"}
    assert turns(steps, ["One.", "Two.", "Yes.", "Bye.", ""], [draw] * 5) == [
        {"role": "assistant", "content": "One. Two.", "nodes": ["a", "b"], "values": draw, "call": ""},
        {"role": "user", "content": "Yes.", "nodes": ["c"], "values": {}, "call": ""},
        {"role": "assistant", "content": "Bye.", "nodes": ["d"], "values": {}, "call": ""},
    ]


def test_what_is_asked_of_a_tool_belongs_to_the_agents_turn_and_the_answer_is_a_turn_of_its_own():
    find = {"name": "find", "arguments": {"order": "{order}"}}
    tool = {"speaker": "tool", "demands": [], "call": find}
    steps = [
        {"speaker": "user", "node": "tell", "demands": []},
        {"speaker": "agent", "node": "look", "demands": ["order"]},
        tool | {"node": "find", "result": {"error": "timeout"}},
        tool | {"node": "again", "result": {"day": "{day}", "order": "No. {order}"}},
        {"speaker": "agent", "node": "told", "demands": ["day"]},
    ]
    draw = {"order": "7", "day": "Möntag"}
    found = turns(steps, ["It is 7.", "7, one moment.", "", "", "On Möntag."], [draw] * 5)
    call = '{"name": "find", "arguments": {"order": "7"}}'
    assert [(turn["role"], turn["content"], turn["call"]) for turn in found] == [
        ("user", "It is 7.", ""),
        ("assistant", "7, one moment.", call),
        ("tool", '{"error": "timeout"}', ""),
        ("assistant", "", call),
        ("tool", '{"day": "Möntag", "order": "No. 7"}', ""),
        ("assistant", "On Möntag.", ""),
    ]
    assert [turn["values"] for turn in found] == [{}, {"order": "7"}, {}, {}, {}, {"day": "Möntag"}]


# -- what an edit asks for -------------------------------------------------------------------------------------------


def edit(tmp_path: Path, text: str, **settings) -> tuple[dict, dict, set[str]]:
    """Converse the toy, then an edit of it with the same cache: rows before, rows after, the ids asked again."""
    before = converse_toy(tmp_path)
    known = set(times_asked(tmp_path / "cache"))
    after = converse_toy(tmp_path, text, **settings)
    asked = times_asked(tmp_path / "cache")
    assert set(asked.values()) <= {1} and counted(tmp_path)["calls"] == len(asked) - len(known)
    return before, after, set(asked) - known


EDITS = {
    "a node": ('"Which size of {drink}, and for how much?"', '"What size of {drink}, and how much?"', "ask_size"),
    "one more phrasing": ('"Get the boss."', '"Get the boss.", "The owner!"', "answer->handed_over"),
    "an end": ('"Your {drink}, enjoy it!"', '"Enjoy your {drink}!"', "served"),
}


@pytest.mark.parametrize("what", EDITS)
def test_an_edit_of_words_asks_for_the_conversations_that_pass_them_and_no_others(tmp_path, what):
    old, new, step = EDITS[what]
    before, after, asked = edit(tmp_path, changed(old, new))
    passing = {name for name, talk in talks(tmp_path / "toy").items() if step in talk["steps"]}
    assert len(asked) == len(passing) and 0 < len(passing) < len(after) == len(before)
    differ = {name for name in after if after[name] != before[name]}
    assert differ and differ <= passing


SILENT = {
    "a prompt": ("prompt: Ask for the size of the {drink}", "prompt: Kindly ask for the size of the {drink}"),
    "a when": ("when: the owner is asked for", "when: the boss is asked for"),
    "a title": ("title: Coffee counter", "title: Tea counter"),
    "the system prompt": ("system: You sell coffee.", "system: You sell tea."),
}


@pytest.mark.parametrize("what", SILENT)
def test_an_edit_that_the_teacher_does_not_see_asks_for_nothing(tmp_path, what):
    before, after, asked = edit(tmp_path, changed(*SILENT[what]))
    assert not asked and after == before


def test_a_changed_draw_is_asked_for(tmp_path):
    before, after, asked = edit(tmp_path, changed("matcha]", "matcha, ristretto]"))
    differ = {name for name in after if after[name] != before[name]}
    assert len(asked) == len(differ) > 0 and len(differ) < len(after) / 3


def test_a_prompt_that_demands_values_in_another_order_asks_for_nothing(tmp_path):
    line = "Repeat the {tier} of {name}."
    converse_toy(tmp_path, DESK)
    assert counted(tmp_path)["calls"]
    text = DESK.replace(line, "Repeat {name} and {tier}.")
    rows = converse_toy(tmp_path, text)
    assert counted(tmp_path)["calls"] == 0
    assert all(list(row["turns"][2]["values"]) == ["name", "tier"] for row in rows.values())


def test_another_teacher_is_asked_anew(tmp_path, monkeypatch):
    before = converse_toy(tmp_path)
    monkeypatch.setattr(builtin.BuiltinTeacher, "identity", lambda self: {"backend": "builtin", "code": "another"})
    assert converse_toy(tmp_path) == before
    assert counted(tmp_path) == Counter(calls=len(before))


def test_a_torn_answer_is_asked_again_and_comes_out_the_same(tmp_path):
    before = converse_toy(tmp_path)
    torn = sorted((tmp_path / "cache" / "answers").rglob("*.json"))[:5]
    for file in torn:
        file.write_bytes(file.read_bytes()[:-9])
    assert converse_toy(tmp_path) == before
    assert counted(tmp_path) == Counter(calls=5, cached=len(before) - 5)
