"""What was paid for is kept: asked once, whole on disk, checked when read, shared between processes."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from subterra.cache import Cache, times_asked
from subterra.text import canonical

SCRIPTS = Path(__file__).parent.parent / "scripts"
KEY = "ab12"
ANSWERS = [["Hello!", "né {x}"], {"text": "a", "tokens": 3}, "words", 7, [], "", 0, False]


def entry(folder: Path, key: str = KEY) -> Path:
    return next(folder.glob(f"answers/**/{key}.json"))


def never():
    raise AssertionError("asked again")


def process(code: str, folder: Path) -> subprocess.Popen:
    """Run code beside this process; `folder` is there, and the package."""
    text = f"import sys; sys.path.insert(0, {str(SCRIPTS)!r}); folder = {str(folder)!r}\n{code}"
    return subprocess.Popen([sys.executable, "-c", text], stdout=subprocess.PIPE, text=True)


@pytest.mark.parametrize("answer", ANSWERS, ids=repr)
def test_an_answer_is_asked_for_once_and_kept_for_later_runs(tmp_path, answer):
    with Cache(tmp_path) as cache:
        assert cache.answer(KEY, lambda: answer) == answer
        assert cache.answer(KEY, never) == answer
        assert (cache.asked, cache.cached) == (1, 1)
    with Cache(tmp_path) as later:
        assert later.answer(KEY, never) == answer
        assert (later.asked, later.cached) == (0, 1)
    assert times_asked(tmp_path) == {KEY: 1}


def test_each_key_has_its_own_answer(tmp_path):
    with Cache(tmp_path) as cache:
        assert [cache.answer(f"{number:04x}", lambda n=number: n) for number in range(100)] == list(range(100))
        assert [cache.get(f"{number:04x}") for number in range(100)] == list(range(100))
        assert cache.get("ffff") is None
    assert times_asked(tmp_path) == {f"{number:04x}": 1 for number in range(100)}


def test_an_answer_is_on_disk_before_it_is_handed_back(tmp_path, monkeypatch):
    done = []
    for name in ("fsync", "replace"):
        real = getattr(os, name)
        monkeypatch.setattr(os, name, lambda *given, n=name, real=real: (done.append(n), real(*given))[1])
    with Cache(tmp_path) as cache:
        cache.answer(KEY, lambda: done.append("asked") or "words")
        assert done == ["asked", "fsync", "replace"]
        assert Cache(tmp_path).get(KEY) == "words"


def test_an_answer_that_failed_is_not_kept_and_stands_in_the_ledger(tmp_path):
    with Cache(tmp_path) as cache:
        with pytest.raises(ZeroDivisionError):
            cache.answer(KEY, lambda: 1 / 0)
        assert cache.get(KEY) is None
        assert cache.answer(KEY, lambda: "better") == "better"
    assert times_asked(tmp_path) == {KEY: 2}


def test_a_torn_entry_is_asked_anew_wherever_it_was_torn(tmp_path):
    with Cache(tmp_path) as cache:
        cache.answer(KEY, lambda: ["old", "né"])
        whole = entry(tmp_path).read_bytes()
        for length in range(len(whole)):
            entry(tmp_path).write_bytes(whole[:length])
            assert cache.get(KEY) is None
        assert cache.answer(KEY, lambda: "new") == cache.get(KEY) == "new"


TAMPERED = {
    "another answer": lambda told: told | {"answer": ["new"]},
    "another digest": lambda told: told | {"digest": "0" * len(told["digest"])},
    "the entry of another key": lambda told: told | {"key": "cd34"},
    "no answer": lambda told: {"key": told["key"], "digest": told["digest"]},
    "a list": lambda told: [told],
    "a number": lambda told: 1,
    "nothing": lambda told: None,
}


@pytest.mark.parametrize("what", TAMPERED)
def test_a_tampered_entry_is_asked_anew(tmp_path, what):
    with Cache(tmp_path) as cache:
        cache.answer(KEY, lambda: ["old"])
        entry(tmp_path).write_text(canonical(TAMPERED[what](json.loads(entry(tmp_path).read_text()))))
        assert cache.get(KEY) is None
        assert cache.answer(KEY, lambda: ["new"]) == ["new"] and cache.asked == 2
        assert Cache(tmp_path).get(KEY) == ["new"]


def test_an_entry_without_letters_or_with_a_folder_in_its_place_is_no_answer(tmp_path):
    with Cache(tmp_path) as cache:
        cache.answer(KEY, lambda: "old")
        entry(tmp_path).write_bytes(b"\xff\xfe\x00")
        assert cache.get(KEY) is None
        entry(tmp_path).unlink()
        (tmp_path / "answers" / KEY[:2] / f"{KEY}.json").mkdir()
        assert cache.get(KEY) is None


def test_processes_share_a_folder_and_answer_alike(tmp_path):
    code = """
from subterra.cache import Cache
with Cache(folder) as cache:
    for number in range(60):
        key = f"{number:040x}"
        assert cache.answer(key, lambda: [key] * 50) == [key] * 50
    print(cache.asked, cache.cached)
"""
    together = [process(code, tmp_path) for _ in range(2)]
    counts = [tuple(map(int, one.communicate(timeout=60)[0].split())) for one in together]
    assert all(asked + cached == 60 for asked, cached in counts) and not any(one.returncode for one in together)
    asked = times_asked(tmp_path)
    assert len(asked) == 60 and sum(asked.values()) == sum(asked for asked, _ in counts)
    assert len(list((tmp_path / "ledger").iterdir())) == sum(1 for asked, _ in counts if asked)
    assert not [file for file in tmp_path.rglob(".*") if file.is_file()]
    with Cache(tmp_path) as later:
        assert all(later.answer(key, never) == [key] * 50 for key in asked)


def test_a_kill_loses_only_what_was_in_flight(tmp_path):
    code = """
import os, signal
from subterra.cache import Cache
with Cache(folder) as cache:
    for number in range(3):
        cache.answer(f"{number:04x}", lambda: number + 1)
    cache.answer("0003", lambda: os.kill(os.getpid(), signal.SIGKILL))
"""
    assert process(code, tmp_path).wait(60) == -signal.SIGKILL
    with Cache(tmp_path) as cache:
        assert [cache.get(f"{number:04x}") for number in range(4)] == [1, 2, 3, None]
    assert times_asked(tmp_path) == {f"{number:04x}": 1 for number in range(4)}


def test_the_ledger_is_added_up_over_processes_and_torn_nowhere(tmp_path):
    assert times_asked(tmp_path) == {}
    for place, lines in (("here-1", "aa\nbb\naa\n"), ("there-1", "aa\n")):
        (tmp_path / "ledger").mkdir(exist_ok=True)
        (tmp_path / "ledger" / f"{place}.txt").write_text(lines)
    assert times_asked(tmp_path) == {"aa": 3, "bb": 1}


def test_a_cache_goes_on_after_it_was_closed(tmp_path):
    cache = Cache(tmp_path)
    cache.answer("aa", lambda: 1)
    cache.close()
    cache.answer("bb", lambda: 2)
    cache.close()
    assert times_asked(tmp_path) == {"aa": 1, "bb": 1}
