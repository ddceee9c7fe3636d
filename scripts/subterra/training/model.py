"""The base as a model to train, and the trained model as a folder."""

import contextlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors import SafetensorError
from transformers import AutoConfig, AutoModelForCausalLM

from subterra.errors import SubterraError
from subterra.text import pretty, write_whole
from subterra.training import attention, tokens
from subterra.training.lora import with_lora
from subterra.training.loss import mean_loss

if not torch.cuda.is_available():
    # accelerate loads DeepSpeed when a model is saved, which else looks for a GPU and tells that there is none.
    os.environ.setdefault("DS_ACCELERATOR", "cpu")

# Of a base without weights. At the usual 0.02 a word drowns in what the layers add, and is learned to be repeated late.
EMBEDDING_STD = 0.2
TOKENIZER = (
    "tokenizer.json",
    "tokenizer_config.json",
    "tokenizer.model",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
)
FETCHED = ["*.safetensors", "*.json", "*.jinja", "*.txt", "tokenizer.model"]


def load_base(base: str):
    """Return (model in float32, tokenizer) of a folder or a Hugging Face id; random weights where it has none."""
    folder = base_files(base)
    return load_model(folder), tokens.load_tokenizer(folder)


def base_files(base: str) -> str:
    """Return the folder of a base: itself, or what the Hugging Face cache or hub has under its id.

    Raises SubterraError where that is no model's, or cannot be had.
    """
    with _refused(base):
        folder = _fetched(base)
        AutoConfig.from_pretrained(folder)
        tokens.load_tokenizer(folder)
        return folder


def load_model(folder: str, dtype: torch.dtype = torch.float32):
    """Return the model of a folder; its weights are random where the folder has none. Raises SubterraError."""
    with _refused(folder):
        attend = {"attn_implementation": attention.register(), "dtype": dtype}
        if has_weights(folder):
            model = AutoModelForCausalLM.from_pretrained(folder, **attend)
        else:
            model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(folder), **attend)
            torch.nn.init.normal_(model.get_input_embeddings().weight, std=EMBEDDING_STD)
    model.loss_function = mean_loss
    return model


def has_weights(folder: str) -> bool:
    """Say whether there is anything learned in a model folder."""
    return any(Path(folder).glob("*.safetensors"))


@contextlib.contextmanager
def _refused(base: str) -> Iterator[None]:
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    try:
        yield
    except (OSError, ValueError, KeyError, SafetensorError) as problem:
        reason = " ".join(str(problem).split())[:200]
        raise SubterraError(f"base: '{base}': no model can be loaded from it ({reason})") from None


def _fetched(base: str) -> str:
    if Path(base).is_dir():
        return base
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        return snapshot_download(base, local_files_only=True)
    except LocalEntryNotFoundError:
        return snapshot_download(base, allow_patterns=FETCHED)


@torch.no_grad()
def interpolate_head(model, state: Mapping[str, torch.Tensor], folder: str, share: float) -> None:
    """Move the output embedding in `state`, in place, by `share` of the way back to that of the base in `folder`.

    What the base could say and training never asked for is forgotten in that table first. Between the two is a model
    that does both (Wortsman et al. 2022, "Robust fine-tuning of zero-shot models").
    """
    head = model.get_output_embeddings().weight
    name = next(name for name, parameter in model.named_parameters() if parameter is head)
    state[name].lerp_(load_model(folder).get_output_embeddings().weight.to(state[name]), share)


def merged(folder: str, settings: Mapping[str, Any], state: Mapping[str, torch.Tensor]):
    """Return the base of a folder in float32 with the trained matrices of `state` added to its own."""
    model = with_lora(load_model(folder), settings)
    trained = {name: tensor for name, tensor in state.items() if "lora_" in name}
    found = model.load_state_dict(trained, strict=False)
    missing = [name for name in found.missing_keys if "lora_" in name]
    if missing or found.unexpected_keys:
        raise RuntimeError(f"adapters do not fit: {missing or found.unexpected_keys}")
    return model.merge_and_unload()


def save_model(model, tokenizer, out: Path, state: Mapping[str, torch.Tensor] | None = None) -> None:
    """Write the model folder whole: beside, then renamed. `state` holds the weights where the model does not.

    The tokenizer's files are those of the base, byte for byte; its template is the one that was trained with.
    """
    beside = out.with_name(f".{out.name}.new")
    shutil.rmtree(beside, ignore_errors=True)
    model.save_pretrained(beside, state_dict=state)
    save_tokenizer(tokenizer, beside)
    shutil.rmtree(out, ignore_errors=True)
    beside.replace(out)


def save_tokenizer(tokenizer, out: Path) -> None:
    """Copy a tokenizer's files from the folder it was loaded from, and write its template beside them."""
    source = Path(tokenizer.name_or_path)
    for name in TOKENIZER:
        if (source / name).is_file():
            shutil.copyfile(source / name, out / name)
    settings = json.loads((out / "tokenizer_config.json").read_text(encoding="utf-8"))
    settings.pop("chat_template", None)
    write_whole(out / "tokenizer_config.json", pretty(settings))
    write_whole(out / "chat_template.jinja", tokenizer.chat_template)
