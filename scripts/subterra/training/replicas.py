"""Replicas of one fine-tuning: each reads conversations of its own in a process of its own, and all are averaged.

A small model does not fill many cores, and several of it do. At every evaluation each replica becomes the average of
all (local SGD, Stich 2019): what chance taught one of them alone fades, and their average understands wordings and
values that none of them does (model soups, Wortsman et al. 2022). Replicas that part for too long have no average.
"""

import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import torch
from transformers import TrainerCallback

from subterra.errors import SubterraError
from subterra.training.launch import die_with_parent, environment, task_file


@dataclass(frozen=True)
class Follower:
    """One of the other replicas, as the first one sees it: the way to it, its process, and what it says."""

    link: Connection
    process: subprocess.Popen
    said: Path

    def begin(self, reached: str | None) -> None:
        """Let it train, from a checkpoint on or from the beginning. Raises SubterraError where it has ended."""
        with self._alive():
            self.link.send(reached)

    def receive(self) -> np.ndarray:
        """Return the numbers that it sends. Raises SubterraError where it has ended."""
        with self._alive():
            return np.frombuffer(self.link.recv_bytes(), np.float32)

    def send(self, numbers: np.ndarray) -> None:
        """Send it numbers. Raises SubterraError where it has ended."""
        with self._alive():
            self.link.send_bytes(numbers)

    @contextlib.contextmanager
    def _alive(self) -> Iterator[None]:
        try:
            yield
        except (EOFError, OSError):
            last = self.said.read_text(encoding="utf-8", errors="replace").strip().split("\n")[-1]
            raise SubterraError(
                f"training: a replica ended with status {self.process.wait()}{last and f' ({last})'}. "
                "Run the same command again: it goes on from the last checkpoint"
            ) from None


@contextlib.contextmanager
def followers(task: Mapping, number: int, threads: int) -> Iterator[list[Follower]]:
    """Start so many other replicas of a task (train.Task as a dict), of so many threads each; none outlives this."""
    with task_file(task) as job, contextlib.ExitStack() as started:
        yield [started.enter_context(_follower(job, 1 + one, threads)) for one in range(number)]


@contextlib.contextmanager
def _follower(job: Path, replica: int, threads: int) -> Iterator[Follower]:
    here, there = Pipe()
    said = job.with_name(f"said.{replica}")
    command = [sys.executable, "-m", "subterra.training.replicas", str(job), str(replica), str(there.fileno())]
    with said.open("w", encoding="utf-8") as file, here:
        with there:
            process = subprocess.Popen(
                command,
                env=environment(threads),
                pass_fds=[there.fileno()],
                stdout=file,
                stderr=file,
                preexec_fn=die_with_parent,
            )
        try:
            yield Follower(here, process, said)
        finally:
            process.kill()
            process.wait()


class Averaged(TrainerCallback):
    """Makes replicas one another's average at every evaluation and at the end: weights, and what the optimizer keeps.

    The first replica has `followers`; each of those has the way `first` to it.
    """

    def __init__(self, followers: Sequence[Follower] = (), first: Connection | None = None):
        self.followers, self.first = followers, first

    def on_step_end(self, args, state, control, model, optimizer, **_):
        if state.global_step % args.eval_steps == 0 or state.global_step == state.max_steps:
            trained = [parameter.detach() for parameter in model.parameters() if parameter.requires_grad]
            kept = [tensor for tensor in _tensors(optimizer.state_dict()) if tensor.is_floating_point()]
            tensors = trained + kept
            whole = torch.cat([tensor.flatten().float() for tensor in tensors])
            whole = torch.from_numpy(self.average(whole.numpy()).copy())
            parts = whole.split([tensor.numel() for tensor in tensors])
            for tensor, part in zip(tensors, parts, strict=True):
                tensor.copy_(part.view_as(tensor))

    def average(self, mine: np.ndarray) -> np.ndarray:
        """Return the average of the numbers of all replicas."""
        if self.first:
            self.first.send_bytes(mine)
            return np.frombuffer(self.first.recv_bytes(), np.float32)
        found = sum((follower.receive() for follower in self.followers), mine) / np.float32(1 + len(self.followers))
        for follower in self.followers:
            follower.send(found)
        return found


def _tensors(state) -> Iterator[torch.Tensor]:
    """Yield all tensors in an optimizer's state, in its order."""
    if isinstance(state, torch.Tensor):
        yield state
    elif isinstance(state, Mapping | list | tuple):
        for part in state.values() if isinstance(state, Mapping) else state:
            yield from _tensors(part)


def main(job: str, replica: str, link: str) -> None:
    """Be one of the other replicas."""
    die_with_parent()
    from subterra.training.train import Task, follow

    task = Task(**json.loads(Path(job).read_text(encoding="utf-8")))
    follow(task, int(replica), Connection(int(link)))


if __name__ == "__main__":
    main(*sys.argv[1:])
