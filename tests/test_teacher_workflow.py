"""A model as the teacher in the real workflow: its cost is told first, nothing paid for is lost, no key is written."""

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest
import yaml
from endpoint_server import KEY, Server
from subterra.ledger import Ledger
from subterra.records import read_table
from workflow_copy import ROOT, Tree

GRACE = 0.25  # seconds in which an answer may still be on its way to the disk


@pytest.fixture(autouse=True)
def key(monkeypatch):
    monkeypatch.setenv("TEACHER_KEY", KEY)


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with Server(tmp_path_factory.mktemp("server"), delay=0.02) as running:
        yield running


@contextlib.contextmanager
def command_lines():
    """Collect the command lines of all processes that run meanwhile."""
    found, over = set(), threading.Event()

    def look() -> None:
        while not over.wait(0.05):
            found.update(" ".join(one.info["cmdline"] or ()) for one in psutil.process_iter(["cmdline"]))

    looking = threading.Thread(target=look)
    looking.start()
    yield found
    over.set()
    looking.join()


def test_the_line_runs_with_a_model_as_its_teacher_and_the_key_is_in_no_file(server, tmp_path):
    tree = Tree.fresh(tmp_path / "tree").hire(server.url)
    before = len(server.requests())
    told = tree.build("estimate")
    assert told.status == 0 and "about $" in told.told, told.told
    assert len(server.requests()) == before, "an estimate asks nothing"
    with command_lines() as lines:
        build = tree.build()
    assert build.status == 0, build.told
    assert any("write_conversations" in line for line in lines) and not any(KEY in line for line in lines)
    asked = len(server.requests()) - before
    conversations = tree.conversations()
    assert asked == 2 * len(conversations), "one request for a conversation, one to read its customer"
    page = tree.path("results/tiny/report.html").read_text()
    assert "What became of the conversations" in page and "right at once" in page
    again = tree.build()
    assert again.status == 0 and not again.jobs and len(server.requests()) - before == asked
    report = tree.build("--report", "report.html")
    assert report.status == 0
    for file in tree.folder.rglob("*"):
        assert not file.is_file() or KEY.encode() not in file.read_bytes(), file
    assert KEY not in told.told + build.told + again.told + report.told


def test_how_a_model_is_asked_makes_nothing_stale_and_what_it_is_asked_does(server, tmp_path):
    tree = Tree.fresh(tmp_path / "tree").hire(server.url, check_when=False)
    first = tree.build("--until", "assemble_dataset")
    assert first.status == 0 and first.jobs["write_conversations"] == 2, first.told
    tree.hire(server.url, check_when=False, concurrency=3, timeout=33, tries=2, budget=60)
    build = tree.build("--until", "assemble_dataset")
    assert build.status == 0 and not build.jobs["write_conversations"], build.told
    before = len(server.requests())
    tree.path("config/prompts/teacher/styles.txt").write_text("calm\n")
    build = tree.build("--until", "assemble_dataset")
    assert build.status == 0 and build.jobs["write_conversations"] == 2, build.told
    assert len(server.requests()) - before == len(tree.conversations())


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"budget": 0.0001}, "teacher.budget: $0.0001: tiny will cost about $"),
        ({"model": "gpt-4.1-minni"}, "config/prices.yaml: no price for 'gpt-4.1-minni'"),
        ({"base_url": "http://key@localhost/v1"}, "config: teacher.base_url"),
        ({"api_key_env": "NOT_THERE"}, "teacher.api_key_env: NOT_THERE is not set"),
    ],
)
def test_a_mistake_is_one_line_before_anything_is_asked(server, tmp_path, change, says):
    tree = Tree.fresh(tmp_path / "tree").hire(server.url, **change)
    before = len(server.requests())
    build = tree.build()
    assert build.status == 1 and "Traceback" not in build.told, build.told
    assert any(line.startswith(says) for line in build.told.splitlines()), build.told
    assert len(server.requests()) == before


def test_a_wrong_key_is_told_once_by_a_job_at_most_and_shown_in_none(server, tmp_path, monkeypatch):
    monkeypatch.setenv("TEACHER_KEY", "sk-wrong-0000")
    tree = Tree.fresh(tmp_path / "tree").hire(server.url)
    build = tree.build("--until", "assemble_dataset")
    assert build.status == 1 and "Traceback" not in build.told
    logs = [text.decode() for text in tree.read("logs/tiny/converse/*.log").values()]
    # A job that was asking when another was refused says nothing; one that begins later asks for itself.
    told = [log.count("does not take the key in TEACHER_KEY") for log in logs]
    assert max(told) == 1, logs
    assert not any("sk-wrong" in text for text in (build.told, *logs))


# -- kills ----------------------------------------------------------------------------------------------------------

SHARDS_AT_ONCE = """
import json, subprocess, sys
jobs = [subprocess.Popen([sys.executable, "-c", '''
import json, sys
from pathlib import Path
from subterra.converse import write_shard
work, settings, out = sys.argv[1:]
work, settings = json.loads(Path(work).read_text()), json.loads(settings)
write_shard(work, ".cache", out + ".parquet", out + ".json", settings)
''', shard, sys.argv[1], shard + ".out"]) for shard in sys.argv[2:]]
sys.exit(max(job.wait() for job in jobs))
"""


