"""What an edit, a failure or a kill makes the workflow do: the real Snakefile on a tiny agent, in a temporary copy."""

import json
import random
import subprocess
import sys
import time
from collections import Counter

import pytest
import yaml
from endpoint_server import MODEL
from subterra.cache import times_asked
from workflow_copy import Tree

SPEC = "specs/tiny.yaml"
TEACHER = "scripts/subterra/models/builtin.py"
WORDS = ("Which size of {drink}, and for how much?", "What size of {drink} may it be, and at which price?")
MADE_BY_THE_TEACHER = ("results/tiny/conversations/*.parquet", "results/tiny/dataset/*.parquet", "results/**/*.digest")


@pytest.fixture(scope="session")
def built(tmp_path_factory):
    """The tiny agent, built once. Nobody edits this tree."""
    tree = Tree.fresh(tmp_path_factory.mktemp("workflow") / "built")
    build = tree.build()
    assert build.status == 0, build.told
    assert len(build.asked) == len(tree.conversations())
    return tree


@pytest.fixture
def tree(built, tmp_path):
    """A copy of the built tree, to be edited."""
    return built.copy(tmp_path / "tree")


@pytest.fixture(scope="session")
def reworded(built, tmp_path_factory):
    """A copy of the built tree after an edit of one node's words, and what the next build did."""
    tree = built.copy(tmp_path_factory.mktemp("workflow") / "reworded")
    tree.edit(SPEC, *WORDS)
    return tree, tree.build()


def ran(build, **jobs: int) -> bool:
    """Say whether a build went well and ran these jobs, so many of each rule, and no others."""
    assert build.status == 0, build.told
    return build.jobs == Counter(jobs)


def test_the_training_takes_steps_for_every_edge_of_the_flowchart(built):
    training = yaml.safe_load(built.path("tiny.yaml").read_text())["training"]
    edges = json.loads(built.path("results/tiny/paths.json").read_text())["edges"]
    facts = json.loads(built.path("results/tiny/training.json").read_text())
    assert facts["steps"] == training["steps_per_edge"] * edges > training["least_steps"] and edges == 9


# -- what runs nothing -----------------------------------------------------------------------------------------------


def test_nothing_changed_runs_nothing(tree):
    before = tree.times()
    assert ran(tree.build())
    assert tree.times() == before


def test_snakemakes_own_report_has_the_pictures_and_the_page(tree):
    build = tree.build("--report", "report.html")
    assert build.status == 0, build.told
    report = tree.path("report.html").read_text()
    assert all(name in report for name in ("flowchart.svg", "loss.svg", "results/tiny/report.html"))


def test_comments_key_order_and_layout_of_spec_and_config_run_nothing(tree):
    for name in (SPEC, "tiny.yaml"):
        data = yaml.load(tree.path(name).read_text(), yaml.BaseLoader if name == SPEC else yaml.SafeLoader)
        text = f"# A comment.\n\n{yaml.safe_dump(data, sort_keys=True, indent=4)}"
        assert text != tree.path(name).read_text()
        tree.path(name).write_text(text)
    assert ran(tree.build())


def test_comments_in_modules_run_nothing(tree):
    for file in tree.path("scripts/subterra").rglob("*.py"):
        file.write_text(f"# A comment.\n{file.read_text()}\n# Another one.\n")
    assert ran(tree.build())


# -- what runs a part ------------------------------------------------------------------------------------------------


def test_code_of_one_module_runs_the_stages_that_use_it(tree):
    tree.edit("scripts/subterra/export/card.py", "\n\ndef model_card(", "\n\nEXTRA = 1\n\n\ndef model_card(")
    assert ran(tree.build(), write_card=1)


def test_conversations_that_come_out_the_same_stop_the_training(tree):
    tree.edit(SPEC, "prompt: Ask for the size", "prompt: Kindly ask for the size")
    build = tree.build("results/tiny/model")
    assert ran(build, write_conversations=2, assemble_dataset=1)
    assert not build.asked


def test_words_of_one_node_ask_again_only_for_the_conversations_that_pass_it(built, reworded):
    tree, build = reworded
    assert build.status == 0, build.told
    passing = [row for row in tree.conversations() if "ask_size" in row["nodes"]]
    assert 0 < len(passing) < len(tree.conversations())
    assert build.asked.total() == len(build.asked) == len(passing)
    assert build.jobs["assemble_dataset"] == build.jobs["train_model"] == build.jobs["export_gguf"] == 1
    assert build.jobs["score_dialogues"] == 2 and build.jobs["build_report"] == 1
    assert tree.read("results/tiny/model/*.safetensors") != built.read("results/tiny/model/*.safetensors")


