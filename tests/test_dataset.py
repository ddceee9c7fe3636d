"""From conversations to train, valid and test: checked, split, each words once, and digests that say what changed."""

import copy
import json
from itertools import combinations
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from subterra import dataset, paths, records
from subterra.errors import SubterraError
from test_converse import converse_toy
from test_converse import no_waiting_for_the_disk as no_waiting_for_the_disk
from test_plan import DESK
from toy_spec import TOY

COUNTS = [
    {
        "backend": "builtin",
        "model": None,
        "calls": n,
        "cached": 1,
        "tokens_in": 2,
        "tokens_cached": 0,
        "tokens_out": 3,
        "dollars": 0.5,
    }
    for n in (10, 20)
]
TOLD = {
    "held_out": 1,
    "edges": 4,
    "edges_covered": 4,
    "edge_pairs": 3,
    "edge_pairs_covered": 3,
    "held_out_values": {"drink": ["chai"]},
}


def turn(role: str, content: str, node: str, **values: str) -> dict:
    return {"role": role, "content": content, "nodes": [node], "values": values, "call": ""}


def row(name: str, split: str = "train", drink: str = "mocha") -> dict:
    """Return a good conversation; its words differ where its name does."""
    return {
        "id": name,
        "path": "p",
        "split": split,
        "nodes": ["greet", "order", "served"],
        "outcome": "served",
        "values": {"drink": drink},
        "corrected": {},
        "turns": [
            turn("assistant", f"Hello from {name}!", "greet"),
            turn("user", f"One {drink}.", "order"),
            turn("assistant", f"Your {drink}.", "served", drink=drink),
        ],
    }


ROWS = [
    row("a"),
    row("b"),
    row("c", "valid"),
    row("d", "known"),
    row("e", "held_out_paths"),
    row("f", "held_out_values"),
]


def assemble(folder: Path, *shards: list[dict]) -> dict:
    """Write shards and assemble them into `folder`/dataset; return the summary."""
    files = [
        records.write_table(rows, records.CONVERSATION, folder / f"{number}.parquet")
        for number, rows in enumerate(shards)
    ]
    return dataset.assemble(files, COUNTS, TOLD, folder / "dataset")


def part(folder: Path, name: str) -> list[dict]:
    return records.read_table(folder / "dataset" / f"{name}.parquet", records.CONVERSATION)


def digests(folder: Path, rows: list[dict]) -> tuple[str, str]:
    """Return the digests of (train, test) of a data set of these rows."""
    assemble(folder, rows)
    return tuple((folder / "dataset" / f"{name}.digest").read_text() for name in ("train", "test"))


# -- faults ----------------------------------------------------------------------------------------------------------


def silent_agent(bad):
    bad["turns"] = [bad["turns"][1]]


def twice_running(bad):
    bad["turns"].insert(1, turn("assistant", "Well?", "greet"))


def set_content(number, text):
    def change(bad):
        bad["turns"][number]["content"] = text

    return change


def other_value(bad):
    bad["turns"][2]["values"] = {"drink": "chai"}


def no_words_and_no_call(bad):
    bad["turns"][2] |= {"content": "", "values": {}}


# What is done to a good conversation, and what the line has to hold beside its id.
FAULTS = {
    "the agent says nothing": (silent_agent, ["the agent says nothing", "says"]),
    "somebody speaks twice running": (twice_running, ["turn 1 (greet)", "assistant speaks twice running"]),
    "an empty turn": (set_content(1, " \n"), ["turn 1 (order)", "nothing is said"]),
    "a template that was not filled in": (set_content(0, "Hello {name}!"), ["turn 0 (greet)", "{name}"]),
    "a token of the template": (set_content(0, "Hello<|im_end|>"), ["turn 0 (greet)", "<|im_end|>"]),
    "a token with a number": (set_content(1, "<|reserved_special_token_0|>"), ["<|reserved_special_token_0|>"]),
    "a value that is not said": (set_content(2, "Your drink."), ["turn 2 (served)", "drink 'mocha' is not said"]),
    "a value that is part of a word": (set_content(2, "Your mochas."), ["drink 'mocha' is not said"]),
    "a value that holds there and is not said": (other_value, ["turn 2 (served)", "drink 'chai' is not said"]),
    "an agent without words or a call": (no_words_and_no_call, ["turn 2 (served)", "nothing is said"]),
}


@pytest.mark.parametrize("what", FAULTS)
def test_a_fault_stops_the_build_with_a_line_that_names_the_conversation(tmp_path, what):
    change, holds = FAULTS[what]
    bad = row("bad")
    assert dataset.faults(bad) == []
    change(bad)
    with pytest.raises(SubterraError) as caught:
        assemble(tmp_path, ROWS, [bad])
    (line,) = str(caught.value).splitlines()
    assert line.startswith("conversation bad") and line.isprintable() and all(piece in line for piece in holds), line
    assert not (tmp_path / "dataset").exists()


