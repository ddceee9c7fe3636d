"""A customer that follows no script: an agent turn is legal where some way of the flowchart leads to it."""

import pytest
from subterra.conformance import score_dialogue
from subterra.demands import label
from subterra.flowchart import Flowchart
from subterra.records import NOTHING
from test_converse import converse_toy
from test_converse import no_waiting_for_the_disk as no_waiting_for_the_disk
from toy_spec import SHOP, TOY


@pytest.fixture(params=[TOY, SHOP], ids=["toy", "shop"], scope="module")
def played(request, tmp_path_factory):
    """Return a flowchart and its conversations, with interruptions where the spec has them."""
    folder = tmp_path_factory.mktemp("spec")
    rows = converse_toy(folder, request.param, interruptions={"rate": 0.3})
    return Flowchart.read(folder / "toy" / "flowchart.json"), list(rows.values())


def talk(row: dict) -> dict:
    """Return a conversation as a dialogue with a customer that a model played."""
    turns = [
        {**turn, **NOTHING, "nodes": [] if turn["role"] == "assistant" else turn["nodes"]} for turn in row["turns"]
    ]
    facts = {"id": row["id"], "split": row["split"], "condition": "c", "temperature": 0.0, "trial": 0}
    return facts | {"customer": "a model", "turns": turns, "stopped": "finished"}


def labels(flowchart: Flowchart, row: dict) -> list[tuple[str, float]]:
    return [(label(flowchart, tuple(turn["nodes"])), 1.0) for turn in row["turns"] if turn["role"] == "assistant"]


def test_every_conversation_along_the_flowchart_is_legal_to_its_end(played):
    flowchart, rows = played
    for row in rows:
        score = score_dialogue(flowchart, row, talk(row), labels(flowchart, row))
        assert score["conforming"] and score["outcome_correct"], (row["nodes"], score["justification"])
        assert (
            score["values_correct"] == score["values_total"] and score["arguments_correct"] == score["arguments_total"]
        )


def test_a_turn_that_no_way_leads_to_is_wrong_and_the_walk_goes_on(played):
    flowchart, rows = played
    row = max(rows, key=lambda row: len(row["turns"]))
    heard = labels(flowchart, row)
    heard[1] = ("greet", 1.0)
    score = score_dialogue(flowchart, row, talk(row), heard)
    assert not score["conforming"] and score["first_wrong"] == 2
    assert score["legal_steps"] >= score["steps_total"] - 2


def test_a_talk_that_reaches_no_end_does_not_conform(played):
    flowchart, rows = played
    row = max(rows, key=lambda row: len(row["turns"]))
    short = talk(row) | {"turns": talk(row)["turns"][:3], "stopped": "turn_limit"}
    score = score_dialogue(flowchart, row, short, labels(flowchart, row)[:2])
    assert not score["conforming"] and score["outcome_reached"] is None and "broke off" in score["justification"]


def test_the_customer_may_take_another_way_than_the_scenarios(played):
    flowchart, rows = played
    row = max(rows, key=lambda row: len(row["turns"]))
    other = next(one for one in rows if one["outcome"] != row["outcome"])
    meant = other | {"values": row["values"], "corrected": row["corrected"]}
    score = score_dialogue(flowchart, meant, talk(row), labels(flowchart, row))
    assert score["conforming"] and not score["outcome_correct"]