def start(tree: Tree, settings: str, shards: list[Path]) -> subprocess.Popen:
    """Start jobs that write shards side by side, as one process group."""
    return subprocess.Popen(
        [sys.executable, "-c", SHARDS_AT_ONCE, settings, *map(str, shards)],
        cwd=tree.folder,
        env=os.environ | {"PYTHONPATH": str(ROOT / "scripts")},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


@pytest.fixture
def planned(server, tmp_path):
    """(tree with two shards of work, settings as JSON, the shards)."""
    return plan(server, tmp_path)


def plan(server: Server, tmp_path: Path, **teacher) -> tuple[Tree, str, list[Path]]:
    """Plan two shards of the tiny agent for a teacher at a server."""
    tree = Tree.fresh(tmp_path / "tree").hire(server.url, **({"concurrency": 4} | teacher))
    # Each customer is another, so that no two conversations ask the same.
    tree.path("config/prompts/teacher/styles.txt").write_text("\n".join(f"customer {n}" for n in range(100_000)))
    build = tree.build("--until", "estimate_cost")
    assert build.status == 0, build.told
    shipped = yaml.safe_load((ROOT / "config" / "config.yaml").read_text())["teacher"]
    settings = shipped | yaml.safe_load(tree.path("tiny.yaml").read_text())["teacher"]
    return tree, json.dumps(settings), sorted(tree.folder.glob("results/tiny/shards/*.json"))


def test_killed_at_twenty_moments_no_answered_request_is_asked_again(server, planned):
    tree, settings, shards = planned
    before, moments = len(server.requests()), random.Random(7)
    kills = []
    for _ in range(20):
        seen = len(server.requests())
        job = start(tree, settings, shards)
        goal = seen + moments.randrange(1, 7)
        while len(server.requests()) < goal and job.poll() is None:
            time.sleep(0.002)
        time.sleep(moments.random() * 0.03)
        kills.append(time.time())
        os.killpg(job.pid, signal.SIGKILL)
        job.wait()
    assert start(tree, settings, shards).wait() == 0
    asked: dict[int, float] = {}
    for one in server.requests()[before:]:
        answered = asked.get(one["body"])
        if answered is not None:
            assert any(kill - GRACE < answered for kill in kills if kill < one["received"] + 5), one
        if one["answered"]:
            asked[one["body"]] = one["answered"]
    rows = [row for shard in shards for row in read_table(f"{shard}.out.parquet")]
    assert len(asked) == 2 * len(rows) and len(rows) > 50
    assert len(tree.answers()) == len(list(tree.cache.glob("answers/*/*.json"))), "nothing is torn"


def test_a_batch_that_was_sent_by_a_killed_run_is_collected_and_not_paid_again(tmp_path):
    with Server(tmp_path / "server", batch_delay=4) as slow:
        tree, settings, shards = plan(slow, tmp_path, batch=True, batch_poll=0.1, check_when=False)
        job = start(tree, settings, shards)
        sent = tree.cache / "batches"
        while sum('"batch": "batch_' in file.read_text() for file in sent.glob("*.json")) < 2:
            assert job.poll() is None
            time.sleep(0.05)
        os.killpg(job.pid, signal.SIGKILL)
        job.wait()
        assert not slow.requests() and not tree.answers()
        file, *_ = sent.glob("*.json")  # as if it had been killed before it could write down the name
        file.write_text(json.dumps(json.loads(file.read_text()) | {"batch": None}))
        assert start(tree, settings, shards).wait() == 0
        rows = [row for shard in shards for row in read_table(f"{shard}.out.parquet")]
        assert len(slow.requests()) == len(rows) == len(tree.answers())
        assert not list(sent.glob("*.json"))
        with Ledger(tree.cache) as ledger:
            totals = ledger.totals()
        assert totals.keys() == {"answered"} and totals["answered"]["requests"] == len(rows), totals


def test_several_jobs_keep_one_pace(tmp_path):
    with Server(tmp_path / "server", rpm=1_200) as strict:  # 20 a second
        tree, settings, shards = plan(strict, tmp_path, requests_a_minute=900, check_when=False)
        assert start(tree, settings, shards).wait() == 0
        asked = strict.requests()
    assert not any(one["fault"] for one in asked), "none came too fast"
    assert asked[-1]["received"] - asked[0]["received"] > 0.9 * (len(asked) - 1) / 15


def test_two_jobs_that_ask_the_same_at_once_ask_once(server, planned):
    tree, settings, shards = planned
    before = len(server.requests())
    jobs = [start(tree, settings, shards) for _ in range(2)]
    assert [job.wait() for job in jobs] == [0, 0]
    rows = [row for shard in shards for row in read_table(f"{shard}.out.parquet")]
    assert len(server.requests()) - before == 2 * len(rows)