def test_an_agent_that_only_calls_a_tool_has_no_fault():
    good = row("a")
    good["turns"][2:] = [
        turn("assistant", "", "brew") | {"call": '{"name": "brew", "arguments": {}}'},
        turn("tool", '{"ready": "yes"}', "brew"),
        *good["turns"][2:],
    ]
    assert dataset.faults(good) == []


def test_interrupted_conversations_are_counted_and_cover_only_the_ways_they_take(tmp_path):
    interrupted = row("x") | {"nodes": ["greet", "wait?", "wait!", "order", "human?", "served"]}
    summary = assemble(tmp_path, ROWS, [interrupted])
    assert summary["interrupted"] == 1
    assert summary["edges_covered"] == [2, 4] and summary["edge_pairs_covered"] == [1, 3]


def test_many_faults_are_told_ten_at_a_time(tmp_path):
    rows = [row(f"r{number:02}") for number in range(14)]
    for bad in rows:
        bad["turns"][0]["content"] = ""
    with pytest.raises(SubterraError) as caught:
        assemble(tmp_path, rows)
    lines = str(caught.value).splitlines()
    assert len(lines) == 11 and lines[-1] == "and 4 more" and lines[9].startswith("conversation r09")


def test_numbers_are_said_with_or_without_commas(tmp_path):
    good = row("a", drink="1500")
    good["turns"][2]["content"] = "That is 1,500 dollars."
    assert dataset.faults(good) == []
    good["turns"][2]["content"] = "That is 11,500 dollars."
    assert dataset.faults(good) != []


# -- parts -----------------------------------------------------------------------------------------------------------


def test_each_split_goes_to_its_part_in_the_order_of_ids(tmp_path):
    summary = assemble(tmp_path, ROWS[3:], ROWS[:3][::-1])
    assert [[one["id"] for one in part(tmp_path, name)] for name in dataset.PARTS] == [
        ["a", "b"],
        ["c"],
        ["d", "e", "f"],
    ]
    assert [one for name in dataset.PARTS for one in part(tmp_path, name)] == ROWS
    assert summary == json.loads((tmp_path / "dataset" / "summary.json").read_text())
    assert summary["conversations"] == {"train": 2, "valid": 1, "known": 1, "held_out_paths": 1, "held_out_values": 1}
    assert summary["turns"] == 18 and summary["dropped"] == {"duplicates": 0}
    assert summary["teacher"] == COUNTS[0] | {
        "calls": 30,
        "cached": 2,
        "tokens_in": 4,
        "tokens_out": 6,
        "dollars": 1.0,
    }
    assert summary["edges_covered"] == [2, 4] and summary["edge_pairs_covered"] == [1, 3]


def test_the_same_words_are_kept_once_and_rather_in_training(tmp_path):
    rows = copy.deepcopy(ROWS)
    for number, split in enumerate(["held_out_values", "known", "valid", "train", "train"]):
        rows.append(row("a", split) | {"id": f"0{number}"})  # the words of a
    rows.append(row("d", "held_out_paths") | {"id": "zz"})  # the words of d
    summary = assemble(tmp_path, rows)
    assert [[one["id"] for one in part(tmp_path, name)] for name in dataset.PARTS] == [
        ["03", "b"],
        ["c"],
        ["d", "e", "f"],
    ]
    assert summary["dropped"] == {"duplicates": 6} and summary["conversations"]["train"] == 2


def test_the_same_words_of_another_speaker_are_no_duplicate(tmp_path):
    other = row("a", "known") | {"id": "x"}
    other["turns"] = [turn("user", "Hello from a!", "order"), *other["turns"][2:]]
    short = row("a", "known") | {"id": "y", "turns": row("a")["turns"][:1]}
    assert assemble(tmp_path, ROWS, [other, short])["dropped"] == {"duplicates": 0}


