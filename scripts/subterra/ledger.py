"""What was asked of endpoints, a row a request: the budget that holds over all jobs and reruns, and their common pace.

A request is written down before it goes out, at the most that it can cost, and settled when its answer is there. What
a kill leaves unsettled stays at that most: it may have been billed. All jobs that use the folder share the file, so
none passes the budget, and each waits for its turn of the rate limit. SQLite keeps it whole; its journal is the one
that works on network file systems too.
"""

import fcntl
import os
import socket
import sqlite3
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from subterra.costs import Usage
from subterra.errors import SubterraError

TABLES = """
create table if not exists requests (
    id integer primary key,
    key text not null,          -- of the answer in the cache
    purpose text not null,      -- agent and conversation
    model text not null,
    owner text not null,        -- the job that asked
    began real not null,        -- seconds since 1970
    seconds real,
    state text not null,        -- open, answered, failed (nothing was billed) or lost (it may have been)
    reason text,                -- of a request without an answer
    tokens_in integer, tokens_cached integer, tokens_out integer,
    dollars real not null       -- the most it can cost while it is open or lost, then what it did cost
);
create index if not exists open_requests on requests (state, key);
create table if not exists shared (name text primary key, value real not null);
insert or ignore into shared values ('spent', 0), ('next', 0);
create table if not exists halts (endpoint text primary key, at real not null, message text not null);
"""
FILE = "requests.sqlite"
PATIENCE = 60.0  # seconds that SQLite waits for another job
SPENT = "select value from shared where name = 'spent'"
HALTED = "select count(*) from halts where endpoint = ? and at > ?"
NEXT = "select value from shared where name = 'next'"
OWNERS = "select distinct owner from requests where state = 'open'"


class BudgetReached(SubterraError):
    """The next request might pass the budget."""


