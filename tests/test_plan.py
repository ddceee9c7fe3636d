"""From a spec to the work of each shard: what an edit changes in it, what is held out, how often a path is drawn."""

import json
import os
import subprocess
import sys
from collections import Counter
from itertools import pairwise
from pathlib import Path

import pytest
from subterra import draws, paths, plan, records
from subterra.checker import check_spec
from subterra.errors import SpecError
from toy_spec import TOY, changed, write

SETTINGS = {
    "seed": 1,
    "paths": {"rule": "trail", "limit": 1_000},
    "held_out": {"paths": 0.3, "values": 0.3, "phrasings": 0.3},
    "conversations": dict.fromkeys(plan.SPLITS, 40) | {"train": 400},
    "interruptions": {"rate": 0.1},
    "shards": 16,
    "teacher": {"backend": "builtin"},
}

# A lounge that only some tiers may enter: an agent's hub, decided by what the customer said.
DESK = """\
title: Desk
system: You watch a door.
start: greet
variables:
  tier: {from: 1, to: 12}
  name: [Ada, Bo, Cy, Di, Ed, Flo, Gus, Hal, Ida, Jo, Kim, Lee]
nodes:
  greet: {role: agent, prompt: Ask who it is., says: [Who is it?, "Hello, who is there?"], next: tell}
  tell: {role: user, says: ["{name}, of tier {tier}."], next: decide}
  decide:
    role: agent
    prompt: Repeat the {tier} of {name}.
    says: ["{name} of {tier}.", "So it is {name}, tier {tier}."]
    next:
      - {to: lounge, when: a high tier, where: {tier: ["10", "11", "12"]}}
      - {to: hall, when: a low tier, where: {tier: ["1", "2", "3", "4", "5", "6", "7", "8", "9"]}}
  lounge: {role: end, outcome: lounge, prompt: Open the lounge., says: [The lounge is open.]}
  hall: {role: end, outcome: hall, prompt: Open the hall., says: [The hall is open.]}
"""

# The same, with a customer who has several ways to say it: some of them can be held out.
ONE_WAY = 'says: ["{name}, of tier {tier}."]'
WAYS = [
    "{name}, of tier {tier}.",
    "Tier {tier}, {name}.",
    "I am {name}, tier {tier}.",
    "{name} here, with tier {tier}.",
    "It is {name}. My tier is {tier}.",
]
CHATTY = changed(ONE_WAY, f"says: {json.dumps(WAYS)}", DESK)


def plan_toy(folder: Path, text: str = TOY, **settings) -> Path:
    """Plan a spec into `folder`/toy and return that."""
    folder.mkdir(exist_ok=True)
    plan.plan_agent(write(folder, text), folder / "toy", SETTINGS | settings)
    return folder / "toy"


def shards(folder: Path) -> dict[str, dict]:
    """Return the work of each shard by file name."""
    return {file.name: json.loads(file.read_text()) for file in sorted((folder / "shards").iterdir())}


def talks(folder: Path) -> dict[str, dict]:
    """Return the conversations of all shards by id."""
    every = [talk for work in shards(folder).values() for talk in work["conversations"]]
    assert len(every) == len({talk["id"] for talk in every})
    return {talk["id"]: talk for talk in every}


def held_out(folder: Path) -> dict[str, bool]:
    """Return of every path whether it is held out."""
    return {row["path"]: row["held_out"] for row in records.read_table(folder / "paths.parquet", records.PATH)}


def without(told: dict[str, dict], some: set[str]) -> dict[str, dict]:
    """Return conversations but for those along some paths."""
    return {name: talk for name, talk in told.items() if talk["path"] not in some}


def age(folder: Path) -> None:
    """Make all files of a folder old, so that a written one shows."""
    for file in folder.rglob("*.*"):
        os.utime(file, (1, 1))


def written(folder: Path) -> set[str]:
    """Return the names of the shard files that were written since `age`."""
    return {file.name for file in (folder / "shards").iterdir() if file.stat().st_mtime != 1}


