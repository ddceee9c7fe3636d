"""A paid teacher: how near its speed comes to what the endpoint allows, and what the three agents cost.

    python benchmarks/teacher.py speed     a local server with a fixed delay: wall time / (calls x delay / concurrency)
    python benchmarks/teacher.py cost      tokens and dollars of both modes, by the prices of config/prices.yaml

Nothing is asked of anybody else. `cost` counts the requests as they will be sent, with answers as long as the spec's
own phrasings, and nothing written a second time.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "scripts"), str(ROOT / "tests")]

AGENTS = ("travel_booking", "zoom_support", "insurance_claims")
MODELS = ("frontier-of-the-paper", "gpt-5.4", "gpt-6-luna")
TRAIN = {"conversation": 1_000, "turn": 200}
PAPER = "$50 to 80 an agent, training and checks included (PAPER.md)"
JOB = """
import json, sys
from pathlib import Path
from subterra.converse import write_shard
work, settings, cache, out = sys.argv[1:]
write_shard(json.loads(Path(work).read_text()), cache, out + ".parquet", out + ".json", json.loads(settings))
"""


def config(**teacher) -> dict:
    """Return the shipped config with another teacher."""
    shipped = yaml.safe_load((ROOT / "config" / "config.yaml").read_text(encoding="utf-8"))
    return shipped | {"teacher": shipped["teacher"] | {"backend": "openai"} | teacher}


def planned(agent: str, folder: Path, settings: dict, **more) -> list[Path]:
    """Plan an agent and return the files of its shards' work."""
    from subterra.models.asking import shaping
    from subterra.plan import plan_agent

    plan_agent(ROOT / "specs" / f"{agent}.yaml", folder, settings | {"teacher": shaping(settings["teacher"])} | more)
    return sorted((folder / "shards").glob("*.json"))


def speed(folder: Path, delay: float, concurrency: int) -> None:
    """Print how long shards take against a server that answers after `delay` seconds."""
    from endpoint_server import KEY, MODEL, Server

    os.environ["TEACHER_KEY"] = KEY
    (folder / "config").mkdir()
    (folder / "config" / "prices.yaml").write_text(f"models: {{{MODEL}: {{input: 0, output: 0}}}}\n")
    (folder / "config" / "prompts").symlink_to(ROOT / "config" / "prompts")
    print("| mode | jobs side by side | calls | seconds | calls x delay / concurrency | ratio |")
    print("| --- | --- | --- | --- | --- | --- |")
    for mode in ("conversation", "turn"):
        for jobs in (1, 2):
            with Server(folder / f"server-{mode}-{jobs}", delay=delay) as server:
                settings = config(base_url=server.url, model=MODEL, api_key_env="TEACHER_KEY", mode=mode)
                settings["teacher"] |= {"concurrency": concurrency, "check_when": False}
                few = dict.fromkeys(settings["conversations"], 8) | {"train": TRAIN[mode]}
                some = {"shards": jobs, "conversations": few}
                work = planned("travel_booking", folder / f"{mode}-{jobs}", settings, **some)
                began = time.monotonic()
                running = [_job(folder, file, settings["teacher"], f"{mode}-{jobs}-cache") for file in work]
                if any(job.wait() for job in running):
                    sys.exit("a job failed")
                asked = server.requests()
                seconds = asked[-1]["answered"] - asked[0]["received"]
                whole = time.monotonic() - began
            ideal = len(asked) * delay / concurrency
            print(
                f"| {mode} | {jobs} | {len(asked):,} | {seconds:.1f} ({whole:.1f} with the jobs' start) | "
                f"{ideal:.1f} | {seconds / ideal:.2f} |",
                flush=True,
            )


def _job(folder: Path, work: Path, teacher: dict, cache: str) -> subprocess.Popen:
    out = work.with_name(f"{work.stem}.out")
    return subprocess.Popen(
        [sys.executable, "-c", JOB, str(work), json.dumps(teacher), str(folder / cache), str(out)],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT / "scripts")},
        stderr=subprocess.DEVNULL,
    )


def cost(folder: Path) -> None:
    """Print what both modes cost."""
    from subterra.costs import Usage, price_of
    from subterra.estimate import estimate, token_counter

    os.chdir(ROOT)
    print("| agent | mode | conversations | calls | tokens in | tokens out | " + " | ".join(MODELS) + " |")
    print("| --- | --- | --- | --- | --- | --- | " + " | ".join("---" for _ in MODELS) + " |")
    for agent in AGENTS:
        for mode in ("conversation", "turn"):
            settings = config(model=MODELS[0], mode=mode)
            work = planned(agent, folder / f"{agent}-{mode}", settings)
            told = estimate(work, folder / "cache", settings["teacher"], token_counter("bases/embedded"))
            usage = Usage(told["tokens_in"], 0, told["tokens_out"])
            dollars = [f"${price_of(model).dollars(usage):.2f}" for model in MODELS]
            numbers = (told["conversations"], told["calls"], told["tokens_in"], told["tokens_out"])
            print(f"| {agent} | {mode} | " + " | ".join(f"{n:,}" for n in numbers) + f" | {' | '.join(dollars)} |")
    print(f"\nThe paper: {PAPER}.")


def main() -> None:
    """Run what the command line names."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("speed", "cost"))
    parser.add_argument("--delay", type=float, default=0.5, help="seconds to an answer")
    parser.add_argument("--concurrency", type=int, default=32)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if asked.what == "speed":
            speed(Path(folder), asked.delay, asked.concurrency)
        else:
            cost(Path(folder))


if __name__ == "__main__":
    main()
