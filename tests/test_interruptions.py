"""What customers may say at any turn: how it is declared, where it comes, and what holds afterwards."""

import json
import os
from pathlib import Path

import pytest
from subterra import plan
from subterra.checker import check_spec
from subterra.conformance import says
from subterra.draws import hold_out_values, names_of, steps_of
from subterra.flowchart import ANSWERED, HEARD, Flowchart
from test_converse import converse_toy
from test_converse import no_waiting_for_the_disk as no_waiting_for_the_disk
from test_plan import SETTINGS, plan_toy, talks
from test_soundness import mistakes
from toy_spec import SHOP, changed, write

MANY = dict.fromkeys(plan.SPLITS, 16) | {"train": 128, "interruptions": 32}
QUIET = {"known", "held_out_paths", "held_out_values", "held_out_phrasings"}
HUMAN = "  human: {when: the customer wants a person"
STAYING = SHOP[: SHOP.index(HUMAN)]  # without the interruption that ends a talk


def with_one(line: str, text: str = SHOP) -> str:
    """Return the shop with one more interruption, the last in the file."""
    return f"{text}  more: {{when: something else, {line}}}\n"


def settings(rate: float) -> dict:
    return {"conversations": MANY, "interruptions": {"rate": rate}, "shards": 2}


def planned(folder: Path, rate: float, text: str = SHOP) -> dict[str, dict]:
    """Plan the shop with a rate and return its conversations by id."""
    return talks(plan_toy(folder, text, **settings(rate)))


def conversed(folder: Path, rate: float, text: str = SHOP) -> dict[str, dict]:
    """Return the conversations of the shop, with their words, by id."""
    return converse_toy(folder, text, **settings(rate))


@pytest.fixture(scope="module")
def half(tmp_path_factory) -> list[dict]:
    """Conversations in which half of all turns are interrupted."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda _: None)
        return list(conversed(tmp_path_factory.mktemp("half"), 0.5).values())


@pytest.fixture(scope="module")
def every(tmp_path_factory) -> list[dict]:
    """Conversations in which every turn is interrupted, and none is ended by that."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda _: None)
        return list(conversed(tmp_path_factory.mktemp("every"), 1, STAYING).values())


@pytest.fixture
def staying(tmp_path) -> Flowchart:
    return check_spec(write(tmp_path, STAYING))


def heard(talk: dict) -> list[str]:
    """Return the interruptions of a conversation, in order."""
    return [name.removesuffix(HEARD) for name in talk["nodes"] if name.endswith(HEARD)]


def plain(talk: dict) -> list[str]:
    """Return the nodes of a conversation without the steps of interruptions that come back."""
    return [name for name in talk["nodes"] if not name.endswith((HEARD, ANSWERED))]


def answering_turns(flowchart: Flowchart, nodes: list[str]) -> set[int]:
    """Return the places in a path where the customer answers the agent."""
    speakers = [flowchart.speaks(name) for name in nodes]
    return {place for place in range(1, len(nodes)) if speakers[place - 1 : place + 1] == ["agent", "user"]}


# -- how it is declared ----------------------------------------------------------------------------------------------


def test_an_interruption_is_two_steps_named_after_it(tmp_path):
    flowchart = check_spec(write(tmp_path, SHOP))
    wait, human = flowchart.interruptions["wait"], flowchart.interruptions["human"]
    assert wait.steps == ("wait?", "wait!") and human.steps == ("human?", "lost")
    assert [flowchart.speaks(name) for name in (*wait.steps, *human.steps)] == ["user", "agent", "user", "agent"]
    assert flowchart.interruptions["fix"].corrects == ("name", "order")


OLD_WAIT = 'answers: ["Take your time.", "I can wait."]'
OLD_HUMAN = 'says: ["A person!", "A human, please."], to: lost}'
FIXED = 'answers: ["{new}, noted.", "So {new}."]'

