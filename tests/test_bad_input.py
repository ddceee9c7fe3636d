"""Whatever somebody writes into a spec or a config: paths come out or clear lines and status 1, and that soon.

Good specs and configs are spoilt in many ways (see mutations.py), the same ways in every run. BAD_INPUTS in the
environment sets how many: the default of some hundreds is made for every run of the tests, `BAD_INPUTS=5000` for a look
at everything: `BAD_INPUTS=5000 python -m pytest tests/test_bad_input.py`.
"""

import json
import math
import os
import re
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.configuration import set_hypothesis_home_dir
from mutations import (
    BASES,
    CONFIG,
    PLANNED,
    assert_clear,
    check_and_derive,
    large_specs,
    plan_and_speak,
    spoilt_bytes,
    spoilt_configs,
    spoilt_specs,
    spoilt_text,
    spots,
    told,
)
from subterra.config import base_folder, check_config
from toy_spec import TOY, changed
from workflow_copy import TOO_LONG, Tree, kill

set_hypothesis_home_dir(Path(tempfile.gettempdir()) / "hypothesis")

INPUTS = int(os.environ.get("BAD_INPUTS", "600"))


def tried(share: float) -> settings:
    """Return the settings of a test that gets a share of all inputs."""
    return settings(
        max_examples=max(5, round(INPUTS * share)),
        derandomize=True,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )


def shares() -> st.SearchStrategy[float]:
    return st.sampled_from([0, 0.3, 0.9])


# Settings of a small plan. Another teacher than the built-in one needs no phrasings.
PLANS = st.fixed_dictionaries(
    {
        "seed": st.integers(0, 3),
        "paths": st.fixed_dictionaries(
            {"rule": st.sampled_from(["trail", "simple", "visits: 2"]), "limit": st.sampled_from([60, 7, 1])}
        ),
        "held_out": st.fixed_dictionaries({"paths": shares(), "values": shares(), "phrasings": shares()}),
        "conversations": st.just(dict.fromkeys(CONFIG["conversations"], 3)),
        "interruptions": st.fixed_dictionaries({"rate": shares()}),
        "shards": st.sampled_from([2, 1]),
        "teacher": st.fixed_dictionaries({"backend": st.sampled_from(["builtin", "builtin", "other"])}),
    }
)


def test_a_spoilt_spec_gives_a_plan_or_clear_lines(tmp_path_factory):
    folder, outcomes = tmp_path_factory.mktemp("specs"), Counter()

    @tried(0.6)
    @given(spoilt_specs(), PLANS)
    def spoil(spec, plan):
        path = folder / f"{spec[0]}.yaml"
        path.write_bytes(spec[1])
        lines = told(plan_and_speak, path, plan)
        assert_clear(lines, re.escape(str(path)))
        outcomes["lines" if lines else "a plan"] += 1

    spoil()
    assert min(outcomes["lines"], outcomes["a plan"]) > INPUTS / 20, outcomes


# -- the config ------------------------------------------------------------------------------------------------------


def too_much(config: dict) -> bool:
    """Tell whether so much is asked for, rightly, that it takes long."""
    counts = config["conversations"].values()
    return max(*counts, config["paths"]["limit"] / 100, config["shards"]) > 100 or len(config["agents"]) > 5


def parse_and_plan(config: dict, folder: Path) -> None:
    """Do what the workflow does with a config when it is parsed: check it, and plan its agents."""
    check_config(config, "config.yaml")
    base_folder(config["base"])
    numbers = [holder[key] for holder, key in spots(config) if isinstance(holder[key], int | float)]
    assert all(map(math.isfinite, numbers))
    if not too_much(config):
        for agent in config["agents"]:
            plan_and_speak(folder / f"{agent}.yaml", {key: config[key] for key in PLANNED})


@pytest.fixture(scope="module")
def specs(tmp_path_factory):
    """A folder with the good specs, for configs that are spoilt."""
    folder = tmp_path_factory.mktemp("good")
    for name, text in BASES.items():
        (folder / f"{name}.yaml").write_text(text, encoding="utf-8")
    return folder