class Ledger:
    """The ledger of a cache folder. `pace` is requests a minute over all jobs, 0 for no limit.

    `section` of the config sets the budget; what all sections spend counts.
    """

    def __init__(self, folder: str | Path, budget: float | None = None, pace: float = 0, section: str = "teacher"):
        self.folder, self.budget, self.pace, self.section = Path(folder), budget, pace, section
        self.owner = f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
        self.started = time.time()
        (self.folder / "jobs").mkdir(parents=True, exist_ok=True)
        self._alive = os.open(self.folder / "jobs" / self.owner, os.O_WRONLY | os.O_CREAT, 0o644)
        fcntl.flock(self._alive, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # One connection writes, the other reads beside it: a read that is under way on the first would make it fail.
        self._rows, self._view = (
            sqlite3.connect(self.folder / FILE, timeout=PATIENCE, isolation_level=None, check_same_thread=False)
            for _ in range(2)
        )
        self._rows.executescript(TABLES)

    def turn(self) -> float:
        """Take the next turn of the rate limit; return the time (seconds since 1970) at which it comes.

        Without a limit there is nothing to take: only a pause is waited for.
        """
        if not self.pace:
            return max(time.time(), _one(self._view, NEXT))
        with self.together():
            comes = max(time.time(), _one(self._rows, NEXT))
            self._rows.execute("update shared set value = ? where name = 'next'", (comes + 60 / self.pace,))
        return comes

    def reserve(self, key: str, purpose: str, model: str, most: float) -> int | None:
        """Write a request down before it goes out, with the most it can cost in dollars; return its number.

        None means not yet: the same is being asked at this moment, or the budget has no room until others' requests are
        settled. Raises BudgetReached where waiting will not help.
        """
        with self.together():
            self._bury()
            if _one(self._rows, "select count(*) from requests where state = 'open' and key = ?", key):
                return None
            spent = _one(self._rows, SPENT)
            if self.budget is not None and spent + most > self.budget:
                if _one(self._rows, "select count(*) from requests where state = 'open'"):
                    return None
                raise BudgetReached(
                    f"{self.section}.budget: ${self.budget:g}: the next request may cost ${most:.4f}, and "
                    f"${spent:.4f} are spent: raise the budget, or ask for fewer conversations; what was answered is "
                    "kept"
                )
            self._rows.execute("update shared set value = value + ? where name = 'spent'", (most,))
            return self._rows.execute(
                "insert into requests (key, purpose, model, owner, began, state, dollars) "
                "values (?, ?, ?, ?, ?, 'open', ?)",
                (key, purpose, model, self.owner, time.time(), most),
            ).lastrowid

    def settle(self, row: int, state: str, usage: Usage, dollars: float, reason: str = "") -> None:
        """Write down how a request ended: answered, failed (dollars 0) or lost (it keeps the most it can cost)."""
        with self.together():
            ((began, most),) = self._rows.execute("select began, dollars from requests where id = ?", (row,)).fetchall()
            dollars = most if state == "lost" else dollars
            self._rows.execute(
                "update requests set state = ?, reason = ?, seconds = ?, dollars = ?, "
                "tokens_in = ?, tokens_cached = ?, tokens_out = ? where id = ?",
                (
                    state,
                    reason or None,
                    time.time() - began,
                    dollars,
                    usage.tokens_in,
                    usage.tokens_cached,
                    usage.tokens_out,
                    row,
                ),
            )
            self._rows.execute("update shared set value = value + ? where name = 'spent'", (dollars - most,))

    def pause(self, seconds: float) -> None:
        """Hold back every job's next request."""
        with self.together():
            self._rows.execute("update shared set value = max(value, ?) where name = 'next'", (time.time() + seconds,))

    def halt(self, endpoint: str, message: str) -> bool:
        """Tell the other jobs that asking is no use; False where one of them has told already."""
        with self.together():
            if _one(self._rows, HALTED, endpoint, self.started):
                return False
            self._rows.execute("insert or replace into halts values (?, ?, ?)", (endpoint, time.time(), message))
        return True

    def halted(self, endpoint: str) -> bool:
        """Tell whether a job that runs beside this one, or this one, found asking no use."""
        return bool(_one(self._view, HALTED, endpoint, self.started))

    def spent(self) -> float:
        """Return the dollars spent so far, open and lost requests at the most they can cost."""
        return _one(self._view, SPENT)

    def totals(self) -> dict[str, dict]:
        """Return {state: {requests, tokens_in, tokens_cached, tokens_out, dollars}}."""
        sums = ", ".join(
            f"coalesce(sum({name}), 0)" for name in ("tokens_in", "tokens_cached", "tokens_out", "dollars")
        )
        rows = self._view.execute(f"select state, count(*), {sums} from requests group by state order by state")
        names = ("requests", "tokens_in", "tokens_cached", "tokens_out", "dollars")
        return {state: dict(zip(names, numbers, strict=True)) for state, *numbers in rows}

    def close(self) -> None:
        """Let go of the file. What this job left open counts as lost."""
        self._rows.close()
        self._view.close()
        os.close(self._alive)
        (self.folder / "jobs" / self.owner).unlink(missing_ok=True)

    def __enter__(self) -> "Ledger":
        return self

    def __exit__(self, *_exception) -> None:
        self.close()

    def _bury(self) -> None:
        """Settle as lost what jobs left open that are no more."""
        for (owner,) in self._rows.execute(OWNERS).fetchall():
            if owner != self.owner and not self._lives(owner):
                self._rows.execute(
                    "update requests set state = 'lost', reason = 'killed' where state = 'open' and owner = ?",
                    (owner,),
                )

    def _lives(self, owner: str) -> bool:
        """Tell whether a job still holds its file: the system lets go of it, however the job ends."""
        file = self.folder / "jobs" / owner
        try:
            handle = os.open(file, os.O_WRONLY)
        except FileNotFoundError:
            return False
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        else:
            file.unlink(missing_ok=True)
            return False
        finally:
            os.close(handle)

    @contextmanager
    def together(self) -> Iterator[None]:
        """Write all that is done inside to the disk at once, alone in the file; each part of it whole or not at all."""
        inside = self._rows.in_transaction
        self._rows.execute("savepoint part" if inside else "begin immediate")
        try:
            yield
        except BaseException:
            self._rows.execute("rollback to part" if inside else "rollback")
            raise
        finally:
            if inside:
                self._rows.execute("release part")
        if not inside:
            self._rows.execute("commit")


def _one(rows: sqlite3.Connection, query: str, *values) -> float:
    """Return the one number that a query asks for."""
    ((found,),) = rows.execute(query, values).fetchall()
    return found