def test_after_an_edit_the_conversations_equal_those_of_a_clean_build_elsewhere(reworded, tmp_path):
    clean = Tree.fresh(tmp_path / "clean")
    clean.edit(SPEC, *WORDS)
    assert ran(clean.build("--until", "assemble_dataset"), write_conversations=2, assemble_dataset=1)
    assert clean.read(*MADE_BY_THE_TEACHER) == reworded[0].read(*MADE_BY_THE_TEACHER)
    assert clean.read("results/tiny/dataset/train.digest")


def test_a_second_quantization_runs_export_evaluation_and_report(tree):
    tree.configure("export", quantizations=["q8_0", "q4_0"])
    expected = {"quantize_gguf": 1, "hold_dialogues": 1, "score_dialogues": 1, "count_costs": 1, "write_card": 1}
    assert ran(tree.build(), **expected, build_report=1, build_overview=1)


def test_an_evaluation_setting_does_not_train(tree):
    tree.configure("evaluation", max_turns=4)
    jobs = {"hold_dialogues": 2, "score_dialogues": 2, "count_costs": 1}
    assert ran(tree.build(), **jobs, build_report=1, build_overview=1)


def test_a_new_path_asks_only_for_its_conversations(built, tree):
    way = '      - {to: left, when: the customer leaves after all, says: ["No, I am leaving."]}\n'
    last = "      - {to: handed_over, when: the owner"
    tree.edit(SPEC, last, way + last)
    build = tree.build("--until", "assemble_dataset")
    assert build.status == 0, build.told
    known = {row["path"] for row in built.conversations()}
    new = [row for row in tree.conversations() if row["path"] not in known]
    assert 0 < len(new) == build.asked.total()
    assert all(row in built.conversations() for row in tree.conversations() if row not in new)


def test_an_edit_of_one_agent_leaves_the_other_alone(tree):
    tree.path("specs/other.yaml").write_text(tree.path(SPEC).read_text())
    tree.edit("tiny.yaml", "agents: [tiny]", "agents: [tiny, other]")
    assert ran(tree.build("other", "--until", "assemble_dataset"), write_conversations=2, assemble_dataset=1)
    before = tree.times("results/tiny/**/*")
    tree.edit("specs/other.yaml", *WORDS)
    build = tree.build("--until", "assemble_dataset")
    assert ran(build, write_conversations=2, assemble_dataset=1)
    assert len(build.asked) == sum("ask_size" in row["nodes"] for row in tree.conversations("other"))
    assert ran(tree.build("tiny"))
    assert tree.times("results/tiny/**/*") == before


# -- what goes wrong -------------------------------------------------------------------------------------------------


def test_mistakes_in_spec_or_config_are_told_a_line_each_and_leave_results_alone(tree):
    before = tree.times()
    good = tree.path(SPEC).read_text()
    tree.edit(SPEC, "- to: quote", "- to: qoute")
    tree.edit(SPEC, "role: end, outcome: left", "role: end, outcom: left")
    _told_in_lines(tree.build(), f"{SPEC}:21: ", "did you mean 'quote'?", "outcom", "did you mean 'outcome'?")
    tree.path(SPEC).write_text(good)
    tree.configure("training", epoch=2)
    tree.configure("evaluation", max_turns=0)
    _told_in_lines(tree.build(), "training: epoch: ", "did you mean 'epochs'?", "evaluation.max_turns: ")
    assert tree.times() == before


def _told_in_lines(build, *pieces: str) -> None:
    assert build.status == 1
    assert not build.jobs
    assert "Traceback" not in build.told and "Error" not in build.told
    assert all(piece in build.told for piece in pieces), build.told


def test_deleted_products_are_built_again(tree):
    deleted = [
        "results/report.html",
        "results/tiny/paths.json",
        "results/tiny/shards/001.json",
        "results/tiny/conversations/000.json",
        "results/tiny/dataset/test.parquet",
        "results/tiny/flowchart.mmd",
        "results/tiny/gguf/Modelfile",
        "results/tiny/evaluation/matcher.joblib",
        "results/tiny/evaluation/compiled-f16/0/dialogues/000.parquet",
        "results/tiny/evaluation/costs.json",
        "results/tiny/transcripts.html",
        "results/tiny/summary.json",
    ]
    for name in deleted:
        tree.path(name).unlink()
    build = tree.build()
    assert build.status == 0, build.told
    assert [name for name in deleted if not tree.path(name).is_file()] == []
    assert not build.asked and not build.jobs["train_model"]


