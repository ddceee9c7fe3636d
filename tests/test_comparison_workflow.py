"""Conditions, a customer and judges that are models, in the real workflow: each asked once, and only what is stale."""

import json
from collections import Counter

import pytest
import yaml
from endpoint_server import KEY, MODEL, Server
from subterra.records import DIALOGUE, JUDGEMENT, SCORE, read_table
from workflow_copy import Tree

RUN = "results/tiny/evaluation/{}/dialogues/000.parquet"
COMPARED = ("in_context/0.5", "langgraph/0.5")


@pytest.fixture(autouse=True)
def key(monkeypatch):
    monkeypatch.setenv("TEACHER_KEY", KEY)


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with Server(tmp_path_factory.mktemp("server"), delay=0.01) as running:
        yield running


def take_part(tree: Tree, url: str, *sections: str, **more) -> None:
    """Let the server's model take part in sections of the config; the teacher stays the built-in one."""
    settings = yaml.safe_load(tree.path("tiny.yaml").read_text())
    endpoint = {"base_url": url, "model": MODEL, "api_key_env": "TEACHER_KEY", "concurrency": 8, "budget": 50}
    for section in sections:
        settings[section] = {"backend": "openai", **endpoint, "parameters": {"temperature": 0.5, "max_tokens": 900}}
        settings[section] |= more
    tree.path("tiny.yaml").write_text(yaml.safe_dump(settings))
    prices = yaml.safe_load(tree.path("config/prices.yaml").read_text())
    prices["models"] |= {MODEL: {"input": 1, "cached_input": 0.25, "output": 4}}
    tree.path("config/prices.yaml").write_text(yaml.safe_dump(prices))


