"""Replicas: each reads other rows, they become their average, and none goes on without the others."""

import json
import signal
import subprocess
import sys
import time
from multiprocessing import Pipe
from pathlib import Path
from threading import Thread

import numpy as np
import psutil
import pytest
import torch
from subterra.errors import SubterraError
from subterra.training import train as training
from subterra.training.launch import environment
from subterra.training.replicas import Averaged, Follower
from test_spread import KILLED, TOO_LONG, arguments, assert_saved_is_trained, losses, weights
from test_training import write_base

TWO = {"replicas": 2, "rehearsal": 0, "rows_per_step": 1, "tokens_per_step": 256, "optimizer": "muon"}


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """A base that passes for one of our own."""
    folder = write_base(tmp_path_factory.mktemp("base"))
    (folder / "pretraining.json").write_text("{}")
    torch.manual_seed(0)
    training.load_model(str(folder)).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def whole(tmp_path_factory, base):
    """Folder of a run that nothing cut off."""
    folder = tmp_path_factory.mktemp("whole")
    training.train_model(**arguments(folder, base, **TWO))
    return folder


def facts(folder: Path) -> dict:
    return json.loads((folder / "training.json").read_text())


def test_what_is_saved_is_what_was_measured_and_all_steps_are_shared(whole, tmp_path, base):
    assert_saved_is_trained(whole)
    assert losses(whole)[-1] < losses(whole)[0] - 1
    training.train_model(**arguments(tmp_path, base, **TWO | {"replicas": 1}, epochs=1, least_steps=5))
    training.train_model(**arguments(tmp_path / "two", base, **TWO, epochs=1, least_steps=5))
    one, two = facts(tmp_path), facts(tmp_path / "two")
    assert (one["replicas"], two["replicas"]) == (1, 2)
    assert two["steps"] == -(-one["steps"] // 2) and two["epochs"] >= one["epochs"] >= 1


def test_a_base_that_was_not_pretrained_here_is_trained_alone(tmp_path):
    base = write_base(tmp_path / "base")
    training.train_model(**arguments(tmp_path, base, **TWO, epochs=1, evaluations=1))
    assert facts(tmp_path)["replicas"] == 1


def test_in_the_end_the_model_is_the_average_of_what_each_has_learned_from_rows_of_its_own(tmp_path, base):
    told = arguments(tmp_path, base, **TWO, evaluations=1)
    training.train_model(**told)
    files = [told.pop(name) for name in ("train", "valid", "out", "out_json", "out_loss", "out_curve")]
    task = training.Task(*files, weights=told["base"], **told)
    alone = []
    for replica in (0, 1):
        ready = training.ready(task, replica)
        rows = [ready.trainer.train_dataset[step] for step in range(len(ready.trainer.train_dataset))]
        assert rows == [ready.rows[number] for number in range(replica, len(ready.rows), 2)]
        ready.trainer.train()
        alone.append(ready.trainer.model.state_dict())
    for name, tensor in weights(tmp_path).items():
        one, other = (found[name] for found in alone)
        torch.testing.assert_close(tensor.float(), (one + other) / 2)
        assert (one - other).norm() > 0.001 * one.norm()


def test_each_gets_the_average_of_all():
    ways = [Pipe() for _ in range(2)]
    first = Averaged([Follower(here, None, None) for here, _ in ways])
    everyone = [first, *(Averaged(first=there) for _, there in ways)]
    found = {}

    def go(number: int) -> None:
        found[number] = everyone[number].average(np.full(3, 2.0**number, np.float32))

    threads = [Thread(target=go, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(np.array_equal(found[number], np.full(3, 7 / 3, np.float32)) for number in range(3))


def test_a_kill_ends_every_replica_and_the_same_command_goes_on_to_the_same_model(tmp_path, whole, base):
    told = arguments(tmp_path, base, **TWO)
    script, first = begun(tmp_path, told)
    started = psutil.Process(first.pid).children(recursive=True)
    assert len(started) == 1
    first.send_signal(signal.SIGKILL)
    first.wait()
    _, alive = psutil.wait_procs(started, timeout=30)
    assert not alive and not (tmp_path / "model").exists()
    again = subprocess.run(script, env=environment(1), capture_output=True, text=True, timeout=TOO_LONG)
    assert again.returncode == 0, again.stderr
    assert "training goes on from step" in again.stderr
    assert losses(tmp_path) == losses(whole)
    assert all(torch.equal(tensor, weights(whole)[name]) for name, tensor in weights(tmp_path).items())


def test_a_replica_that_dies_ends_the_training_in_one_line(tmp_path, base):
    _, first = begun(tmp_path, arguments(tmp_path, base, **TWO, epochs=200))
    psutil.Process(first.pid).children()[0].send_signal(signal.SIGKILL)
    _, said = first.communicate(timeout=TOO_LONG)
    assert first.returncode == 1 and not (tmp_path / "model").exists()
    assert SubterraError.__name__ in said and "a replica ended with status -9" in said
    assert "goes on from the last checkpoint" in said
    assert not [place for place in (tmp_path / "checkpoints").iterdir() if place.name.startswith(".")]


def begun(folder: Path, told: dict) -> tuple[list[str], subprocess.Popen]:
    """Return (command, process) of a training that has written a checkpoint."""
    (folder / "told.json").write_text(json.dumps(told))
    script = [sys.executable, "-c", KILLED, str(folder / "told.json")]
    process = subprocess.Popen(script, env=environment(1), stderr=subprocess.PIPE, text=True)
    give_up = time.monotonic() + TOO_LONG
    while not list(folder.glob("checkpoints/*/checkpoint-*/trainer_state.json")):
        assert process.poll() is None and time.monotonic() < give_up
        time.sleep(0.02)
    return script, process
