"""The ledger: a budget that nothing passes, what a kill leaves behind, one pace and so many requests over all jobs."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path

import pytest
from subterra.costs import Price, Usage, longest, price_of
from subterra.errors import SubterraError
from subterra.ledger import BudgetReached, Ledger
from subterra.slots import Slots

ROOT = Path(__file__).resolve().parents[1]
NONE = Usage()


def test_the_budget_counts_what_is_on_its_way(tmp_path):
    with Ledger(tmp_path, budget=1.0) as ledger:
        first = ledger.reserve("a", "talk", "m", 0.6)
        assert ledger.reserve("b", "talk", "m", 0.6) is None, "the first may cost less in the end: wait"
        ledger.settle(first, "answered", Usage(10, 0, 5), 0.3)
        second = ledger.reserve("b", "talk", "m", 0.6)
        ledger.settle(second, "answered", Usage(10, 0, 5), 0.6)
        with pytest.raises(BudgetReached, match=r"teacher.budget: \$1: .*\$0.2000.*\$0.9000 are spent"):
            ledger.reserve("c", "talk", "m", 0.2)
        assert ledger.spent() == pytest.approx(0.9)
    with Ledger(tmp_path, budget=1.0) as again:  # a rerun knows what was spent
        with pytest.raises(BudgetReached):
            again.reserve("c", "talk", "m", 0.2)
        assert again.reserve("c", "talk", "m", 0.1)


def test_a_request_that_was_not_billed_costs_nothing_and_one_that_may_have_been_costs_the_most(tmp_path):
    with Ledger(tmp_path, budget=1.0) as ledger:
        ledger.settle(ledger.reserve("a", "talk", "m", 0.4), "failed", NONE, 0.0, "too many requests")
        assert ledger.spent() == 0
        ledger.settle(ledger.reserve("b", "talk", "m", 0.4), "lost", NONE, 0.0, "no answer")
        assert ledger.spent() == pytest.approx(0.4)
        totals = ledger.totals()
    assert totals["failed"]["requests"] == totals["lost"]["requests"] == 1
    assert totals["lost"]["dollars"] == pytest.approx(0.4) and totals["failed"]["dollars"] == 0


KILLED = """
import sys, time
from subterra.ledger import Ledger
ledger = Ledger(sys.argv[1], budget=1.0)
ledger.reserve("a", "talk", "m", 0.7)
print("open", flush=True)
time.sleep(60)
"""


def test_what_a_killed_job_left_open_stays_spent_and_is_waited_for_no_longer(tmp_path):
    job = subprocess.Popen(
        [sys.executable, "-c", KILLED, tmp_path],
        stdout=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": str(ROOT / "scripts")},
    )
    assert job.stdout.readline() == b"open\n"
    with Ledger(tmp_path, budget=1.0) as ledger:
        assert ledger.reserve("a", "talk", "m", 0.1) is None, "another job is asking it"
        assert ledger.reserve("b", "talk", "m", 0.7) is None, "the other's request may come cheaper"
        os.kill(job.pid, signal.SIGKILL)
        job.wait()
        with pytest.raises(BudgetReached):
            ledger.reserve("b", "talk", "m", 0.7)
        assert ledger.reserve("a", "talk", "m", 0.1), "nobody asks it any more"
        assert ledger.totals()["lost"] | {"tokens_in": 0} == {
            "requests": 1,
            "tokens_in": 0,
            "tokens_cached": 0,
            "tokens_out": 0,
            "dollars": 0.7,
        }
    assert not list((tmp_path / "jobs").iterdir()), "nothing is left of either job"


BUSY = """
import sys, threading
from subterra.costs import Usage
from subterra.ledger import Ledger
ledger, over = Ledger(sys.argv[1], budget=1e6), threading.Event()

def look():
    while not over.is_set():
        ledger.halted("here"), ledger.turn(), ledger.spent()