@pytest.mark.parametrize("text", [TOY, DESK], ids=["toy", "desk"])
def test_parts_share_no_words_and_held_out_paths_share_no_path(tmp_path, text):
    rows = list(converse_toy(tmp_path, text).values())
    told = json.loads((tmp_path / "toy" / "paths.json").read_text())
    summary = dataset.assemble(
        [records.write_table(rows, records.CONVERSATION, tmp_path / "all.parquet")], COUNTS, told, tmp_path / "dataset"
    )
    parts = {name: part(tmp_path, name) for name in dataset.PARTS}
    assert all(parts.values()) and summary["dropped"]["duplicates"] == len(rows) - sum(map(len, parts.values()))
    for one, other in combinations(parts, 2):
        assert not {one_["id"] for one_ in parts[one]} & {other_["id"] for other_ in parts[other]}
        assert not {words(talk) for talk in parts[one]} & {words(talk) for talk in parts[other]}
    trained = {talk["path"] for name in ("train", "valid") for talk in parts[name]}
    held_out = {talk["path"] for talk in parts["test"] if talk["split"] == "held_out_paths"}
    assert not trained & held_out and bool(held_out) == (text == TOY)
    assert {talk["path"] for talk in parts["test"]} - held_out <= trained
    seen = {
        (name, value) for name in ("train", "valid") for talk in parts[name] for name, value in talk["values"].items()
    }
    assert told["held_out_values"] and not seen & {
        (name, value) for name, values in told["held_out_values"].items() for value in values
    }
    nodes = [tuple(talk["nodes"]) for talk in parts["train"]]
    assert (
        summary["edges_covered"] == [told["edges_covered"]] * 2 and len(paths.edges_of(nodes)) == told["edges_covered"]
    )


def words(talk: dict) -> tuple:
    return tuple((one["role"], one["content"]) for one in talk["turns"])


# -- digests ---------------------------------------------------------------------------------------------------------

# What is edited in which conversation, and whether that makes (training, evaluation) stale.
DIGESTS = {
    "a training customer's words": ("a", 1, "A mocha!", (True, False)),
    "a training agent's words": ("a", 0, "Good day!", (True, True)),
    "a measured customer's words": ("c", 1, "A mocha!", (True, False)),
    "a measured agent's words": ("c", 0, "Good day!", (True, False)),
    "a scenario's customer's words": ("d", 1, "A mocha!", (False, True)),
    "a scenario's agent's words": ("e", 0, "Good day!", (False, True)),
}


@pytest.mark.parametrize("what", DIGESTS)
def test_a_digest_changes_where_what_hangs_on_it_is_stale(tmp_path, what):
    name, number, text, stale = DIGESTS[what]
    before = digests(tmp_path, ROWS)
    rows = copy.deepcopy(ROWS)
    next(one for one in rows if one["id"] == name)["turns"][number]["content"] = text
    after = digests(tmp_path, rows)
    assert tuple(old != new for old, new in zip(before, after, strict=True)) == stale


def test_more_scenarios_leave_training_alone_and_more_training_does_not(tmp_path):
    before = digests(tmp_path, ROWS)
    more, trained = digests(tmp_path, [*ROWS, row("g", "known")]), digests(tmp_path, [*ROWS, row("g")])
    assert more[0] == before[0] and more[1] != before[1]
    assert trained[0] != before[0]
    assert digests(tmp_path, [*ROWS, row("a") | {"id": "zz"}]) == before  # dropped


def test_shards_and_their_order_do_not_show(tmp_path):
    once = {}
    for name, shards in {"one": [ROWS], "many": [[one] for one in ROWS[::-1]]}.items():
        assemble(tmp_path / name, *shards)
        once[name] = {file.name: file.read_bytes() for file in (tmp_path / name / "dataset").iterdir()}
    assert once["one"] == once["many"] and len(once["one"]) == 6


def test_turns_are_told_apart_by_speaker():
    assert dataset.agent_turns([row("a")]) == [("Hello from a!", "greet"), ("Your mocha.", "served")]
    assert dataset.customer_words([row("a")]) == ["One mocha."]


# -- the tables ------------------------------------------------------------------------------------------------------


def fields(kind) -> list[pa.Field]:
    """Return all fields of a schema, those inside structs included."""
    found = []
    for field in kind:
        inner = field.type.value_type if pa.types.is_list(field.type) else field.type
        found += [field, *(fields(inner) if pa.types.is_struct(inner) else [])]
    return found


@pytest.mark.parametrize("name", ["PATH", "CONVERSATION", "DIALOGUE", "SCORE", "LOSS"])
def test_every_field_of_a_table_says_what_it_holds(name):
    for field in fields(getattr(records, name)):
        assert len((field.metadata or {}).get(b"description", b"").decode()) > 5, field.name


@pytest.mark.parametrize("name", dataset.PARTS)
def test_the_files_carry_the_descriptions(tmp_path, name):
    assemble(tmp_path, ROWS)
    schema = pq.read_schema(tmp_path / "dataset" / f"{name}.parquet")
    assert schema.equals(records.CONVERSATION)
    told = [(field.name, field.metadata[b"description"]) for field in fields(schema)]
    assert told == [(field.name, field.metadata[b"description"]) for field in fields(records.CONVERSATION)]
    assert len(told) == 13


def test_a_table_of_another_schema_is_refused(tmp_path):
    file = records.write_table([], records.LOSS, tmp_path / "loss.parquet")
    assert records.read_table(file, records.LOSS) == []
    with pytest.raises(ValueError, match=r"loss\.parquet: written with another schema"):
        records.read_table(file, records.CONVERSATION)
