"""profiles/slurm on a real SLURM: a build, a rebuild, a failing job, and training that loses its place three times.

The cluster is this machine under two names (see slurm_cluster). Left out, with the reason, where it cannot be had.
"""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter

import pytest
import workflow_copy
import yaml
from slurm_cluster import Cluster, Unavailable
from workflow_copy import Tree, kill

SPEC = "specs/tiny.yaml"
PROFILE = "profiles/slurm/config.yaml"
SILENT = "http://127.0.0.1:9/v1"  # where nobody answers
TOO_LONG = 1200  # seconds: jobs wait for their turn, and then for the next look at them
# The plugin looks after 3 seconds, then 13 later, then 23: a job here takes about 10, most of it three snakemakes.
FAST = ("--slurm-init-seconds-before-status-checks", "3", "--seconds-between-status-checks", "1", "--latency-wait", "5")


class SlurmTree(Tree):
    """A tree that is built as on a cluster: by the profile, and without a word of cores."""

    def start(self, *arguments: str) -> subprocess.Popen:
        """Start snakemake in a process group of its own, which asks for its jobs more often than is polite."""
        command = [sys.executable, "-m", "snakemake", "--configfile", "tiny.yaml", "--profile", "profiles/slurm"]
        return subprocess.Popen(
            [*command, *FAST, *arguments],
            cwd=self.folder,
            env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )


@pytest.fixture(scope="module", autouse=True)
def patience_and_control_c():
    """A build may take longer than where all runs at once, and Control-C counts.

    A shell that starts the tests in the background ignores SIGINT for them, and so would what they start.
    """
    with pytest.MonkeyPatch.context() as patch:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        patch.setattr(workflow_copy, "TOO_LONG", TOO_LONG)
        yield


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """The running cluster."""
    cluster = Cluster(tmp_path_factory.mktemp("slurm"))
    try:
        cluster.start()
        yield cluster
    except Unavailable as reason:
        pytest.skip(f"no SLURM here: {reason}")
    finally:
        cluster.stop()


@pytest.fixture(scope="module")
def built(cluster, tmp_path_factory):
    """The tiny agent, built once through SLURM, and what that build did."""
    tree = SlurmTree.fresh(tmp_path_factory.mktemp("built") / "tree")
    tree.configure("training", least_steps=20, steps_per_edge=0)
    return tree, tree.build()


@pytest.fixture
def tree(built, tmp_path):
    """A copy of the built tree, to be edited."""
    return SlurmTree(built[0].copy(tmp_path / "tree").folder)


def test_every_job_of_a_build_goes_through_slurm(built, cluster):
    tree, build = built
    assert build.status == 0, build.told
    jobs = cluster.jobs()
    assert Counter(job.rule for job in jobs) == build.jobs, build.told
    assert {job.state for job in jobs} == {"COMPLETED"}
    assert tree.path("results/tiny/report.html").is_file() and tree.path("results/report.html").is_file()


def test_jobs_ask_for_what_the_profile_says(built, cluster):
    profile = yaml.safe_load(built[0].path(PROFILE).read_text())
    asked = {job.rule: job for job in cluster.jobs()}
    assert {rule for rule, job in asked.items() if job.gpus} == {"train_model", "hold_dialogues"}
    for rule, job in asked.items():
        wanted = profile["default-resources"] | profile["set-resources"].get(rule, {})
        memory = int(str(wanted["mem_mb"]).removesuffix(" * attempt"))
        cpus = profile["set-threads"].get(rule, 1)
        assert (job.memory, job.limit, job.cpus) == (memory, wanted["runtime"], cpus), rule
        assert (job.nodes, job.gpus) == (wanted.get("nodes", 1), wanted.get("gres", "")), rule


def test_the_profile_names_rules_that_there_are(built):
    profile = yaml.safe_load(built[0].path(PROFILE).read_text())
    rules = set(
        re.findall(r"^(?:rule|checkpoint) (\w+):", "".join(map(_text, built[0].folder.glob("rules/*.smk"))), re.M)
    )
    assert {*profile["set-resources"], *profile["set-threads"]} <= rules


def test_an_edit_of_one_node_submits_only_the_jobs_that_it_makes_stale(tree, cluster):
    before = cluster.last()
    tree.edit(SPEC, "prompt: Ask for the size", "prompt: Kindly ask for the size")
    build = tree.build("results/tiny/model")
    assert build.status == 0, build.told
    assert cluster.rules(before) == build.jobs == Counter(write_conversations=2, assemble_dataset=1)