# What is replaced, by what, the place, and what else the line has to hold: the value and the way out.
ONE_MISTAKE = {
    "unknown `to`": (
        ["to: lost}\n", "to: lst}\n"],
        "interruptions.human.to",
        ["'lst': no such node (did you mean 'lost'?): name an end"],
    ),
    "`to` is no end": (
        ["to: lost}\n", "to: greet}\n"],
        "interruptions.human.to",
        ["'greet' is no end that speaks: name one, or let the talk come back"],
    ),
    "`to` is an end without words": (
        ["to: lost}\n", "to: left}\n"],
        "interruptions.human.to",
        ["'left' is no end that speaks: name one, or let the talk come back"],
    ),
    "`to` is a tool": (["to: lost}\n", "to: find}\n"], "interruptions.human.to", ["'find' is no end that speaks"]),
    "empty `to`": (["to: lost}\n", "to: }\n"], "interruptions.human.to", ["empty: name an end"]),
    "`to` with answers": (
        [OLD_HUMAN, "says: [Help!], answers: [Yes.], to: lost}"],
        "interruptions.human.answers",
        ["the talk goes on at lost, whose words answer: take one of the two out"],
    ),
    "`to` with a prompt": (
        [OLD_HUMAN, "says: [Help!], prompt: Help., to: lost}"],
        "interruptions.human.prompt",
        ["the talk goes on at lost, whose words answer: take one of the two out"],
    ),
    "`to` with a correction": (
        [OLD_HUMAN, "says: ['{new}!'], corrects: name, to: lost}"],
        "interruptions.human.corrects",
        ["the talk goes on at lost, whose words answer: take one of the two out"],
    ),
    "a correction of no variable": (
        ["corrects: [name, order]", "corrects: [name, ordr]"],
        "interruptions.fix.corrects[1]",
        ["'ordr': no such variable (did you mean 'order'?): declare it under variables"],
    ),
    "a correction of a fact": (
        ["corrects: [name, order]", "corrects: [name, hours]"],
        "interruptions.fix.corrects[1]",
        ["'hours': no such variable", "declare it under variables"],
    ),
    "a correction of what the agent's knowledge hangs on": (
        ["corrects: [name, order]", "corrects: [name, color]"],
        "interruptions.fix.corrects",
        ["'color' cannot be corrected: its value decides", "take it out"],
    ),
    "a correction of what decides a way": (
        ["to: found, when: the order is there,", "to: found, when: it is there, where: {order: ['100', '101']},"],
        "interruptions.fix.corrects",
        ["'order' cannot be corrected: its value decides", "take it out"],
    ),
    "a correction of what only a tool says": (
        ["corrects: [name, order]", "corrects: [name, day]"],
        "interruptions.fix.corrects",
        ["'day' cannot be corrected: no customer ever says it: take it out"],
    ),
    "no customer's words": (
        ['    says: ["Wait a moment.", "Hold on."]\n', ""],
        "interruptions.wait.says",
        ["missing: the built-in teacher needs the customer's words: write some"],
    ),
    "no prompt": (
        ["    prompt: Say that there is time.\n", ""],
        "interruptions.wait.prompt",
        ["missing: tell the agent in a sentence how to answer, or name an end as `to`"],
    ),
    "no agent's words": (
        [f"    {OLD_WAIT}\n", ""],
        "interruptions.wait.answers",
        ["missing: the built-in teacher needs the agent's words: write some"],
    ),
    "no `when`": (
        ["    when: the customer needs a moment\n", ""],
        "interruptions.wait.when",
        ["missing: say what the customer does there"],
    ),
    "{old} outside a correction": (
        [OLD_WAIT, "answers: ['Not {old}.']"],
        "interruptions.wait.answers[0]",
        ["{old}: no such variable: declare it under variables"],
    ),
    "{new} in a node": (
        ["prompt: Say that you look.", "prompt: 'Look for {new}.'"],
        "nodes.look.prompt",
        ["{new}: no such variable: declare it under variables"],
    ),
    "a variable named old": (
        ["variables:\n", "variables:\n  old: [a, b]\n"],
        "interruptions.fix.corrects",
        ["'old' stands for a value of a correction: rename the variable or the fact"],
    ),
    "a fact named new": (
        ["knowledge:\n", "knowledge:\n  new: nothing\n"],
        "interruptions.fix.corrects",
        ["'new' stands for a value of a correction: rename the variable or the fact"],
    ),
    "an answer without what its prompt names": (
        [FIXED, 'answers: ["{new}, noted.", "Noted."]'],
        "interruptions.fix.answers[1]",
        ["'Noted.' does not say {new}, which the prompt names: add it"],
    ),
    "an answer with what its prompt does not name": (
        [OLD_WAIT, 'answers: ["Take your time, {name}."]'],
        "interruptions.wait.answers[0]",
        ["says {name}, which the prompt does not name: name it there or drop it"],
    ),
    "phrasings that name other things": (
        ['"I meant {new}, not {old}."', '"I meant {new}."'],
        "interruptions.fix.says[1]",
        ["'I meant {new}.' does not say {old}, as the other phrasings do: add it, or drop it there"],
    ),
    "a fact in the customer's mouth": (
        ["Wait a moment.", "Wait, {hours} is late."],
        "interruptions.wait.says[0]",
        ["{hours}: is knowledge of the agent's", "use a variable"],
    ),
    "unknown key": (
        ["    prompt: Say that there is time.", "    promt: x\n    prompt: Say that there is time."],
        "interruptions.wait.promt",
        ["unknown key 'promt' (did you mean 'prompt'?)"],
    ),
    "a wrong type": (
        ["interruptions:\n", "interruptions:\n  odd: Hm.\n"],
        "interruptions.odd",
        ["the word Hm. where a mapping with when, says and an answer belongs"],
    ),
    "an odd name": (
        ["  fix:\n", "  fix it:\n"],
        "interruptions.fix it",
        ["'fix it' is no interruption's name: letters, digits and _"],
    ),
}


