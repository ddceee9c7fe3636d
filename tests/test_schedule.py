"""Trainings share the cores: as many at once as a run has agents to train."""

import os

import pytest
from subterra.schedule import trained_at_once

AGENTS = ("travel_booking", "zoom_support", "insurance_claims")


def plan(results, agent: str, planned: int, trained: int | None) -> None:
    """Write an agent's plan and its model, if any, at their times."""
    folder = results / agent
    for file, time in (("flowchart.json", 1), ("shards/000.json", planned), ("training.json", trained)):
        if time is not None:
            (folder / file).parent.mkdir(parents=True, exist_ok=True)
            (folder / file).write_text("{}")
            os.utime(folder / file, (time, time))


@pytest.mark.parametrize(
    ("targets", "expected"),
    [
        ([], 3),
        (["all"], 3),
        (["zoom_support"], 1),
        (["zoom_support", "results/travel_booking/gguf/q8_0.gguf"], 2),
        (["zoom_support", "results/report.html"], 3),
    ],
)
def test_a_run_trains_what_its_targets_ask_for(tmp_path, targets, expected):
    assert trained_at_once(AGENTS, targets, tmp_path) == expected


def test_an_agent_whose_plan_is_older_than_its_model_is_not_trained(tmp_path):
    plan(tmp_path, "travel_booking", planned=10, trained=20)
    plan(tmp_path, "zoom_support", planned=30, trained=20)
    plan(tmp_path, "insurance_claims", planned=10, trained=None)
    assert trained_at_once(AGENTS, [], tmp_path) == 2
    assert trained_at_once(AGENTS, ["travel_booking"], tmp_path) == 1
