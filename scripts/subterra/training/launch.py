"""Several processes train together: torchrun starts them here, or on every node of a SLURM job.

What dies takes what it started along: a killed training leaves no process that goes on writing.
"""

import contextlib
import ctypes
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from subterra.errors import SubterraError

PR_SET_PDEATHSIG = 1  # linux/prctl.h
MISTAKE = 3  # exit status of a process that told of a mistake of the user


def launch(task: Mapping, nodes: int, processes: int, threads: int) -> None:
    """Run a task (train.Task as a dict) in `processes` processes on each of `nodes` machines, to its end.

    `threads` is what the processes of a machine share. Raises SubterraError with what a process said to the user.
    """
    with task_file(task) as job:
        status = _run(command(job, nodes, processes, os.environ), environment(max(1, threads // processes)))
        said = sorted(job.parent.glob("mistake.*"))
        if said:
            raise SubterraError(said[0].read_text(encoding="utf-8").strip())
        if status:
            raise SubterraError(
                f"training by {nodes * processes} processes ended with status {status}; what they said stands above. "
                "Run the same command again: it goes on from the last checkpoint"
            )


@contextlib.contextmanager
def task_file(task: Mapping) -> Iterator[Path]:
    """Write a task (train.Task as a dict) for other processes to read; its folder is theirs, and is gone after this."""
    place = Path(task["checkpoints"])  # which every node sees
    place.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=place, prefix=".launched.") as folder:
        job = Path(folder) / "task.json"
        job.write_text(json.dumps(dict(task)), encoding="utf-8")
        yield job


def command(job: Path, nodes: int, processes: int, known: Mapping[str, str]) -> list[str]:
    """Return the command that starts all processes; `known` are the environment variables.

    Raises SubterraError where there are fewer nodes than asked for.
    """
    torchrun = [sys.executable, "-m", "torch.distributed.run", f"--nproc-per-node={processes}", f"--nnodes={nodes}"]
    work = ["-m", "subterra.training.launch", str(job)]
    if nodes == 1:
        return [*torchrun, "--standalone", *work]
    number = known.get("SLURM_JOB_ID", "")
    held = _nodes_of(number) if number else 1
    if held < nodes:
        raise SubterraError(
            f"training.nodes: {nodes} machines are asked for and this job holds {held}: give the rule train_model "
            "as many nodes in profiles/slurm, or take fewer"
        )
    meet = [f"--rdzv-id={number}", "--rdzv-backend=c10d"]
    meet.append(f"--rdzv-endpoint={socket.gethostname()}:{20_000 + int(number) % 20_000}")
    on_each = [f"--jobid={number}", f"--nodes={nodes}", f"--ntasks={nodes}", "--ntasks-per-node=1"]
    on_each += ["--kill-on-bad-exit=1", f"--cpus-per-task={known.get('SLURM_CPUS_ON_NODE', '1')}"]
    return ["srun", "--overlap", *on_each, *torchrun, *meet, *work]


def _nodes_of(job: str) -> int:
    """Return how many nodes a SLURM job holds. What its environment says is of the step, which is on one of them."""
    asked = ["squeue", "--noheader", "--format=%D", f"--jobs={job}"]
    return int(subprocess.run(asked, capture_output=True, text=True, check=True).stdout)


def environment(threads: int) -> dict[str, str]:
    """Return the environment of the processes: where the package is, and how many threads each may have.

    What SLURM said of this step is left out: srun would take it for what the processes are to get.
    """
    package = str(Path(__file__).resolve().parents[2])
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("SLURM_", "SRUN_"))}
    kept |= {name: value for name, value in os.environ.items() if name == "SLURM_CONF"}
    wanted = {"PYTHONPATH": package, "OMP_NUM_THREADS": str(threads), "TOKENIZERS_PARALLELISM": "false"}
    quiet = {"PYTHONWARNINGS": "ignore"}  # DeepSpeed calls what torch is about to rename, at every step
    return kept | wanted | quiet


def _run(arguments: list[str], variables: Mapping[str, str]) -> int:
    """Run to the end; what the processes say goes to stderr as it comes."""
    process = subprocess.Popen(
        arguments,
        env=variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        preexec_fn=die_with_parent,
    )
    try:
        for line in process.stdout:
            sys.stderr.write(line)
        return process.wait()
    finally:
        process.kill()


def die_with_parent() -> None:
    """Be killed when the process that started this one is: only Linux can."""
    prctl = getattr(ctypes.CDLL(None), "prctl", None)
    if prctl:
        prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def main(job: str) -> None:
    """Be one of the processes. A mistake of the user's is written beside the job, for `launch` to tell."""
    die_with_parent()
    from subterra.training.train import Task, work

    task = Task(**json.loads(Path(job).read_text(encoding="utf-8")))
    if task.settings["sharding"] != "none":
        meet_by_deepspeed()
    try:
        work(task)
    except SubterraError as mistake:
        (Path(job).parent / f"mistake.{os.environ['RANK']}").write_text(str(mistake), encoding="utf-8")
        sys.exit(MISTAKE)


def meet_by_deepspeed() -> None:
    """Have the processes meet before ZeRO-3 deals out a model among them, which else takes itself to be alone."""
    import deepspeed
    import torch

    on_gpu = torch.cuda.is_available()
    if not on_gpu:
        # Its own communication on CPUs would be compiled for a minute, and gloo does as well.
        deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    deepspeed.init_distributed(dist_backend="nccl" if on_gpu else "gloo", auto_mpi_discovery=False)


if __name__ == "__main__":
    main(*sys.argv[1:])