@pytest.mark.parametrize("case", ONE_MISTAKE)
def test_a_mistake_is_one_line_with_place_value_and_way_out(tmp_path, case):
    replaced, place, pieces = ONE_MISTAKE[case]
    (found,) = mistakes(tmp_path, changed(*replaced, SHOP))
    assert found.startswith(f"{place}: ") and all(piece in found for piece in pieces), found


NOTHING_CORRECTED = {
    "[]": "interruptions.fix.corrects: [] corrects nothing: name the variables, or take the key out",
    "{name: order}": 'interruptions.fix.corrects: a mapping {"name": "order"} where a list of variables belongs',
    "nme": "interruptions.fix.corrects[0]: 'nme': no such variable (did you mean 'name'?): declare it",
}


@pytest.mark.parametrize("written", NOTHING_CORRECTED)
def test_a_correction_that_cannot_be_read_is_told_first(tmp_path, written):
    found = mistakes(tmp_path, changed("corrects: [name, order]", f"corrects: {written}", SHOP))
    assert found[0].startswith(NOTHING_CORRECTED[written])


@pytest.mark.parametrize("written", NOTHING_CORRECTED)
def test_a_correction_that_cannot_be_read_is_one_line(tmp_path, written):
    assert len(mistakes(tmp_path, changed("corrects: [name, order]", f"corrects: {written}", SHOP))) == 1


def test_without_a_built_in_teacher_the_words_may_be_left_out(tmp_path):
    text = changed('    says: ["Wait a moment.", "Hold on."]\n', "", changed(f"    {OLD_WAIT}\n", "", SHOP))
    assert check_spec(write(tmp_path, text), phrasings=False).interruptions["wait"].says == ()


def test_the_agent_never_has_to_say_a_new_value_that_the_customer_did_not_tell(tmp_path):
    text = changed('["Not {old}, {new}!", "I meant {new}, not {old}."]', '["That was wrong."]', SHOP)
    (found,) = mistakes(tmp_path, text)
    assert "interruptions.fix" in found and "{new}" in found


# -- where it comes --------------------------------------------------------------------------------------------------


def test_at_rate_0_nobody_interrupts_but_where_it_is_measured(tmp_path):
    for talk in planned(tmp_path, 0).values():
        assert len(heard(talk)) == (talk["split"] == "interruptions")


