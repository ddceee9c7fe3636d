"""A copy of the workflow with one tiny agent, for tests that edit it and look at what a build does."""

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import yaml
from endpoint_server import MODEL
from subterra.cache import Cache, times_asked
from subterra.records import read_table
from toy_spec import TOY

ROOT = Path(__file__).resolve().parent.parent
COPIED = ("Snakefile", "rules", "scripts", "config", "profiles", "envs")
SETTINGS = """\
agents: [tiny]
base: toy
shards: 2
conversations:
  {train: 60, valid: 10, known: 4, held_out_paths: 2, held_out_values: 2, held_out_phrasings: 2, interruptions: 2}
interruptions: {rate: 0.05}
training: {epochs: 1, least_steps: 60, steps_per_edge: 27, tokens_per_step: 1024, evaluations: 1}
export: {quantizations: [q8_0], parity_prompts: 2}
evaluation:
  scenarios: {known: 2, held_out_paths: 1, held_out_values: 1, held_out_phrasings: 1, interruptions: 1}
  temperatures: [0]
  max_turns: 6
"""
TOY_BASE = {
    "hidden_size": 64,
    "intermediate_size": 64,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
}
TOO_LONG = 900  # seconds; a busy machine takes long


@dataclass(frozen=True)
class Build:
    """What one call of snakemake did: exit status, what it told on stderr, jobs by rule, keys the teacher was asked."""

    status: int
    told: str
    jobs: Counter
    asked: Counter


class Tree:
    """A working tree with the workflow, the spec `tiny` and its settings."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.cache = folder / ".cache"

    @classmethod
    def fresh(cls, folder: Path) -> "Tree":
        """Copy the workflow of this repository, with a toy spec and a toy base, and nothing built."""
        folder.mkdir()
        for name in COPIED:
            source = ROOT / name
            copy = shutil.copy2 if source.is_file() else shutil.copytree
            copy(source, folder / name)
        shutil.copytree(ROOT / "bases" / "scratch", folder / "bases" / "toy")
        config = folder / "bases" / "toy" / "config.json"
        config.write_text(json.dumps(json.loads(config.read_text()) | TOY_BASE | {"head_dim": 32}))
        (folder / "specs").mkdir()
        (folder / "specs" / "tiny.yaml").write_text(TOY)
        (folder / "tiny.yaml").write_text(SETTINGS)
        return cls(folder)

    def copy(self, folder: Path) -> "Tree":
        """Copy everything with its times, which are what Snakemake goes by."""
        return Tree(Path(shutil.copytree(self.folder, folder)))

    def path(self, name: str) -> Path:
        """Return a place in the tree."""
        return self.folder / name

    def edit(self, name: str, old: str, new: str) -> None:
        """Replace a piece of a file, which has to stand in it once."""
        text = self.path(name).read_text()
        assert text.count(old) == 1, f"{old!r} stands {text.count(old)} times in {name}"
        self.path(name).write_text(text.replace(old, new))

    def configure(self, section: str, **values) -> None:
        """Change settings of a section of the config."""
        settings = yaml.safe_load(self.path("tiny.yaml").read_text())
        settings[section] |= values
        self.path("tiny.yaml").write_text(yaml.safe_dump(settings))

    def hire(self, url: str, **more) -> "Tree":
        """Let the conversations be written by a model behind an endpoint."""
        settings = yaml.safe_load(self.path("tiny.yaml").read_text())
        settings["teacher"] = {
            "backend": "openai",
            "base_url": url,
            "model": MODEL,
            "api_key_env": "TEACHER_KEY",
            "parameters": {"max_tokens": 900},
            "concurrency": 8,
            "budget": 50,
        } | more
        self.path("tiny.yaml").write_text(yaml.safe_dump(settings))
        prices = yaml.safe_load(self.path("config/prices.yaml").read_text())
        prices["models"] |= {MODEL: {"input": 1, "cached_input": 0.25, "output": 4, "batch": 0.5}}
        self.path("config/prices.yaml").write_text(yaml.safe_dump(prices))
        return self

    def start(self, *arguments: str) -> subprocess.Popen:
        """Start snakemake in a process group of its own; it is read through its pipes."""
        return subprocess.Popen(
            [sys.executable, "-m", "snakemake", "--configfile", "tiny.yaml", "--cores", "2", *arguments],
            cwd=self.folder,
            # A path to the package of another tree would go before that of the copy.
            env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def build(self, *arguments: str) -> Build:
        """Run snakemake to its end."""
        before = Counter(times_asked(self.cache))
        process = self.start(*arguments)
        try:
            _, told = process.communicate(timeout=TOO_LONG)
        finally:
            kill(process)
        jobs = Counter(re.findall(r"^Finished jobid: \d+ \(Rule: (\w+)\)$", told, re.MULTILINE))
        del jobs["all"]
        return Build(process.returncode, told, jobs, Counter(times_asked(self.cache)) - before)

    def build_and_kill(self, when: Callable[[], bool]) -> None:
        """Start a build and kill all of it, at once and without warning, as soon as `when` holds."""
        process = self.start()
        give_up = time.monotonic() + TOO_LONG
        try:
            while not when() and process.poll() is None and time.monotonic() < give_up:
                time.sleep(0.01)
            was_running = process.poll() is None
        finally:
            kill(process)
        _, told = process.communicate()  # returns when the last of the group has let go of the pipe
        assert was_running, told

    def answers(self) -> set[str]:
        """Return the keys of the cache whose answers are whole."""
        cache = Cache(self.cache)
        keys = (file.stem for file in self.cache.glob("answers/*/*.json"))
        return {key for key in keys if cache.get(key) is not None}

    def read(self, *patterns: str) -> dict[str, bytes]:
        """Return the files that match, by name, with their contents."""
        files = [file for pattern in patterns for file in self.folder.glob(pattern)]
        return {str(file.relative_to(self.folder)): file.read_bytes() for file in files}

    def conversations(self, agent: str = "tiny") -> list[dict]:
        """Return the conversations that the teacher wrote for an agent."""
        files = sorted(self.folder.glob(f"results/{agent}/conversations/*.parquet"))
        return [row for file in files for row in read_table(file)]

    def times(self, pattern: str = "results/**/*") -> dict[str, int]:
        """Return when each of the files that match was last written."""
        files = (file for file in sorted(self.folder.glob(pattern)) if file.is_file())
        return {str(file.relative_to(self.folder)): file.stat().st_mtime_ns for file in files}


def kill(process: subprocess.Popen) -> None:
    """Kill a process and all that it started."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
