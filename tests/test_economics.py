"""Costs are reckoned from what was counted: known sums in, known dollars out; what was not run has no seconds."""

import pytest
import yaml
from subterra.costs import PRICES, price_of
from subterra.economics import count_costs, machine_of
from subterra.errors import SubterraError
from subterra.flowchart import Flowchart
from subterra.records import NOTHING
from test_converse import converse_toy
from test_converse import no_waiting_for_the_disk as no_waiting_for_the_disk

TURN = {"calls": 1, "tokens_in": 1000, "tokens_out": 100, "tokens_cached": 400, "seconds": 2.0}
MACHINES = {
    "box": {"dollars_an_hour": 3.6, "side_by_side": 2, "source": "a test"},
    "free": {"dollars_an_hour": "nothing"},
}
MODELS = {
    "dear": {"input": 10, "output": 100, "cached_input": 1, "source": "a test"},
    "frontier-of-the-paper": {"input": 3, "output": 15},
    "compiled-of-the-paper": {"input": 0.05, "output": 0.23},
}


@pytest.fixture(autouse=True)
def prices(tmp_path, monkeypatch):
    """Stand in a folder with prices of our own and the project's prompts."""
    file = tmp_path / PRICES
    file.parent.mkdir(parents=True)
    file.write_text(yaml.safe_dump({"models": MODELS, "machines": MACHINES}))
    (file.parent / "prompts").symlink_to(PRICES.resolve().parent / "prompts")
    monkeypatch.chdir(tmp_path)
    price_of.cache_clear()
    yield
    price_of.cache_clear()


@pytest.fixture
def toy(tmp_path):
    """Return the flowchart of the coffee counter and its conversations."""
    rows = list(converse_toy(tmp_path / "toy").values())[::7]
    return Flowchart.read(tmp_path / "toy" / "toy" / "flowchart.json"), rows


def held(rows: list[dict], **turn) -> list[dict]:
    """Return conversations as dialogues whose agent's turns took what is said of one."""
    return [
        {
            **{key: row[key] for key in ("id", "split")},
            "trial": 0,
            "turns": [one | NOTHING | (TURN | turn if one["role"] == "assistant" else {}) for one in row["turns"]],
        }
        for row in rows
    ]


def counted(toy, tmp_path, **runs) -> dict:
    flowchart, rows = toy
    stages = tmp_path / "benchmarks"
    for stage, seconds in (("converse", 10), ("train", 90), ("evaluate", 1000)):
        stages.mkdir(exist_ok=True)
        (stages / f"{stage}.tsv").write_text(f"s\th:m:s\n{seconds}\t0\n")
    return count_costs(
        flowchart,
        rows,
        {("compiled-q8_0", 0.0): held(rows, busy=0.5), ("compiled-q8_0", 0.7): held(rows, busy=9.0)}
        | {(name, 0.5): held(rows, **turn) for name, turn in runs.items()},
        teacher_dollars=0.25,
        benchmarks=stages,
        machine="box",
        frontier="dear",
        tokens=lambda text: len(text) / 4,
        tokenizer="letters",
    )


def agents(rows: list[dict]) -> float:
    """Return the agent's turns a conversation."""
    return sum(turn["role"] == "assistant" for row in rows for turn in row["turns"]) / len(rows)


def test_what_was_run_costs_what_was_billed_and_the_time_of_the_machine(toy, tmp_path):
    costs = counted(toy, tmp_path, in_context={"dollars": 0.01})
    told = {one["condition"]: one for one in costs["conditions"]}
    turns = agents(toy[1])
    # Half a second a turn, two such jobs side by side on a machine of a tenth of a cent a second.
    assert told["compiled-q8_0"]["dollars"] == pytest.approx(turns * 0.5 * 0.001 / 2)
    assert told["in_context"]["dollars"] == pytest.approx(turns * 0.01)
    assert told["in_context"]["seconds"] == pytest.approx(turns * 2) and told["in_context"]["how"] == "measured"
    assert told["in_context"]["tokens_cached"] == pytest.approx(turns * 400)
    low, high = told["in_context"]["interval"]
    assert low < told["in_context"]["dollars"] < high
    assert told["compiled-q8_0"]["dollars_at_the_papers_prices"] == pytest.approx(
        turns * (1000 * 0.05 + 100 * 0.23) / 1e6
    )
    assert told["in_context"]["dollars_at_the_papers_prices"] == pytest.approx(turns * (1000 * 3 + 100 * 15) / 1e6)


def test_the_lowest_temperature_of_a_condition_is_told_and_each_condition_once(toy, tmp_path):
    costs = counted(toy, tmp_path)
    names = [one["condition"] for one in costs["conditions"]]
    assert names == ["compiled-q8_0", "in_context", "langgraph", "crewai"] and costs["headline"] == "compiled-q8_0"


def test_what_was_not_run_is_counted_and_has_no_seconds(toy, tmp_path):
    costs = counted(toy, tmp_path)
    one = next(one for one in costs["conditions"] if one["condition"] == "in_context")
    assert one["how"] == "counted" and one["seconds"] is None
    assert one["dollars"] == pytest.approx((10 * one["tokens_in"] + 100 * one["tokens_out"]) / 1e6)
    saved = (10 - 1) * one["tokens_cached"] / 1e6
    assert one["tokens_cached"] > 0 and one["dollars_cached"] == pytest.approx(one["dollars"] - saved)


def test_compiling_is_paid_back_after_so_many_conversations(toy, tmp_path):
    costs = counted(toy, tmp_path, in_context={"dollars": 0.01})
    compiling = costs["compile"]
    assert compiling["machine_seconds"] == 100 and compiling["dollars"] == pytest.approx(0.25 + 100 * 0.001)
    against = next(one for one in costs["against"] if one["condition"] == "in_context")
    turns = agents(toy[1])
    saved = turns * (0.01 - 0.5 * 0.001 / 2)
    assert against["break_even"] == pytest.approx(0.35 / saved)
    assert against["ratio"] == pytest.approx(0.01 / (0.5 * 0.001 / 2))
    assert against["savings"]["10000"] == pytest.approx(10_000 * saved - 0.35)


def test_what_is_cheaper_than_ours_is_never_paid_back(toy, tmp_path):
    costs = counted(toy, tmp_path, in_context={"dollars": 0.0})
    against = next(one for one in costs["against"] if one["condition"] == "in_context")
    assert against["break_even"] is None and against["savings"]["1000"] < 0


@pytest.mark.parametrize(
    ("name", "says"),
    [("bix", "no machine 'bix' (did you mean 'box'?)"), ("free", "machines.free.dollars_an_hour: 'nothing'")],
)
def test_a_machine_without_a_price_is_one_line(tmp_path, name, says):
    with pytest.raises(SubterraError) as caught:
        machine_of(name, tmp_path / PRICES)
    assert says in str(caught.value) and "\n" not in str(caught.value)