def test_where_it_is_measured_each_talk_is_interrupted_once_and_in_every_way(tmp_path):
    measured = [talk for talk in planned(tmp_path, 0.5).values() if talk["split"] == "interruptions"]
    assert len(measured) >= MANY["interruptions"] and {len(heard(talk)) for talk in measured} == {1}
    assert {heard(talk)[0] for talk in measured} == {"wait", "fix", "human"}


def test_elsewhere_than_in_learning_nobody_interrupts_at_any_rate(tmp_path):
    quiet = [talk for talk in planned(tmp_path, 1).values() if talk["split"] in QUIET]
    assert len({talk["split"] for talk in quiet}) == 3 and not any(map(heard, quiet))


@pytest.mark.parametrize("split", plan.LEARNED)
def test_at_rate_1_every_turn_that_answers_the_agent_is_interrupted(every, staying, split):
    rows = [talk for talk in every if talk["split"] == split]
    assert len(rows) >= MANY[split] / 2
    for talk in rows:
        after = [talk["nodes"][place + 1] for place, name in enumerate(talk["nodes"]) if name.endswith(ANSWERED)]
        nodes = plain(talk)
        assert after == [nodes[place] for place in sorted(answering_turns(staying, nodes))]


def test_a_rate_in_between_interrupts_about_that_share_of_the_turns(tmp_path, staying):
    rows = [talk for talk in planned(tmp_path, 0.3, STAYING).values() if talk["split"] == "train"]
    turns = sum(len(answering_turns(staying, plain(talk))) for talk in rows)
    assert 0.2 < sum(len(heard(talk)) for talk in rows) / turns < 0.4


def test_a_customer_who_opens_the_talk_or_speaks_twice_does_not_interrupt_itself(tmp_path):
    text = changed("start: greet", "start: hello", STAYING)
    text = changed("  greet: {", "  hello: {role: user, says: [Hello!], next: greet}\n  greet: {", text)
    text = changed("next: explain}", "next: sigh}\n  sigh: {role: user, says: [Alas.], next: explain}", text)
    for talk in planned(tmp_path, 1, text).values():
        following = dict(zip(talk["nodes"][1:], talk["nodes"], strict=False))
        assert talk["nodes"][0] == "hello" and following.get("sigh", "light") == "light"


def test_a_spec_without_interruptions_is_never_interrupted(tmp_path):
    text = SHOP[: SHOP.index("interruptions:")]
    told = planned(tmp_path, 1, text)
    assert not any(heard(talk) for talk in told.values())
    assert "interruptions" not in {talk["split"] for talk in told.values()}


def test_the_end_that_an_interruption_names_ends_the_talk_with_its_outcome(half):
    rows = [row for row in half if "human?" in row["nodes"]]
    assert len(rows) > 30
    for row in rows:
        assert row["nodes"][-2:] == ["human?", "lost"] and row["outcome"] == "lost"
        assert [turn["nodes"] for turn in row["turns"][-2:]] == [["human?"], ["lost"]]
        assert row["turns"][-1]["content"] in ("Sorry, somebody will call.", "A pity, we will call.")


def test_after_any_other_interruption_the_customer_goes_on_with_what_was_due(tmp_path, every, staying):
    uninterrupted = {row["path"]: row["nodes"] for row in planned(tmp_path, 0).values() if not heard(row)}
    rows = [row for row in every if heard(row)]
    assert len(rows) > 100
    for row in rows:
        assert plain(row) == uninterrupted[row["path"]]
        assert row["outcome"] == staying.nodes[row["nodes"][-1]].outcome


def test_turns_of_an_interruption_stand_by_themselves(half, every):
    for row in half + every:
        for turn in row["turns"]:
            if any(name.endswith((HEARD, ANSWERED)) for name in turn["nodes"]):
                assert len(turn["nodes"]) == 1
                assert turn["role"] == ("user" if turn["nodes"][0].endswith(HEARD) else "assistant")


