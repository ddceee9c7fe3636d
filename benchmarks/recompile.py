"""Measure what an edit costs against the whole build: seconds by the clock, jobs, and teacher calls made and needed.

Builds travel booking in a temporary copy, then edits one thing after another and runs the same command again. The
calls that an edit makes necessary are counted apart from the workflow: conversations whose words it can change.

    python benchmarks/recompile.py [--configfile FILE]      (the whole takes two builds and a bit: 15 minutes)
"""

import argparse
import json
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PARTS = ("Snakefile", "rules", "scripts", "config", "profiles", "envs", "bases", "specs")
AGENT = "travel_booking"
WORDS = "Do you have anything else?"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--configfile", help="settings of a smaller build, to try this script out")
    options = parser.parse_args()
    extra = ["--configfile", str(Path(options.configfile).resolve())] if options.configfile else []
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        for part in PARTS:
            source = ROOT / part
            (shutil.copytree if source.is_dir() else shutil.copy2)(source, work / part)
        print("| edit | jobs | teacher calls | calls needed | ratio | seconds | share of the first build |")
        print("| --- | --- | --- | --- | --- | --- | --- |")
        whole = 0.0
        for name, edit, needed in EDITS:
            before = calls(work)
            edit(work)
            began = time.monotonic()
            jobs = snakemake(work, extra)
            seconds = time.monotonic() - began
            whole = whole or seconds
            asked, necessary = calls(work) - before, needed(work)
            ratio = f"{asked / necessary:.2f}" if necessary else "-"
            print(
                f"| {name} | {jobs} | {asked:,} | {necessary:,} | {ratio} | {seconds:.1f} | {seconds / whole:.0%} |",
                flush=True,
            )


def snakemake(work: Path, extra: list[str]) -> int:
    """Run the build and return the number of jobs that ran."""
    command = [sys.executable, "-m", "snakemake", "--cores", "all", *extra]
    done = subprocess.run(command, cwd=work, capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stderr[-3000:])
    rules = re.findall(r"Finished jobid: \d+ \(Rule: (\w+)\)", done.stderr)
    return len([rule for rule in rules if rule != "all"])


def calls(work: Path) -> int:
    return sum(len(file.read_text().split()) for file in (work / ".cache" / "ledger").glob("*.txt"))


def conversations(work: Path, concerned: Callable[[dict], bool]) -> int:
    """Count the planned conversations that an edit concerns."""
    shards = (work / "results" / AGENT / "shards").glob("*.json")
    return sum(concerned(talk) for file in shards for talk in json.loads(file.read_text())["conversations"])


def edit_spec(old: str, new: str) -> Callable[[Path], None]:
    def edit(work: Path) -> None:
        spec = work / "specs" / f"{AGENT}.yaml"
        text = spec.read_text(encoding="utf-8")
        assert text.count(old) == 1, old
        spec.write_text(text.replace(old, new), encoding="utf-8")

    return edit


def none(_work: Path) -> int:
    return 0


EDITS = [
    ("first build", lambda work: None, lambda work: conversations(work, lambda talk: True)),
    ("nothing", lambda work: None, none),
    ("a comment", edit_spec("paths: {rule: trail}", "paths: {rule: trail}  # no edge twice"), none),
    (
        "the words of one node",
        edit_spec("Okay, I understand. Then something simpler.", "Okay, I see. Then something simpler."),
        lambda work: conversations(work, lambda talk: "accept_adjustment" in talk["nodes"]),
    ),
    (
        "the words of one way out of a hub",
        edit_spec(WORDS, "Have you got anything else?"),
        lambda work: conversations(work, lambda talk: "handle_response->offer_alternatives" in talk["steps"]),
    ),
    (
        "a prompt, its {names} as before",
        edit_spec("ask which they like.", "ask which of them they like."),
        none,
    ),
]

if __name__ == "__main__":
    main()
