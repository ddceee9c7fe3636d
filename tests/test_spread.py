"""Several processes learn what one learns: by DeepSpeed's ZeRO-2 and ZeRO-3, by LoRA, on one node and on several.

The processes are real ones that talk by gloo; each such run takes a quarter of a minute, most of it imports.
"""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import torch
import yaml
from safetensors.torch import load_file
from subterra import records
from subterra.config import check_config, shaping_training
from subterra.errors import SpecError, SubterraError
from subterra.training import tokens
from subterra.training.launch import command
from subterra.training.train import train_model
from test_training import SETTINGS, SYSTEM, rows, write_base
from transformers import AutoModelForCausalLM

ROOT = Path(__file__).resolve().parents[1]
TWO_ROWS = SETTINGS | {"optimizer": "adamw", "rows_per_step": 2, "tokens_per_step": 512, "precision": "fp32"}
LORA = {"method": "lora", "learning_rate": 0.02}
ZERO2 = {"processes": 2, "sharding": "zero2"}
ZERO3 = {"processes": 2, "sharding": "zero3", "gradient_checkpointing": True}
TOO_LONG = 300  # seconds


def arguments(folder: Path, base: Path, **settings) -> dict:
    """Write conversations into a folder and return what train_model is called with."""
    folder.mkdir(parents=True, exist_ok=True)
    for split, count in (("train", 60), ("valid", 7)):
        records.write_table(rows(count, split), records.CONVERSATION, folder / f"{split}.parquet")
    files = {"train": "train.parquet", "valid": "valid.parquet", "out": "model"}
    files |= {"out_json": "training.json", "out_loss": "loss.parquet", "out_curve": "loss.svg"}
    told = {name: str(folder / file) for name, file in files.items()}
    told |= {"system": SYSTEM, "base": str(base), "free": {}, "settings": TWO_ROWS | settings, "seed": 1, "threads": 2}
    return told | {"checkpoints": str(folder / "checkpoints")}


def losses(folder: Path) -> list[float]:
    """Return every loss of a run, of training and held out, in order."""
    history = records.read_table(folder / "loss.parquet", records.LOSS)
    return [row[name] for row in history for name in ("train_loss", "valid_loss") if row[name] is not None]


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model" / "model.safetensors")


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return write_base(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="module")
def alone(tmp_path_factory, base):
    """{method: folder of a run by one process}."""
    place = tmp_path_factory.mktemp("alone")
    for method, settings in (("full", {}), ("lora", LORA)):
        train_model(**arguments(place / method, base, **settings))
    return {"full": place / "full", "lora": place / "lora"}


@pytest.fixture(scope="module")
def by_zero3(tmp_path_factory, base):
    """Folder of a run by two processes that hold half of the weights each."""
    folder = tmp_path_factory.mktemp("zero3")
    train_model(**arguments(folder, base, **ZERO3))
    return folder


def assert_same(folder: Path, other: Path) -> None:
    """The losses of two runs are the same on the way, and so are the weights in the end."""
    assert losses(folder) == pytest.approx(losses(other), abs=2e-4)
    ours, theirs = weights(folder), weights(other)
    assert ours.keys() == theirs.keys()
    for name, tensor in ours.items():
        torch.testing.assert_close(tensor.float(), theirs[name].float(), atol=2e-4, rtol=1e-3)