def test_nobody_interrupts_before_the_values_that_the_answer_names_were_said(tmp_path):
    text = with_one("says: [When was it?], prompt: 'Repeat {day} to {name}.', answers: ['On {day}, {name}.']")
    rows = [row for row in conversed(tmp_path, 0.7, text).values() if "more?" in row["nodes"]]
    assert len(rows) > 10 and all("found" in row["nodes"][: row["nodes"].index("more?")] for row in rows)


def test_nobody_is_sent_to_an_end_before_the_values_that_it_names_were_said(tmp_path):
    text = changed("prompt: Regret it.", "prompt: 'Regret it for {name}.'", SHOP)
    text = changed('["Sorry, somebody will call.", "A pity, we will call."]', '["Sorry, {name}."]', text)
    rows = [row for row in conversed(tmp_path, 1, text).values() if "human?" in row["nodes"]]
    assert rows and all("tell" in row["nodes"] for row in rows)


def test_an_interruption_may_be_answered_with_a_fact_that_nothing_else_says(tmp_path):
    text = changed("knowledge:\n", "knowledge:\n  place: Mill Street\n", SHOP)
    text = with_one("says: [Where are you?], prompt: 'Say {place}.', answers: ['In {place}.']", text)
    turns = [
        turn for row in conversed(tmp_path, 1, text).values() for turn in row["turns"] if turn["nodes"] == ["more!"]
    ]
    assert turns and all(turn["content"] == "In Mill Street." for turn in turns)
    assert all(turn["values"] == {"place": "Mill Street"} for turn in turns)


def test_a_fact_answers_an_interruption_only_once_the_variable_it_hangs_on_was_said(tmp_path):
    text = with_one("says: [What is it?], prompt: 'Say that {meaning}.', answers: ['Well, {meaning}.']")
    rows = [row for row in planned(tmp_path, 1, text).values() if "more?" in row["nodes"]]
    assert rows and all("light" in row["nodes"][: row["nodes"].index("more?")] for row in rows)


def test_a_value_that_has_no_other_is_never_corrected_and_never_counted_on(tmp_path):
    text = changed("  name: [Ann, Bob, Cy, Dee, Eve, Flo, Gus, Hal, Ida]", "  name: [Ann]", STAYING)
    text = changed("corrects: [name, order]", "corrects: name", text)
    text = text[: text.index("  wait:")] + text[text.index("  fix:") :]
    assert not [row for row in planned(tmp_path, 1, text).values() if row["split"] == "interruptions"]


# -- a correction ----------------------------------------------------------------------------------------------------


def halves(row: dict) -> tuple[list[dict], list[dict]]:
    """Return the turns of a conversation before the customer's correction, and those after it."""
    (place,) = [number for number, turn in enumerate(row["turns"]) if turn["nodes"] == ["fix?"]]
    return row["turns"][:place], row["turns"][place + 1 :]


@pytest.fixture
def corrected(every) -> list[tuple[dict, str, str, str]]:
    """(row, variable, old value, new value) of every conversation with a correction."""
    rows = [row for row in every if row["corrected"]]
    found = [(row, *next(iter(row["corrected"].items()))) for row in rows]
    assert {name for _, name, _ in found} == {"name", "order"} and len(found) > 50
    return [(row, name, row["values"][name], new) for row, name, new in found]


def test_a_talk_has_a_corrected_value_if_and_only_if_its_customer_corrects_one(half, every):
    for row in half + every:
        assert heard(row).count("fix") == len(row["corrected"]) <= 1


def test_the_new_value_is_another_one_of_the_same_pool_and_none_that_is_held_out(corrected, staying):
    kept = hold_out_values(staying, SETTINGS["held_out"]["values"], SETTINGS["seed"])
    assert kept["name"] and kept["order"]
    for _, name, old, new in corrected:
        assert new != old and new in staying.variables[name] and new not in kept[name]


def test_a_correction_says_the_old_value_and_the_new_one(corrected):
    for row, _, old, new in corrected:
        before, after = halves(row)
        correction = row["turns"][len(before)]
        assert correction["content"] in (f"Not {old}, {new}!", f"I meant {new}, not {old}.")
        assert after[0]["nodes"] == ["fix!"] and after[0]["values"] == {"new": new} and says(after[0]["content"], new)