@pytest.fixture(scope="module")
def compared(server, tmp_path_factory):
    """Return a tree in which a frontier's model and two judges took part, and what its build did."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TEACHER_KEY", KEY)
        tree = Tree.fresh(tmp_path_factory.mktemp("compared") / "tree")
        take_part(tree, server.url, "frontier", "judge", "second_judge")
        build = tree.build()
    assert build.status == 0, build.told
    return tree, build


def test_the_conditions_hold_the_same_scenarios_and_are_judged_by_both(compared, server):
    tree, build = compared
    assert build.jobs["hold_baseline"] == 2 and build.jobs["judge_dialogues"] == 2 * 4
    played = {name: read_table(tree.path(RUN.format(name)), DIALOGUE) for name in ("compiled-q8_0/0", *COMPARED)}
    assert len({tuple(row["id"] for row in rows) for rows in played.values()}) == 1
    for name in COMPARED:
        turns = [turn for row in played[name] for turn in row["turns"] if turn["role"] == "assistant"]
        assert all(turn["tokens_in"] and turn["dollars"] and turn["calls"] for turn in turns)
    calls = {name: sum(turn["calls"] for row in rows for turn in row["turns"]) for name, rows in played.items()}
    assert calls["langgraph/0.5"] > calls["in_context/0.5"]
    folder = tree.path("results/tiny/evaluation/in_context/0.5")
    judged = [row for file in folder.glob("judgements/*.parquet") for row in read_table(file, JUDGEMENT)]
    assert Counter(row["problem"] for row in judged) == {"": 2 * len(played["in_context/0.5"])}
    assert len(read_table(folder / "scores.parquet", SCORE)) == len(played["in_context/0.5"])


def test_the_costs_are_those_that_were_billed_and_what_was_not_run_is_counted(compared):
    tree, _ = compared
    costs = json.loads(tree.path("results/tiny/evaluation/costs.json").read_text())
    how = {one["condition"]: one["how"] for one in costs["conditions"]}
    assert how["in_context"] == how["langgraph"] == how["compiled-q8_0"] == "measured" and how["crewai"] == "counted"
    rows = read_table(tree.path(RUN.format("in_context/0.5")), DIALOGUE)
    billed = sum(turn["dollars"] for row in rows for turn in row["turns"])
    told = next(one for one in costs["conditions"] if one["condition"] == "in_context")
    assert told["dollars"] == pytest.approx(billed / len(rows))
    summary = json.loads(tree.path("results/tiny/summary.json").read_text())
    assert {row["condition"] for row in summary["judgements"]} >= {"in_context", "langgraph", "compiled-q8_0"}
    assert summary["agreement"]["criteria"] and summary["costs"] == costs


def test_nothing_is_asked_twice_and_the_key_is_in_no_file(compared, server):
    tree, build = compared
    before = len(server.requests())
    again = tree.build()
    assert again.status == 0 and not again.jobs and len(server.requests()) == before
    for file in tree.folder.rglob("*"):
        assert not file.is_file() or KEY.encode() not in file.read_bytes(), file
    assert KEY not in build.told + again.told


def test_another_judges_prompt_asks_the_judge_alone(compared, server, tmp_path):
    tree = compared[0].copy(tmp_path / "tree")
    tree.edit("config/prompts/judge/system.md", "Use the whole scale.", "Use all of the scale.")
    build = tree.build()
    assert build.status == 0, build.told
    assert build.jobs == {"judge_dialogues": 8, "build_report": 1, "build_overview": 1}


def test_another_prompt_of_a_condition_asks_that_condition_alone(compared, tmp_path):
    tree = compared[0].copy(tmp_path / "tree")
    tree.edit("config/prompts/in_context/system.md", "Follow this procedure exactly", "Follow the procedure exactly")
    build = tree.build()
    assert build.status == 0, build.told
    assert build.jobs["hold_baseline"] == 1 and build.jobs["judge_dialogues"] == 2 and not build.jobs["hold_dialogues"]


def test_a_killed_evaluation_goes_on_where_it_was(compared, server, tmp_path):
    tree = compared[0].copy(tmp_path / "tree")
    tree.edit("config/prompts/judge/system.md", "Use the whole scale.", "Use the scale, all of it.")
    tree.edit("config/prompts/orchestrated/speak.md", "Your next step, and all that you do now", "Now")
    before = len(server.requests())
    tree.build_and_kill(lambda: len(server.requests()) - before > 20)
    assert tree.build("--unlock").status == 0
    build = tree.build()
    assert build.status == 0, build.told
    bodies = Counter(one["body"] for one in server.requests()[before:])
    lost = sum(bodies.values()) - len(bodies)
    assert lost <= 2 * 8, "what was in flight when it was killed, and nothing else"


def test_a_model_plays_the_customer_for_every_condition(server, tmp_path):
    tree = Tree.fresh(tmp_path / "tree")
    take_part(tree, server.url, "customer", "frontier")
    tree.configure("evaluation", conditions=["in_context"], trials=2)
    build = tree.build()
    assert build.status == 0, build.told
    for name in ("compiled-q8_0/0", "in_context/0.5"):
        rows = read_table(tree.path(RUN.format(name)), DIALOGUE)
        assert {row["customer"] for row in rows} == {MODEL} and {row["trial"] for row in rows} == {0, 1}
        assert any(turn["role"] == "user" for row in rows for turn in row["turns"])
    summary = json.loads(tree.path("results/tiny/summary.json").read_text())
    assert all(len(one["pass_hat"]) == 2 for one in summary["reliability"])


@pytest.mark.parametrize(
    ("section", "change", "says"),
    [
        ("judge", {"model": "gpt-4.1-minni"}, "config/prices.yaml: no price for 'gpt-4.1-minni'"),
        ("judge", {"api_key_env": "NOT_THERE"}, "judge.api_key_env: NOT_THERE is not set"),
        ("customer", {"backend": "gguf", "file": "none.gguf"}, "customer.file: 'none.gguf': no such file"),
        ("judge", {"budget": 0}, "judge.budget: $0"),
    ],
    ids=["a model without a price", "no key", "no file", "no budget"],
)
def test_a_mistake_is_one_line(compared, server, tmp_path, section, change, says):
    tree = compared[0].copy(tmp_path / "tree")
    take_part(tree, server.url, section, **({"parameters": {"max_tokens": 901}} | change))
    build = tree.build()
    assert build.status == 1 and "Traceback" not in build.told, build.told
    assert any(line.startswith(says) for line in build.told.splitlines()), build.told
