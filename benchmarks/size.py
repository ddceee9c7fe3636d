"""How time, memory and the number of jobs grow with a procedure and with its conversations.

    python benchmarks/size.py nodes           procedures of 10 to 2,000 nodes: check, derive, plan
    python benchmarks/size.py conversations   one procedure, 1,000 to 1,000,000 conversations: plan, write a shard
    python benchmarks/size.py agents          ten agents, 10,000 conversations each: planning, and a no-op run

Each row is a process of its own, so that its peak of memory is its own. `growth` is the exponent between a row and the
one above: 1 is linear, and what stays below 1.1 is no worse than n log n at these sizes.
"""

import argparse
import json
import math
import os
import random
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[1]
PARTS = ("Snakefile", "rules", "scripts", "config", "profiles", "envs", "bases")
sys.path.insert(0, str(ROOT / "scripts"))

SIZES = (10, 30, 100, 300, 1_000, 2_000)
CONVERSATIONS = (1_000, 10_000, 100_000, 1_000_000)
SHARDS = 64
MENU = 12  # most ways out of a menu
SECTION = 20  # nodes of a section, about
AGENTS, EACH = 10, 10_000


def procedure(size: int, seed: int = 1) -> dict:
    """Return a spec of about `size` nodes: menus lead to sections, in which the customer may branch and go back."""
    rng = random.Random(seed)
    nodes: dict[str, dict] = {}
    ends = [f"end_{number}" for number in range(3)]
    sections = max(1, (size - 6) // SECTION)
    entries = [_section(nodes, f"s{number}", min(size, SECTION) - 4, ends, rng) for number in range(sections)]
    level = 0
    while len(entries) > 1:
        groups = [entries[at : at + MENU] for at in range(0, len(entries), MENU)]
        entries = [_menu(nodes, f"m{level}_{number}", group) for number, group in enumerate(groups)]
        level += 1
    nodes["greet"] = _agent("Greet.", entries[0])
    reached = {way["to"] for node in nodes.values() if node["role"] == "user" for way in node["next"]}
    reached |= {node["next"] for node in nodes.values() if node["role"] == "agent"}
    for number, end in enumerate(ends):
        if end not in reached:
            continue
        nodes[end] = {
            "role": "end",
            "outcome": f"outcome {number}",
            "prompt": "Say goodbye.",
            "says": [f"Bye {number}."],
        }
    return {
        "title": "Generated",
        "system": "You help.",
        "start": "greet",
        "variables": {"item": [f"item {number}" for number in range(40)], "day": [f"day {n}" for n in range(40)]},
        "nodes": nodes,
        "interruptions": {
            "wait": {"when": "a moment is needed", "says": ["Wait."], "prompt": "Wait.", "answers": ["I wait."]}
        },
    }


def _section(nodes: dict, name: str, size: int, ends: list[str], rng: random.Random) -> str:
    """Add blocks of ask, branch, answer; a branch leads to the next block, back to the ask before, or to an end."""
    blocks = max(1, size // 4)
    for block in range(blocks):
        here, after = f"{name}_{block}", f"{name}_{block + 1}" if block + 1 < blocks else rng.choice(ends)
        after_ask = f"{after}_ask" if block + 1 < blocks else after
        nodes[f"{here}_ask"] = _agent("Ask.", f"{here}_hub")
        ways = {f"{here}_yes": "agrees", f"{here}_no": "refuses", rng.choice(ends): "gives up"}
        nodes[f"{here}_hub"] = {
            "role": "user",
            "next": [
                {"to": to, "when": f"the customer {why}", "says": _says(f"{here} {why} {{item}} {{day}}")}
                for to, why in ways.items()
            ],
        }
        nodes[f"{here}_yes"] = _agent("Say yes to {item} on {day}.", after_ask, "{item} {day}")
        nodes[f"{here}_no"] = _agent(
            "Say no to {item}.", f"{name}_{rng.randrange(block + 1)}_ask" if block else after_ask, "{item}"
        )
    return f"{name}_0_ask"


def _menu(nodes: dict, name: str, targets: list[str]) -> str:
    nodes[f"{name}_ask"] = _agent("Ask what it is about.", f"{name}_hub")
    ways = [{"to": to, "when": f"it is about {to}", "says": _says(f"About {to}")} for to in targets]
    nodes[f"{name}_hub"] = {"role": "user", "next": ways}
    return f"{name}_ask"


def _agent(prompt: str, after: str, said: str = "") -> dict:
    return {"role": "agent", "prompt": prompt, "says": _says(f"{prompt.partition(' {')[0]} {said}"), "next": after}


def _says(text: str) -> list[str]:
    return [f"{lead} {text}." for lead in ("Well,", "Now,", "So,", "Good,", "Yes,")]


def settings(conversations: int, shards: int = SHARDS) -> dict:
    """Return the config's own settings with other numbers."""
    found = yaml.safe_load((ROOT / "config" / "config.yaml").read_text(encoding="utf-8"))
    found["conversations"]["train"] = conversations
    return found | {"shards": shards}


def measure_nodes(size: int) -> dict:
    """Check, derive and plan one procedure."""
    from subterra import paths, plan
    from subterra.checker import check_spec

    with tempfile.TemporaryDirectory() as folder:
        spec = Path(folder) / "made.yaml"
        spec.write_text(yaml.safe_dump(procedure(size)), encoding="utf-8")
        chart, check = _timed(check_spec, spec)
        derived, derive = _timed(paths.derive, chart, 5_000)
        _, planned = _timed(plan.plan_agent, spec, Path(folder) / "out", settings(2_000))
        return {
            "nodes": len(chart.nodes),
            "edges": len(chart.edges),
            "paths": f"{derived.count:,}" if derived.count and derived.count < 10**9 else "many",
            "check": check,
            "derive": derive,
            "plan": planned - check - derive,
        }


def measure_conversations(count: int) -> dict:
    """Plan an agent of many conversations and write one of its shards."""
    from subterra import converse, plan

    with tempfile.TemporaryDirectory() as folder:
        spec, out = Path(folder) / "made.yaml", Path(folder) / "out"
        spec.write_text(yaml.safe_dump(procedure(30)), encoding="utf-8")
        _, planned = _timed(plan.plan_agent, spec, out, settings(count))
        largest = max((out / "shards").iterdir(), key=lambda file: file.stat().st_size)
        work = json.loads(largest.read_text(encoding="utf-8"))
        files = (out / "cache", out / "000.parquet", out / "000.json")
        _, written = _timed(converse.write_shard, work, *files)
        return {
            "conversations": count,
            "plan": planned,
            "MB of shards": sum(file.stat().st_size for file in (out / "shards").iterdir()) / 1e6,
            "write the largest shard": written,
            "conversations in it": len(work["conversations"]),
        }


def measure_agents() -> None:
    """Build ten tiny agents of 10,000 conversations each, then time planning anew and a run with nothing to do."""
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        for part in PARTS:
            source = ROOT / part
            (shutil.copytree if source.is_dir() else shutil.copy2)(source, work / part)
        (work / "specs").mkdir()
        agents = [f"agent_{number}" for number in range(AGENTS)]
        for number, agent in enumerate(agents):
            (work / "specs" / f"{agent}.yaml").write_text(yaml.safe_dump(procedure(60, number)), encoding="utf-8")
        few = dict.fromkeys(
            ("valid", "known", "held_out_paths", "held_out_values", "held_out_phrasings", "interruptions"), 10
        )
        plain = dict.fromkeys(("least_steps", "rehearsal", "unheard_values", "word_dropout", "opening_smoothing"), 0)
        tiny = {
            "agents": agents,
            "base": str(_tiny_base(work / "base")),
            "conversations": {"train": EACH, **few},
            "training": {"epochs": 1, "steps_per_edge": 0, "tokens_per_step": 200_000, "evaluations": 1, **plain},
            "export": {"quantizations": ["q8_0"], "parity_prompts": 2},
            "evaluation": {"scenarios": dict.fromkeys(few, 1) | {"valid": 0}, "temperatures": [0], "max_turns": 4},
        }
        tiny["evaluation"]["scenarios"].pop("valid")
        (work / "tiny.yaml").write_text(yaml.safe_dump(tiny), encoding="utf-8")
        print("| what | seconds |\n| --- | --- |")
        for name, extra, fresh in (
            ("planning, nothing there", ["--dry-run"], True),
            ("planning, plans there", ["--dry-run"], False),
            ("the whole build", [], False),
            ("a run with nothing to do", [], False),
        ):
            if fresh:
                shutil.rmtree(work / "results", ignore_errors=True)
            _, seconds = _timed(_snakemake, work, extra)
            print(f"| {name} | {seconds:.1f} |", flush=True)


def _tiny_base(folder: Path) -> Path:
    """Write a base without weights, so small that training is no part of the question."""
    shutil.copytree(ROOT / "bases" / "scratch", folder)
    shape = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    shape |= {"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 1, "head_dim": 16}
    (folder / "config.json").write_text(json.dumps(shape), encoding="utf-8")
    return folder


def _snakemake(work: Path, extra: list[str]) -> None:
    command = [
        str(Path(sys.executable).with_name("snakemake")),
        "--cores",
        "all",
        "--configfile",
        "tiny.yaml",
        "--quiet",
        "all",
    ]
    subprocess.run([*command, *extra], cwd=work, check=True, stdout=subprocess.DEVNULL)


def _timed(function, *arguments):
    began = time.monotonic()
    return function(*arguments), time.monotonic() - began


def table(kind: str, sizes: tuple[int, ...]) -> None:
    """Print a row for each size, measured in a process of its own."""
    before: dict = {}
    for number, size in enumerate(sizes):
        run = subprocess.run(
            [sys.executable, __file__, kind, "--one", str(size)], check=True, capture_output=True, text=True
        )
        row = json.loads(run.stdout.splitlines()[-1])
        if not number:
            print(f"| {' | '.join(row)} | growth |\n{'| --- ' * (len(row) + 1)}|")
        cells = [
            f"{value:.2f}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else value
            for value in row.values()
        ]
        print(f"| {' | '.join(cells)} | {_growth(before, row)} |", flush=True)
        before = row


def _growth(before: dict, row: dict) -> str:
    """Return the exponents of the columns with seconds and of memory, between two rows."""
    if not before:
        return "-"
    old, new = (next(iter(one.values())) for one in (before, row))
    ratio = math.log(new / old)
    found = [
        f"{name} {math.log(value / before[name]) / ratio:.2f}"
        for name, value in row.items()
        if isinstance(value, float) and before[name] > 0.05
    ]
    return ", ".join(found) or "-"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("what", choices=("nodes", "conversations", "agents"))
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    measures = {"nodes": (measure_nodes, SIZES), "conversations": (measure_conversations, CONVERSATIONS)}
    if options.what == "agents":
        measure_agents()
    elif options.one:
        os.chdir(tempfile.gettempdir())
        row = measures[options.what][0](options.one)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(json.dumps(row | {"peak MB": peak}))
    else:
        table(options.what, measures[options.what][1])


if __name__ == "__main__":
    main()
