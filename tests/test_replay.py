"""What other conditions would have sent is counted by what they really send."""

import asyncio

import pytest
from players import Perfect, play
from subterra.conditions.asking import ChatAsker
from subterra.conditions.crew import CrewWording, crew_steps
from subterra.conditions.graph import LangGraphCondition, graph_steps, graph_wording
from subterra.conditions.in_context import InContext
from subterra.conditions.replay import CONDITIONS, Walk, replay, shared, told_again
from subterra.costs import MESSAGE_TOKENS
from test_conditions import REAL, TOYS
from test_conditions import talks as talks

REALLY = {"in_context": InContext, "langgraph": LangGraphCondition}


def held(row: dict, trial: int = 0) -> dict:
    """Return a dialogue that went as its scenario does."""
    return {"id": row["id"], "trial": trial, "turns": row["turns"]}


def sent(flowchart, row: dict, condition: str) -> list[list[dict]]:
    """Return what a condition really sends where it is played perfectly."""
    chat = Perfect(flowchart, row, whole_turns=condition == "in_context")
    asyncio.run(play(REALLY[condition](chat, flowchart, temperature=0.0).begin(1), row))
    return chat.seen


@pytest.mark.parametrize("condition", REALLY)
@pytest.mark.parametrize("name", [*TOYS, *REAL])
def test_what_is_counted_is_what_the_condition_really_sends(talks, name, condition):
    flowchart, rows = talks(name)
    rows = rows[:8]
    counted = replay(condition, flowchart, rows, [held(row, 3) for row in rows], len)
    for row, told in zip(rows, counted, strict=True):
        messages = sent(flowchart, row, condition)
        every = [one for request in messages for one in request]
        assert told["calls"] == len(messages) and told["turns"] == len(row["turns"])
        assert told["tokens_in"] == sum(len(one["content"]) + MESSAGE_TOKENS / 4 for one in every)
        assert (told["id"], told["trial"], told["condition"]) == (row["id"], 3, condition)


@pytest.mark.parametrize("name", ["shop", "twice", "longer", "desk", "insurance_claims"])
def test_the_walk_sends_word_by_word_what_the_graph_does(talks, name):
    flowchart, rows = talks(name)
    for row in rows[:6]:
        chat = Perfect(flowchart, row)
        walk = Walk(flowchart.start, graph_steps(flowchart), graph_wording(), ChatAsker(chat, 1, 0.0, 120))
        turns = asyncio.run(play(walk, row))
        assert [turn["content"] for turn in turns] == [turn["content"] for turn in row["turns"]]
        assert chat.seen == sent(flowchart, row, "langgraph")


def test_what_the_words_of_a_turn_cost_is_counted_once(talks):
    flowchart, rows = talks("longer")
    row = next(row for row in rows if "extra" in row["nodes"])
    letters = {condition: replay(condition, flowchart, [row], [held(row)], len)[0] for condition in CONDITIONS}
    words = sum(len(turn["content"]) for turn in row["turns"] if turn["role"] == "assistant")
    assert letters["in_context"]["tokens_out"] == words
    choices = letters["langgraph"]["calls"] - sum(flowchart.speaks(node) == "agent" for node in row["nodes"])
    spaces = row["nodes"].count("extra")  # between two steps of a turn
    assert letters["langgraph"]["tokens_out"] == letters["crewai"]["tokens_out"] == words + choices - spaces


def test_crewai_asks_as_often_as_langgraph_and_wraps_each_request(talks):
    flowchart, rows = talks("shop")
    one, other = (replay(name, flowchart, rows, [held(row) for row in rows], len) for name in ("langgraph", "crewai"))
    assert [row["calls"] for row in one] == [row["calls"] for row in other]
    system, user = CrewWording(flowchart).speak(crew_steps(flowchart)["greet"], [])
    assert flowchart.system in system["content"] and "Ask for the order." in user["content"]


def test_the_whole_procedure_costs_more_to_read_than_a_step_of_it_and_is_mostly_kept(talks):
    flowchart, rows = talks("insurance_claims")
    told = {name: replay(name, flowchart, rows, [held(row) for row in rows], len) for name in CONDITIONS}
    for whole, step in zip(told["in_context"], told["langgraph"], strict=True):
        assert whole["tokens_in"] > 2 * step["tokens_in"] and whole["calls"] < step["calls"]
        assert whole["tokens_cached"] > 0.7 * whole["tokens_in"] and step["tokens_cached"] < 0.3 * step["tokens_in"]


def message(role: str, content: str) -> dict:
    return {"role": role, "content": content}


def test_of_two_requests_the_same_beginning_is_shared():
    before = [message("system", "Be brief."), message("user", "One two.")]
    assert shared((), before) == []
    assert shared(before, [*before, message("assistant", "Three.")]) == before
    assert shared(before, [before[0], message("user", "One more.")]) == [before[0], message("user", "One ")]
    assert shared(before, [before[0], message("assistant", "One two.")]) == [before[0]]
    assert shared(before, [message("system", "Talk much."), before[1]]) == [message("system", "")]


def turn(role: str, content: str, call: str = "") -> dict:
    return {"role": role, "content": content, "call": call, "nodes": []}


SCENARIO = [turn("assistant", "Hello"), turn("user", "7"), turn("assistant", "", "{}"), turn("tool", "{}"),
            turn("assistant", "Friday"), turn("user", "Thanks"), turn("assistant", "Bye")]  # fmt: skip


def again(*turns: dict) -> list[tuple[str, str]]:
    found = told_again({"turns": SCENARIO}, {"turns": turns})
    return [(one["role"], one["content"] or one["call"]) for one in found]


def test_a_dialogue_that_went_otherwise_is_told_along_its_scenario_in_its_own_words():
    told = again(turn("assistant", "Hi!"), turn("user", "Seven."), turn("assistant", "It was Monday."),
                 turn("user", "Oh"), turn("assistant", "So long"))  # fmt: skip
    assert told == [("assistant", "Hi!"), ("user", "Seven."), ("assistant", "It was Monday."), ("tool", "{}"),
                    ("assistant", "Friday"), ("user", "Oh"), ("assistant", "So long")]  # fmt: skip


def test_a_dialogue_that_broke_off_is_told_as_far_as_its_customer_came():
    assert again(turn("assistant", "Hi!"), turn("user", "Seven."), turn("assistant", "")) == [
        ("assistant", "Hi!"), ("user", "Seven."), ("assistant", "{}"), ("tool", "{}"), ("assistant", "Friday"),
    ]  # fmt: skip
    assert again(turn("assistant", "Hi!")) == [("assistant", "Hi!")]


def test_a_dialogue_that_went_otherwise_can_be_counted_in_every_condition(talks):
    flowchart, rows = talks("shop")
    for row in rows[:12]:
        strayed = [turn(one["role"], "Oh well.") for one in row["turns"] if one["role"] != "tool"]
        for condition in CONDITIONS:
            (told,) = replay(condition, flowchart, [row], [{"id": row["id"], "turns": strayed}], len)
            assert told["calls"] > 0 and told["trial"] == 0