def test_a_job_that_fails_is_tried_again_and_told_in_a_line_and_loses_nothing(tree, cluster):
    mine = tree.path("tiny.yaml").read_text()
    kept, before = tree.answers(), cluster.last()
    tree.hire(SILENT, api_key_env="", tries=1, timeout=2)
    build = tree.build("results/tiny/conversations/000.parquet", "--retries", "1")
    assert build.status == 1
    failed = [job for job in cluster.jobs(before) if job.rule == "write_conversations"]
    assert [(job.state, job.cpus) for job in failed] == [("FAILED", 1)] * 2, build.told
    (log,) = set(re.findall(r"logs/tiny/converse/000\.log", build.told))
    assert SILENT in tree.path(log).read_text() and "Traceback" not in build.told
    assert tree.path(log).read_text().strip().splitlines()[-1] in build.told
    assert all(f"{job.number}.log" in build.told for job in failed)
    tree.path("tiny.yaml").write_text(mine)
    again = tree.build("results/tiny/conversations/000.parquet")
    assert again.status == 0 and not again.asked, again.told
    assert kept <= tree.answers()


def test_training_goes_on_after_preemption_after_scancel_and_after_control_c(tree, cluster):
    tree.configure("training", least_steps=160, steps_per_edge=0, evaluations=16)
    before = cluster.last()
    process = tree.start("results/tiny/model")
    try:
        _at_a_checkpoint(tree, process, above=0)
        cluster.take_all_gpus()
        first = _goes_on(tree, process, above=0)
        (job,) = [job for job in cluster.jobs(before) if job.rule == "train_model"]
        assert (job.state, job.restarts) == ("RUNNING", 1), "the same job, queued again"

        _at_a_checkpoint(tree, process, above=first)
        cluster.cancel(job)
        second = _goes_on(tree, process, above=first)
        assert [job.state for job in cluster.jobs(before) if job.rule == "train_model"] == ["CANCELLED", "RUNNING"]

        _at_a_checkpoint(tree, process, above=second)
        process.send_signal(signal.SIGINT)
        _, told = process.communicate(timeout=TOO_LONG)
    finally:
        kill(process)
    assert process.returncode != 0
    assert not cluster.running("train_model"), told
    again = tree.build("results/tiny/model")
    assert again.status == 0 and again.jobs == Counter(train_model=1), again.told
    assert _went_on_from(tree) > second
    assert json.loads(tree.path("results/tiny/training.json").read_text())["steps"] == 160


def test_training_over_two_nodes_runs_on_both(tree, cluster):
    tree.configure("training", nodes=2, rows_per_step=2, least_steps=20, steps_per_edge=0)
    tree.edit(PROFILE, "    nodes: 1\n", "    nodes: 2\n")
    before = cluster.last()
    build = tree.build("results/tiny/model", "--retries", "0")
    assert build.status == 0 and build.jobs == Counter(train_model=1), build.told
    (job,) = cluster.jobs(before)
    assert (job.rule, job.state, job.nodes, job.gpus) == ("train_model", "COMPLETED", 2, "gpu:1")
    assert json.loads(tree.path("results/tiny/training.json").read_text())["processes"] == 2


def _text(file) -> str:
    return file.read_text()


def _checkpoint(tree) -> int:
    """Return the step of the last whole checkpoint, or 0."""
    states = tree.folder.glob(".cache/training/*/checkpoint-*/trainer_state.json")
    return max((int(state.parent.name.removeprefix("checkpoint-")) for state in states), default=0)


def _went_on_from(tree) -> int:
    """Return the step from which the training went on that wrote the log, or 0."""
    log = tree.path("logs/tiny/train.log")
    found = re.search(r"training goes on from step (\d+)", log.read_text()) if log.exists() else None
    return int(found[1]) if found else 0


def _at_a_checkpoint(tree, process, above: int) -> None:
    """Wait until a checkpoint is whole whose step is above that."""
    _wait(process, lambda: _checkpoint(tree) > above)


def _goes_on(tree, process, above: int) -> int:
    """Wait until training went on from a step above that; return the step."""
    _wait(process, lambda: _went_on_from(tree) > above)
    return _went_on_from(tree)


def _wait(process, holds) -> None:
    give_up = time.monotonic() + TOO_LONG
    while not holds():
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < give_up, "it takes too long"
        time.sleep(0.1)