looking = threading.Thread(target=look)
looking.start()
try:
    for number in range(60):
        rows = [ledger.reserve(f"{ledger.owner} {number} {n}", "talk", "m", 2.0) for n in range(3)]
        with ledger.together():
            for row in rows:
                ledger.settle(row, "answered", Usage(1, 0, 1), 1.0)
finally:
    over.set()
"""


def test_jobs_that_write_and_read_at_once_do_not_get_into_each_others_way(tmp_path):
    environment = os.environ | {"PYTHONPATH": str(ROOT / "scripts")}
    jobs = [subprocess.Popen([sys.executable, "-c", BUSY, tmp_path], env=environment) for _ in range(3)]
    assert [job.wait() for job in jobs] == [0, 0, 0]
    with Ledger(tmp_path) as ledger:
        assert ledger.spent() == pytest.approx(3 * 60 * 3)
        assert ledger.totals()["answered"]["requests"] == 3 * 60 * 3


def test_the_pace_is_one_over_all_jobs_and_a_pause_holds_for_all(tmp_path):
    with Ledger(tmp_path, pace=600) as one, Ledger(tmp_path, pace=600) as other:
        times = [ledger.turn() for ledger in (one, other, one, other)]
        assert all(later - earlier == pytest.approx(0.1, abs=0.01) for earlier, later in pairwise(times))
        one.pause(30)
        assert other.turn() - time.time() > 25


def test_a_job_tells_the_others_once_that_asking_is_no_use(tmp_path):
    with Ledger(tmp_path) as one, Ledger(tmp_path) as other:
        assert not other.halted("here")
        assert one.halt("here", "wrong key")
        assert not other.halt("here", "wrong key too")
        assert other.halted("here") and not other.halted("elsewhere")
    time.sleep(0.01)
    with Ledger(tmp_path) as later:
        assert not later.halted("here"), "a later run tries for itself"


def test_no_more_requests_are_in_flight_than_there_are_slots_over_all_jobs(tmp_path):
    most = 0

    async def work(slots, running):
        nonlocal most
        async with slots:
            running.append(1)
            most = max(most, len(running))
            await asyncio.sleep(0.02)
            running.pop()

    async def jobs():
        running: list[int] = []
        shared = [Slots(tmp_path, 5), Slots(tmp_path, 5)]
        await asyncio.gather(*(work(slots, running) for slots in shared for _ in range(20)))

    began = time.monotonic()
    asyncio.run(jobs())
    assert most == 5
    assert time.monotonic() - began < 40 / 5 * 0.02 * 3, "a slot that is free is taken at once"


def test_a_price_counts_what_the_provider_had_kept_and_the_batch():
    price = Price("m", input=2, output=8, cached_input=0.5, batch=0.5)
    usage = Usage(tokens_in=1_000_000, tokens_cached=400_000, tokens_out=250_000)
    assert price.dollars(usage) == pytest.approx(1.2 + 0.2 + 2)
    assert price.dollars(usage, in_batch=True) == pytest.approx(0.6 + 0.2 + 1)
    messages = [{"role": "user", "content": "grüß Gott"}]
    assert longest(messages) >= len(json.dumps(messages[0], ensure_ascii=False).encode())
    assert price.at_most(messages, 100) >= price.dollars(Usage(longest(messages), 0, 100))


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("models: {}", "no price for 'm': add"),
        ("models: {n: {input: 1, output: 2}}", "no price for 'm'"),
        ("models: {m: {input: 1}}", "m: input, output: dollars"),
        ("models: {m: {input: x, output: 2}}", "m: input: dollars"),
        ("models: {m: {input: -1, output: 2}}", "m: input: dollars"),
        ("[1", "no table of prices"),
        ("", "no table of prices"),
    ],
)
def test_a_price_table_that_does_not_tell_the_price_is_one_line(tmp_path, text, complaint):
    file = tmp_path / "prices.yaml"
    file.write_text(text)
    with pytest.raises(SubterraError, match=complaint) as caught:
        price_of("m", file)
    assert str(caught.value).isprintable() and str(file) in str(caught.value)