def told_of(config: dict, folder: Path) -> list[str]:
    lines = told(parse_and_plan, config, folder)
    assert_clear(lines, f"config.yaml|base|{re.escape(str(folder))}/\\S+")
    return lines


def test_a_spoilt_config_gives_a_plan_or_clear_lines(specs):
    outcomes = Counter()

    @tried(0.25)
    @given(spoilt_configs())
    def spoil(config):
        outcomes["lines" if told_of(config, specs) else "a plan"] += 1

    spoil()
    assert outcomes["lines"] > INPUTS / 10 and outcomes["a plan"], outcomes


def test_a_config_with_damaged_text_is_told_in_clear_lines_wherever_it_is_still_a_mapping(specs):
    @tried(0.15)
    @given(st.one_of(spoilt_text("config"), spoilt_bytes("config")))
    def spoil(content):
        try:
            config = yaml.safe_load(content)
        except (yaml.YAMLError, ValueError):
            return  # Snakemake reads the file, and tells of what is no YAML
        if isinstance(config, dict):  # anything else Snakemake refuses
            told_of(config, specs)

    spoil()


# -- what is large ---------------------------------------------------------------------------------------------------


def test_large_specs_take_neither_long_nor_much_memory(tmp_path):
    files = {}

    @tried(0.03)
    @given(large_specs())
    def collect(spec):
        name, content = spec
        files[name] = tmp_path / f"{name}.yaml"
        files[name].write_bytes(content)

    collect()
    # Arrow and BLAS set aside address space by the number of cores, which is no memory that is used.
    quiet = {"ARROW_DEFAULT_MEMORY_POOL": "system", "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    quiet["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path)
    run = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("mutations.py")), *map(str, files.values())],
        env=os.environ | quiet,
        capture_output=True,
        text=True,
    )
    reports = [json.loads(line) for line in run.stdout.splitlines()]
    assert run.returncode == 0 and len(reports) == len(files), run.stderr
    assert not [report for report in reports if report["problem"]]


# -- the workflow ----------------------------------------------------------------------------------------------------

SPEC = "specs/tiny.yaml"
BROKEN = changed("next: answer", "next: anser", changed("Just a {drink}.", "Just a {drnk} {."))
BROKEN = changed("title: Coffee counter", 'title: "Coffee\\u202e counter"\nvisits: [99]', BROKEN)


@pytest.fixture(scope="module")
def fresh(tmp_path_factory):
    """A copy of the workflow in which nothing was built."""
    return Tree.fresh(tmp_path_factory.mktemp("workflow") / "fresh")


@pytest.mark.parametrize(
    "content",
    [BROKEN.encode(), TOY.replace("Coffee", "Café").encode("latin-1"), TOY.replace("size:", "\tsize:").encode()],
)
def test_the_workflow_ends_with_the_lines_about_a_spec(fresh, content, monkeypatch):
    fresh.path(SPEC).write_bytes(content)
    monkeypatch.chdir(fresh.folder)
    lines = told(check_and_derive, Path(SPEC))
    assert_clear(lines, SPEC)
    dry_run_ends_with(fresh, lines)


def test_the_workflow_ends_with_the_lines_about_a_config(fresh):
    fresh.path(SPEC).write_text(TOY)
    spoilt = {"epoch": 2, "warmup": "\u202e", "decay": float("inf")}
    fresh.configure("training", **spoilt)
    lines = told(check_config, CONFIG | {"training": CONFIG["training"] | spoilt})
    dry_run_ends_with(fresh, lines)


def dry_run_ends_with(tree: Tree, lines: list[str]) -> None:
    """Assert that the last that a dry run tells is these lines; a trace of Snakemake's would stand on stdout."""
    process = tree.start("-n")
    try:
        stdout, stderr = process.communicate(timeout=TOO_LONG)
    finally:
        kill(process)
    assert process.returncode == 1 and lines and stderr.splitlines()[-len(lines) :] == lines, stderr
    assert "Traceback" not in stderr and ", line " not in stdout and "Error" not in stdout, stdout