def assert_saved_is_trained(folder: Path) -> None:
    """What lies in the folder has the held-out loss that was measured in training."""
    facts = json.loads((folder / "training.json").read_text())
    tokenizer = tokens.load_tokenizer(str(folder / "model"))
    talks = tokens.encode_all(tokenizer, SYSTEM, rows(7, "valid"), 2048)
    held_out = tokens.PackedRows(lambda *_: talks, TWO_ROWS["tokens_per_step"] // 2, 1, 1)
    model = AutoModelForCausalLM.from_pretrained(folder / "model", dtype=torch.float32)
    assert sum(one.numel() for one in model.parameters()) == facts["parameters"]
    per_row = []
    for index in range(len(held_out)):
        batch = tokens.collate([held_out[index]])
        with torch.no_grad():
            each = [model(input_ids=torch.tensor([one["input_ids"]])).logits[0] for one in held_out[index]]
            spoken = [
                torch.nn.functional.cross_entropy(logits[:-1], torch.tensor(one["labels"][1:]), reduction="none")
                for logits, one in zip(each, held_out[index], strict=True)
            ]
        per_row.append(torch.cat(spoken).sum().item() / batch["shift_labels"].numel())
    assert sum(per_row) / len(per_row) == pytest.approx(facts["valid_loss"], abs=1e-4)


@pytest.mark.parametrize("method", ["full", "lora"])
def test_one_process_saves_what_it_trained(alone, method):
    assert_saved_is_trained(alone[method])


def test_lora_trains_few_parameters_and_leaves_nothing_of_itself_in_the_folder(alone):
    facts = json.loads((alone["lora"] / "training.json").read_text())
    assert 0 < facts["trained_parameters"] < facts["parameters"] / 20 and facts["method"] == "lora"
    full = json.loads((alone["full"] / "training.json").read_text())
    assert full["trained_parameters"] == full["parameters"] == facts["parameters"]
    assert weights(alone["lora"]).keys() == weights(alone["full"]).keys()
    assert not list((alone["lora"] / "model").glob("*adapter*"))
    assert losses(alone["lora"])[-1] < losses(alone["lora"])[0] - 0.1


def test_lora_says_what_is_known_of_it(tmp_path, base, capsys):
    train_model(**arguments(tmp_path, base, **LORA, evaluations=1, epochs=1))
    assert "LoRA of rank 16 to 128 does not reach full fine-tuning" in capsys.readouterr().err


def test_two_processes_by_zero3_learn_what_one_learns_and_the_whole_model_is_saved(alone, by_zero3):
    assert_same(by_zero3, alone["full"])
    assert_saved_is_trained(by_zero3)
    facts = json.loads((by_zero3 / "training.json").read_text())
    assert (facts["processes"], facts["sharding"]) == (2, "zero3")
    assert not list((by_zero3 / "checkpoints").glob("*/checkpoint-*"))


@pytest.mark.parametrize("method", ["full", "lora"])
def test_two_processes_by_zero2_learn_what_one_learns(alone, tmp_path, base, method):
    train_model(**arguments(tmp_path, base, **ZERO2, **(LORA if method == "lora" else {})))
    assert_same(tmp_path, alone[method])
    assert_saved_is_trained(tmp_path)


KILLED = """
import json, sys
from subterra.training.train import train_model
train_model(**json.load(open(sys.argv[1])))
"""


def test_a_kill_in_mid_training_ends_every_process_and_the_same_command_goes_on(tmp_path, by_zero3, base):
    told = arguments(tmp_path, base, **ZERO3)
    (tmp_path / "told.json").write_text(json.dumps(told))
    script = [sys.executable, "-c", KILLED, str(tmp_path / "told.json")]
    environment = os.environ | {"PYTHONPATH": str(ROOT / "scripts")}
    first = subprocess.Popen(script, env=environment, stderr=subprocess.DEVNULL)
    give_up = time.monotonic() + TOO_LONG
    while not list(tmp_path.glob("checkpoints/*/checkpoint-*/trainer_state.json")):
        assert first.poll() is None and time.monotonic() < give_up
        time.sleep(0.02)
    started = psutil.Process(first.pid).children(recursive=True)
    assert len(started) >= 3  # torchrun, and two that train
    first.send_signal(signal.SIGKILL)
    first.wait()
    _, alive = psutil.wait_procs(started, timeout=30)
    assert not alive and not (tmp_path / "model").exists()
    assert len(list(tmp_path.glob("checkpoints/*/checkpoint-*"))) <= 2  # the best, the last
    again = subprocess.run(script, env=environment, capture_output=True, text=True, timeout=TOO_LONG)
    assert again.returncode == 0, again.stderr
    assert "training goes on from step" in again.stderr
    assert losses(tmp_path) == losses(by_zero3)
    resumed, whole = weights(tmp_path), weights(by_zero3)
    assert all(torch.equal(tensor, whole[name]) for name, tensor in resumed.items())


def test_a_mistake_that_a_process_meets_is_one_line(tmp_path, base):
    told = arguments(tmp_path, base, sharding="zero2")
    records.write_table([], records.CONVERSATION, tmp_path / "valid.parquet")
    with pytest.raises(SubterraError, match="no conversations to learn from") as caught:
        train_model(**told)
    assert str(caught.value).isprintable()


# -- several nodes ---------------------------------------------------------------------------------------------------


def on_path(folder: Path, monkeypatch, **programs: str) -> None:
    """Put programs where they are found before any others."""
    folder.mkdir()
    for name, text in programs.items():
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")


TWO_NODES = "#!/bin/sh\necho 2\n"


def test_more_nodes_than_the_job_holds_are_refused(tmp_path, monkeypatch):
    on_path(tmp_path / "bin", monkeypatch, squeue=TWO_NODES)
    for known in ({}, {"SLURM_JOB_ID": "7"}):
        with pytest.raises(SubterraError, match=r"training\.nodes: 3 machines are asked for and this job holds"):
            command(tmp_path / "task.json", 3, 8, known)


SRUN = """\
#!%s
# Stands in for SLURM: starts the command once for each node that is asked for, here.
import subprocess, sys
nodes = next(int(word.split("=")[1]) for word in sys.argv if word.startswith("--nodes="))
words = [word for word in sys.argv[1:]]
begin = next(place for place, word in enumerate(words) if not word.startswith("--"))
started = [subprocess.Popen(words[begin:]) for _ in range(nodes)]
sys.exit(max(one.wait() for one in started))
"""


def test_two_nodes_of_one_process_learn_what_one_process_learns(tmp_path, monkeypatch, alone, base):
    on_path(tmp_path / "bin", monkeypatch, srun=SRUN % sys.executable, squeue=TWO_NODES)
    monkeypatch.setenv("SLURM_JOB_ID", str(os.getpid()))
    monkeypatch.setattr("socket.gethostname", lambda: "127.0.0.1")
    train_model(**arguments(tmp_path, base, nodes=2))
    assert_same(tmp_path, alone["full"])


# -- the config ------------------------------------------------------------------------------------------------------

CONFIG = yaml.safe_load((ROOT / "config" / "config.yaml").read_text())


def configured(**training) -> dict:
    return CONFIG | {"training": CONFIG["training"] | training}


@pytest.mark.parametrize(
    ("training", "says"),
    [
        ({"processes": 2, "replicas": 1}, "training.rows_per_step: 1: no multiple of 2, which is nodes x processes"),
        ({"nodes": 2, "processes": 4, "rows_per_step": 12, "replicas": 1}, "rows_per_step: 12: no multiple of 8"),
        (
            {"sharding": "zero3", "replicas": 1},
            "training.optimizer: muon needs whole matrices, and sharding: zero3 cuts them up",
        ),
        ({"processes": 2, "rows_per_step": 2}, "training.replicas: 2: several are trained by a process each"),
        ({"sharding": "zero2", "optimizer": "adamw"}, "training.replicas: 2: several are trained by a process each"),
    ],
)
def test_settings_that_do_not_go_together_are_told_in_a_line(training, says):
    with pytest.raises(SpecError) as caught:
        check_config(configured(**training))
    assert says in str(caught.value) and str(caught.value).isprintable()


def test_how_a_model_is_trained_makes_nothing_stale_and_what_shapes_it_does():
    same = {"replicas": 1, "nodes": 2, "processes": 4, "rows_per_step": 8, "sharding": "zero3", "optimizer": "adamw"}
    spread = configured(**same, gradient_checkpointing=True)["training"]
    alone = configured(replicas=1, rows_per_step=8, optimizer="adamw")["training"]
    assert shaping_training(spread) == shaping_training(alone)
    for key, other in (
        ("method", "lora"),
        ("rows_per_step", 16),
        ("replicas", 3),
        ("precision", "fp32"),
        ("learning_rate", 0.5),
    ):
        assert shaping_training(alone | {key: other}) != shaping_training(alone)