def test_a_corrected_value_is_said_from_then_on_and_never_before(corrected):
    used = 0
    for row, name, old, new in corrected:
        before, after = halves(row)
        assert not any(says(turn["content"], new) for turn in before)
        assert not any(says(turn["content"], old) for turn in after)
        assert any(says(turn["content"], old) for turn in before)
        assert {turn["values"].get(name, old) for turn in before} == {old}
        assert {turn["values"].get(name, new) for turn in after} == {new}
        used += any(name in turn["values"] for turn in after)
    assert used > 20


def test_a_corrected_value_is_handed_to_tools_from_then_on_and_never_before(corrected):
    keys = {"name": "customer", "order": "order"}
    called = {"before": 0, "after": 0}
    for row, name, old, new in corrected:
        for half, turns, value in zip(called, halves(row), (old, new), strict=True):
            calls = [json.loads(turn["call"])["arguments"] for turn in turns if turn["call"]]
            given = {arguments[keys[name]] for arguments in calls if keys[name] in arguments}
            assert given <= {value}
            called[half] += bool(given)
    assert min(called.values()) > 10


def test_a_tool_that_repeats_a_corrected_value_repeats_the_new_one(corrected):
    results = [turn["content"] for row, name, _, _ in corrected for turn in halves(row)[1] if name == "order"]
    new = {new for _, name, _, new in corrected if name == "order"}
    told = [json.loads(text)["order"] for text in results if text.startswith('{"order"')]
    assert told and set(told) <= new


def test_only_what_the_customer_has_said_and_the_agent_still_needs_is_corrected(corrected, staying):
    for talk, name, _, _ in corrected:
        place = talk["nodes"].index("fix?")
        due = [staying.step(node) for node in talk["nodes"][place + 2 :]]
        assert "tell" in talk["nodes"][:place]
        assert any(name in (*node.demands, *node.asks) for node in due)


# -- an edit of the rate ---------------------------------------------------------------------------------------------


def test_another_rate_leaves_conversations_that_nobody_interrupts_as_they_are_byte_for_byte(tmp_path):
    few, more = (conversed(tmp_path / name, rate) for name, rate in (("few", 0.05), ("more", 0.15)))
    assert few.keys() == more.keys()
    quiet = [name for name in few if not heard(few[name]) and not heard(more[name])]
    measured = [name for name in few if few[name]["split"] == "interruptions"]
    assert len(quiet) > 100 and len(measured) >= 32
    assert all(json.dumps(few[name]) == json.dumps(more[name]) for name in [*quiet, *measured])
    assert sum(map(len, map(heard, few.values()))) < sum(map(len, map(heard, more.values())))


def test_a_higher_rate_interrupts_wherever_a_lower_one_does(tmp_path):
    few, more = (planned(tmp_path / name, rate, STAYING) for name, rate in (("few", 0.1), ("more", 0.4)))
    assert all(heard(more[name]) for name in few if heard(few[name]))


def test_the_values_and_the_path_of_a_talk_do_not_depend_on_whether_it_is_interrupted(tmp_path):
    never, ever = planned(tmp_path / "never", 0), planned(tmp_path / "ever", 1)
    for name, talk in never.items():
        assert (talk["path"], talk["values"]) == (ever[name]["path"], ever[name]["values"])


def test_the_steps_of_a_shard_hold_all_that_its_interruptions_say(tmp_path):
    planned(tmp_path, 1)
    flowchart = check_spec(write(tmp_path, SHOP))
    for file in (tmp_path / "toy" / "shards").iterdir():
        work = json.loads(file.read_text())
        for talk in work["conversations"]:
            assert talk["steps"] and set(talk["steps"]) <= work["steps"].keys()
            assert [name.split("->")[0] for name in talk["steps"]] == talk["nodes"]
            if not heard(talk):
                assert talk["steps"] == steps_of(flowchart, talk["nodes"])
        for name, step in work["steps"].items():
            assert step["corrects"] == (name == "fix?")
            assert names_of(step) - {"old", "new"} <= flowchart.variables.keys() | flowchart.knowledge.keys()