def test_a_stage_that_failed_runs_again_once_its_cause_is_gone(tree):
    tree.edit(SPEC, *WORDS)
    ledger, aside = tree.path(".cache/ledger"), tree.path(".cache/aside")
    ledger.rename(aside)
    ledger.write_text("no folder")
    assert tree.build().status == 1
    ledger.unlink()
    aside.rename(ledger)
    assert ran(tree.build("--until", "assemble_dataset"), write_conversations=2, assemble_dataset=1)


def test_killed_in_mid_generation_it_goes_on_and_asks_nothing_twice(built, tree):
    slowly = "        import time\n\n        time.sleep(0.05)\n"
    tree.edit(TEACHER, "        lines = []\n", f"{slowly}        lines = []\n")  # another teacher: all is asked anew
    old = tree.answers()
    tree.build_and_kill(lambda: len(tree.answers() - old) >= 20)
    whole = tree.answers()
    _unlock(tree)
    build = tree.build()
    again = {"write_conversations": 2, "assemble_dataset": 1, "count_costs": 1}
    assert ran(build, **again, build_report=1, build_overview=1)
    assert not whole & set(build.asked)
    in_flight = [key for key, times in times_asked(tree.cache).items() if times > 1]
    assert len(in_flight) <= 2, "each of two jobs may have had one question in flight"
    assert len(tree.answers() - old) == len(tree.conversations())
    assert tree.read(*MADE_BY_THE_TEACHER) == built.read(*MADE_BY_THE_TEACHER)


def test_killed_in_mid_training_it_goes_on_from_the_last_checkpoint(tree):
    tree.configure("training", epochs=10, evaluations=10)
    tree.build_and_kill(lambda: bool(tree.read(".cache/training/*/checkpoint-*/trainer_state.json")))
    assert not tree.path("results/tiny/training.json").exists()
    _unlock(tree)
    build = tree.build()
    assert build.status == 0, build.told
    assert build.jobs["train_model"] == build.jobs["build_report"] == 1
    assert "training goes on from step" in tree.path("logs/tiny/train.log").read_text()
    assert not build.asked and not tree.read(".cache/training/*/*/*")


# -- a model of ours as the teacher --------------------------------------------------------------------------------

TALK = """\
title: Small talk
system: You like to talk.
start: greet
nodes:
  greet: {role: agent, prompt: Say hello., next: reply}
  reply: {role: user, prompt: Say something., next: farewell}
  farewell: {role: end, prompt: Say goodbye., outcome: done}
"""


def test_the_whole_line_with_llama_cpps_server_on_a_model_of_ours_as_the_teacher(built, tmp_path):
    model = built.path("results/tiny/gguf/q8_0.gguf")
    port = random.randrange(20_000, 60_000)
    command = [sys.executable, "-m", "llama_cpp.server", "--model", model, "--model_alias", MODEL, "--n_ctx", "4096"]
    with (tmp_path / "server.log").open("w") as log:
        server = subprocess.Popen([*map(str, command), "--port", str(port)], stdout=log, stderr=log)
    try:
        give_up = time.monotonic() + 60
        while "Uvicorn running" not in (tmp_path / "server.log").read_text():
            assert server.poll() is None and time.monotonic() < give_up, (tmp_path / "server.log").read_text()
            time.sleep(0.1)
        tree = Tree.fresh(tmp_path / "tree")
        tree.path("specs/tiny.yaml").write_text(TALK)
        tree.configure("conversations", train=12, valid=2, known=2)
        tree.hire(
            f"http://127.0.0.1:{port}/v1",
            api_key_env="",
            mode="turn",
            json="none",
            parameters={"max_tokens": 24, "temperature": 1.2},
            concurrency=1,
            max_failures=1,
            check_when=False,
        )
        build = tree.build()
        assert build.status == 0, build.told
        assert len(tree.conversations()) > 5 and tree.path("results/tiny/report.html").is_file()
    finally:
        server.kill()
        server.wait()


def _unlock(tree) -> None:
    """Remove the lock that a kill left, as the message says."""
    refused = tree.build()
    assert refused.status == 1 and "--unlock" in refused.told, refused.told
    assert tree.build("--unlock").status == 0