def contents(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*.*") if file.is_file()}


@pytest.fixture
def toy(tmp_path) -> Path:
    return plan_toy(tmp_path)


# -- what an edit changes --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("hash_seed", ["1", "2"])
def test_the_same_spec_gives_the_same_files_byte_for_byte_in_any_process(toy, tmp_path, hash_seed):
    code = f"from test_plan import *; plan_toy(Path({str(tmp_path / 'again')!r}))"
    places = f"{Path(__file__).parent}{os.pathsep}{Path(plan.__file__).parent.parent}"
    subprocess.run([sys.executable, "-c", code], check=True, env={"PYTHONPATH": places, "PYTHONHASHSEED": hash_seed})
    assert contents(tmp_path / "again" / "toy") == contents(toy)


def test_a_second_plan_does_nothing_at_all(toy, tmp_path, monkeypatch):
    age(toy)
    monkeypatch.setattr(plan, "check_spec", lambda *_: pytest.fail("the spec was read again"))
    plan_toy(tmp_path)
    assert all(file.stat().st_mtime == 1 for file in toy.rglob("*.*"))


def test_a_file_that_was_lost_is_planned_again(toy, tmp_path):
    before = contents(toy)
    (toy / "shards" / "003.json").unlink()
    plan_toy(tmp_path)
    assert contents(toy) == before


REWRITTEN = {
    "a comment": changed("start: greet", "start: greet  # where all begins"),
    "the layout": changed('    says: ["Hello! What may I bring you?"', '    says:  [ "Hello! What may I bring you?"'),
    "the order of keys": changed("title: Coffee counter\n", "") + "title: Coffee counter\n",
    "the order of phrasings": changed('"Yes.", "That is right."', '"That is right.", "Yes."'),
}


@pytest.mark.parametrize("what", REWRITTEN)
def test_an_edit_of_form_rewrites_no_shard(what, toy, tmp_path):
    before = contents(toy)
    age(toy)
    plan_toy(tmp_path, REWRITTEN[what])
    after = contents(toy)
    assert not written(toy) and after.pop("plan.json") != before.pop("plan.json")
    assert after == before


EDITS = {
    "a node": ('"Which size of {drink}, and for how much?"', '"What size of {drink}, and how much?"', "ask_size"),
    "a prompt": ("prompt: Ask for the size of", "prompt: Ask politely for the size of", "ask_size"),
    "a way": ('"Wait, once more."', '"Wait, once again."', "answer->order"),
    "a when": ("when: the owner is asked for", "when: the boss is asked for", "answer->handed_over"),
}


@pytest.mark.parametrize("what", EDITS)
def test_an_edit_of_words_changes_only_the_shards_that_pass_them(what, toy, tmp_path):
    old, new, step = EDITS[what]
    passing = {name for name, work in shards(toy).items() if step in work["steps"]}
    before = talks(toy)
    age(toy)
    plan_toy(tmp_path, changed(old, new))
    assert written(toy) == passing and 0 < len(passing) < SETTINGS["shards"]
    assert talks(toy) == before


def test_every_shard_holds_the_steps_of_its_conversations_and_no_others(toy):
    for work in shards(toy).values():
        assert set(work["steps"]) == {step for talk in work["conversations"] for step in talk["steps"]}
        for talk in work["conversations"]:
            assert [step.split("->")[0] for step in talk["steps"]] == talk["nodes"]


def test_a_new_way_and_node_leave_the_conversations_of_other_paths_alone(tmp_path):
    text = changed("rule: trail", "rule: 'visits: 3'")
    wanted = SETTINGS["conversations"] | {"train": 320, "valid": 60, "known": 60, "held_out_values": 80}
    folder = plan_toy(tmp_path, text, conversations=wanted)
    before, known = talks(folder), held_out(folder)
    way = "- {to: refunded, when: money is wanted back, says: [Give me my money back., A refund please.]}\n"
    text = changed("      - {to: served,", f"      {way}      - {{to: served,", text)
    plan_toy(tmp_path, text + "  refunded: {role: end, outcome: none}\n", conversations=wanted)
    after, now = talks(folder), held_out(folder)
    # A path whose lot is to be held out, and which alone held a pair, may be let go now that another has the pair.
    freed = {path for path in known if now[path] and not known[path]}
    assert len(freed) <= 1 and all(now[path] for path in known if known[path]) and len(now) > len(known)
    assert without(after, freed | (now.keys() - known.keys())) == without(before, freed)


def test_a_new_path_that_halves_the_draws_keeps_half_of_them(tmp_path):
    before, after = (
        talks(plan_toy(tmp_path / name, conversations=dict.fromkeys(SETTINGS["conversations"], wanted)))
        for name, wanted in (("before", 80), ("after", 40))
    )
    assert len(before) == 2 * len(after) and after.items() <= before.items()


def test_a_new_value_of_n_changes_one_draw_in_n_and_only_to_itself(toy, tmp_path):
    before = talks(toy)
    plan_toy(tmp_path, changed("matcha]", "matcha, ristretto]"))
    after = talks(toy)
    assert after.keys() == before.keys()
    spoken = [name for name, talk in before.items() if "drink" in talk["values"]]
    moved = [name for name in spoken if after[name] != before[name]]
    assert all(after[n]["values"] == before[n]["values"] | {"drink": "ristretto"} for n in moved)
    assert {name for name in after if after[name] != before[name]} == set(moved)
    assert 0.6 / 7 < len(moved) / len(spoken) < 1.6 / 7


def test_draws_use_every_value_about_as_often(toy):
    counts = Counter(talk["values"]["drink"] for talk in talks(toy).values() if "drink" in talk["values"])
    assert len(counts) == 6 and max(counts.values()) < 1.6 * min(counts.values())


def test_another_seed_draws_other_values(toy, tmp_path):
    before = talks(toy)
    after = talks(plan_toy(tmp_path / "other", seed=2))
    assert {tuple(talk["values"].items()) for talk in before.values()} != {
        tuple(talk["values"].items()) for talk in after.values()
    }


def test_fewer_shards_leave_no_old_file_and_the_same_conversations(toy, tmp_path):
    before = talks(toy)
    (toy / "shards" / "006.json").unlink()
    plan_toy(tmp_path, shards=5)
    assert list(shards(toy)) == [f"{number:03}.json" for number in range(5)]
    assert talks(toy) == before


def test_a_mistake_in_the_spec_leaves_the_earlier_files_alone(toy, tmp_path):
    before = contents(toy)
    with pytest.raises(SpecError, match="ordr"):
        plan_toy(tmp_path, changed("    next: order\n  quote", "    next: ordr\n  quote"))
    assert contents(toy) == before


def test_a_plan_that_was_cut_off_is_not_taken_for_the_one_before(toy, tmp_path, monkeypatch):
    before, write_if_changed = contents(toy), plan.write_if_changed

    def killed(path, content):
        if Path(path).name == "009.json":
            raise KeyboardInterrupt
        return write_if_changed(path, content)

    monkeypatch.setattr(plan, "write_if_changed", killed)
    with pytest.raises(KeyboardInterrupt):
        plan_toy(tmp_path, changed("Hello! What", "Hi! What"))
    assert contents(toy) != before
    monkeypatch.undo()
    plan_toy(tmp_path)
    assert contents(toy) == before


# -- what is held out ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("seed", range(4))
def test_what_is_trained_on_takes_every_edge_and_edge_pair(tmp_path, share, seed):
    derived = paths.derive(check_spec(write(tmp_path, TOY)), 1_000).paths
    drawn = plan.hold_out_paths(derived, share, seed)
    kept = [path for path in derived if path not in drawn]
    assert drawn < set(derived) and (drawn or share < 0.5)
    assert paths.edges_of(kept) == paths.edges_of(derived)
    assert paths.edge_pairs_of(kept) == paths.edge_pairs_of(derived)


def test_a_path_is_trained_on_or_held_out_never_both(toy):
    rows = held_out(toy)
    assert {True, False} == set(rows.values())
    for talk in talks(toy).values():
        assert rows[talk["path"]] == (talk["split"] == "held_out_paths")
    assert json.loads((toy / "paths.json").read_text())["held_out"] == sum(rows.values())


@pytest.mark.parametrize("text", [TOY, DESK], ids=["toy", "desk"])
def test_held_out_values_are_drawn_where_they_are_measured_and_nowhere_else(tmp_path, text):
    folder = plan_toy(tmp_path, text)
    kept = json.loads((folder / "paths.json").read_text())["held_out_values"]
    assert list(kept) == (["price"] if text == TOY else ["name"])
    seen = Counter()
    for talk in talks(folder).values():
        inside = {name: talk["values"][name] in kept[name] for name in kept if name in talk["values"]}
        assert all(inside.values()) if talk["split"] == "held_out_values" else not any(inside.values())
        assert inside or talk["split"] != "held_out_values"
        seen[talk["split"]] += 1
    assert min(seen.values()) >= 40 and len(seen) == (5 if text == TOY else 4)


def test_a_small_pool_and_a_variable_that_decides_a_way_hold_out_nothing(tmp_path):
    flowchart = check_spec(write(tmp_path, DESK))
    for seed in range(10):
        kept = plan.hold_out_values(flowchart, 0.5, seed)
        assert kept["tier"] == () and 0 < len(kept["name"]) < 12
    assert not any(plan.hold_out_values(check_spec(write(tmp_path, TOY)), 0.9, 1)[name] for name in ("drink", "size"))


@pytest.mark.parametrize("share", [0.01, 0.3, 0.99])
def test_of_several_phrasings_some_are_held_out_and_never_all(tmp_path, share):
    folder = plan_toy(tmp_path, CHATTY, held_out={"paths": 0.3, "values": 0.3, "phrasings": share})
    for work in shards(folder).values():
        for name, step in work["steps"].items():
            assert bool(step["held_out_says"]) == (name == "tell->decide") and step["says"]
            assert not set(step["says"]) & set(step["held_out_says"])
    assert sum(talk["split"] == "held_out_phrasings" for talk in talks(folder).values()) >= 40


def test_without_phrasings_to_hold_out_there_is_nothing_to_measure_them_by(tmp_path, toy):
    none = plan_toy(tmp_path / "none", CHATTY, held_out={"paths": 0.3, "values": 0.3, "phrasings": 0})
    for folder in (toy, none):  # the ways of the toy are too few
        assert "held_out_phrasings" not in {talk["split"] for talk in talks(folder).values()}
        assert not any(step["held_out_says"] for work in shards(folder).values() for step in work["steps"].values())


def test_a_new_phrasing_changes_what_is_held_out_only_to_itself(tmp_path):
    held_out = draws.hold_out_phrasings
    for number in range(50):
        before, after = held_out(WAYS, 0.3, number), held_out([*WAYS, "New: {name}, {tier}."], 0.3, number)
        # At least one is held out: one that was so only for that is let go where the new one has the lot.
        assert set(after) - set(before) <= {"New: {name}, {tier}."} and len(set(before) - set(after)) <= 1


def test_draws_respect_where(tmp_path):
    seen = {"lounge": set(), "hall": set()}
    for talk in talks(plan_toy(tmp_path, DESK)).values():
        seen[talk["outcome"]].add(int(talk["values"]["tier"]))
    assert seen == {"lounge": {10, 11, 12}, "hall": set(range(1, 10))}


# -- how often, how long ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("wanted", [1, 7, 50, 330, 1_000, 4_000, 32_000])
@pytest.mark.parametrize("split", ["train", "known"])
def test_paths_come_to_about_the_conversations_that_are_wanted(wanted, split):
    names = [paths.path_id((str(number),)) for number in range(1_000)]
    draws = [plan.draws_of(name, split, wanted, len(names)) for name in names]
    assert all(not count or count.bit_count() == 1 for count in draws)
    assert len(set(draws)) == 1 or set(draws) == {0, 1}
    if split == "train":
        assert 0.6 * wanted <= sum(draws) + 2 and sum(draws) <= 1.5 * wanted + 2
    else:
        assert wanted <= sum(draws) <= 2 * wanted + 10 * wanted**0.5


def test_outside_training_there_are_at_least_as_many_as_wanted():
    for peers in (3, 64, 500, 4_000):
        names = [paths.path_id((str(number),)) for number in range(peers)]
        for wanted in (1, 4, 16, 60, 125, 250):
            for split in ("valid", "known", "held_out_paths"):
                assert sum(plan.draws_of(name, split, wanted, peers) for name in names) >= wanted, (peers, wanted)


def test_fewer_wanted_are_some_of_the_same_and_none_are_none():
    names = [paths.path_id((str(number),)) for number in range(500)]
    few, more = ({n for n in names if plan.draws_of(n, "train", wanted, 500)} for wanted in (60, 250))
    assert 0 < len(few) < len(more) and few < more
    assert plan.draws_of(names[0], "train", 0, 500) == plan.draws_of(names[0], "train", 9, 0) == 0


def test_nodes_of_one_speaker_in_a_row_are_one_turn_and_silent_ends_none(tmp_path):
    text = changed("    next: answer\n", "    next: extra\n")
    text += "  extra: {role: agent, prompt: Offer a biscuit., says: [A biscuit is free.], next: answer}\n"
    flowchart = check_spec(write(tmp_path, text))
    assert plan.turns_of(flowchart, ("greet", "order", "left")) == 2
    assert plan.turns_of(flowchart, ("greet", "order", "quote", "extra", "answer", "served")) == 5
    for row in records.read_table(plan_toy(tmp_path, text) / "paths.parquet"):
        speakers = [speaker for speaker in map(flowchart.speaks, row["nodes"]) if speaker]
        assert row["turns"] == 1 + sum(before != after for before, after in pairwise(speakers))
