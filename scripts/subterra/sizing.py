"""What training takes: memory a GPU by ZeRO stage, steps and hours, by the shape of the base and what is to be learned.

States are counted as by Rajbhandari et al. 2020 (arXiv 1910.02054), activations as what torch keeps of each layer for
the way back. The sum bounds a step from above: gradients come while activations go.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from subterra.config import training_for
from subterra.errors import SubterraError

GIB = 2**30
USABLE = 0.9  # of a GPU's memory; the rest is the driver's, the allocator's gaps, and what a layer's gradients take
OF_THE_PEAK = 0.4  # of a GPU's arithmetic that training reaches: found on one H200 by benchmarks/spread_training.py
BUCKET = 200_000_000  # numbers of reduce_bucket_size in config/deepspeed/zero2.json; there are two buckets
LIVE = 1_000_000_000  # parameters that ZeRO-3 holds whole, or steps, at once: DeepSpeed's stage3_max_live_parameters
MEASURED = ("llama", "qwen2", "qwen3", "mistral", "smollm3", "granite")  # whose activations were held against torch's
SEVERAL = ("num_experts", "num_local_experts", "n_routed_experts")  # what configs of mixtures of experts hold


@dataclass(frozen=True)
class Shape:
    """A decoder as far as its memory goes. `maps` are inputs and outputs, added up, of all linear maps but the last."""

    kind: str  # the config's model_type
    hidden: int
    feed: int
    layers: int
    heads: int
    kv_heads: int
    head_size: int
    vocabulary: int
    head_norms: bool  # of each head's query and key, as Qwen3 has them
    parameters: int
    matrices: int  # parameters of matrices between hidden states, which Muon steps
    maps: int


@dataclass(frozen=True)
class Work:
    """What an agent has to learn: edges and facts, tokens of each conversation, the share of them that the agent says,
    and whether the conversations are there."""

    agent: str
    lessons: int
    lengths: tuple[int, ...]
    agent_share: float
    built: bool


@dataclass(frozen=True)
class Gpu:
    """Memory in GiB, peak in dense bf16 in TFLOP/s, and what an hour costs in dollars, where that is known."""

    name: str
    memory: float
    bf16: float
    dollars_an_hour: float | None = None


@dataclass(frozen=True)
class Memory:
    """Bytes on each GPU. `working` is what activations take, or a step of the optimizer where that is more."""

    weights: float
    gradients: float
    optimizer: float
    working: float

    @property
    def total(self) -> float:
        return self.weights + self.gradients + self.optimizer + self.working

    def fits(self, gpu: Gpu) -> bool:
        """Say whether a GPU holds it."""
        return self.total <= USABLE * gpu.memory * GIB


# -- the base ------------------------------------------------------------------------------------------------------


def shape_of(config) -> Shape:
    """Return the shape of a transformers config; parameters are counted on a model without storage.

    Raises SubterraError for what is no dense decoder.
    """
    import torch
    from transformers import AutoModelForCausalLM

    from subterra.training.optimizer import matrices_and_rest

    config = config.get_text_config()
    needed = ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "vocab_size")
    missing = [key for key in needed if not isinstance(getattr(config, key, None), int)]
    if missing or any(getattr(config, key, None) for key in SEVERAL):
        reason = f"its config has no {missing[0]}" if missing else "it is a mixture of experts"
        raise SubterraError(f"base: {config.model_type}: {reason}: the plan knows dense decoders, like Llama and Qwen3")
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    linear = [one for one in model.modules() if isinstance(one, torch.nn.Linear)]
    heads = config.num_attention_heads
    return Shape(
        config.model_type,
        config.hidden_size,
        config.intermediate_size,
        config.num_hidden_layers,
        heads,
        getattr(config, "num_key_value_heads", None) or heads,
        getattr(config, "head_dim", None) or config.hidden_size // heads,
        config.vocab_size,
        any(name.endswith("q_norm.weight") for name, _ in model.named_parameters()),
        sum(parameter.numel() for parameter in model.parameters()),
        sum(parameter.numel() for parameter in matrices_and_rest(model)[0]),
        sum(one.in_features + one.out_features for one in linear if one is not model.get_output_embeddings()),
    )


# -- memory ----------------------------------------------------------------------------------------------------------


def activations(shape: Shape, tokens: int, places: float, checkpointing: bool, autocast: bool) -> float:
    """Return the bytes that are kept of a row of `tokens` tokens for the way back, with logits at `places` of them.

    Of each layer and token: both norms' input in float32, what they made of it, and its root; a copy in bf16 for the
    matrices that read it, under autocast one for each; query, key, value, what fused attention made of them, twice, and
    a float32 for each head; four tensors of the feed-forward part. With gradient checkpointing a layer keeps its input
    alone, and one at a time is computed again. Logits are there three times in float32: the logarithms of the softmax
    and two gradients. LoRA needs no more than this; families that are not in MEASURED may, and so does attention with a
    sliding window or a soft cap, whose scores are written out.
    """
    wide, copies = (4, 5) if autocast else (2, 2)  # bytes of what goes from layer to layer; bf16 copies of two norms
    query, key = shape.heads * shape.head_size, shape.kv_heads * shape.head_size
    norm = (4 + wide) * shape.hidden + 4
    attention = 6 * query + 4 * key + 4 * shape.heads
    if shape.head_norms:
        attention += 6 * (query + key) + 4 * (shape.heads + shape.kv_heads)
    layer = tokens * (2 * norm + 2 * copies * shape.hidden + attention + 8 * shape.feed)
    outside = tokens * (8 + 2 * wide * shape.head_size + norm)  # ids, rotations, the last norm
    logits = 12 * places * shape.vocabulary
    if checkpointing:
        return tokens * shape.layers * wide * shape.hidden + outside + max(layer, logits)
    return shape.layers * layer + outside + logits


def memory(
    shape: Shape,
    settings: Mapping[str, Any],
    gpus: int,
    sharding: str,
    tokens: int,
    places: float,
    checkpointing: bool,
) -> Memory:
    """Return what is on each of `gpus` GPUs, a row of `tokens` tokens at a time; `settings` is the config's `training`.

    Without sharding: float32 weights and their bf16 copy (of LoRA's frozen ones the latter alone), float32 gradients
    (twice where several processes exchange them: torch keeps them in buckets, too) and the optimizer's moments. With
    DeepSpeed: bf16 weights and gradients, what it gathers of both, and float32 weights among the optimizer's states.
    """
    lora = settings["method"] == "lora"
    trained = settings["lora"]["rank"] * shape.maps if lora else shape.parameters
    every = shape.parameters + (trained if lora else 0)
    states = moments(shape, settings, sharding, trained)
    kept = activations(shape, tokens, places, checkpointing, sharding == "none")
    working = max(kept, stepping(settings, sharding, trained, gpus))
    if sharding == "none":
        weights = 2 * shape.parameters + 6 * trained if lora else 6 * every
        return Memory(weights, (8 if gpus > 1 else 4) * trained, states, working)
    states = (4 * trained + states) / gpus
    if sharding == "zero2":
        return Memory(2 * every, 2 * trained / gpus + 2 * 2 * BUCKET, states, working)
    gathered = 2 * min(every, LIVE) * (1 - 1 / gpus)
    return Memory(2 * every / gpus + gathered, 2 * trained / gpus, states, working)


def moments(shape: Shape, settings: Mapping[str, Any], sharding: str, trained: int) -> int:
    """Return the bytes of the optimizer's moments of `trained` parameters, all GPUs together."""
    name = optimizer_of(settings, sharding)
    if name == "muon":  # one of a matrix, AdamW's two of the rest
        return 4 * trained if settings["method"] == "lora" else 8 * trained - 4 * shape.matrices
    return {"adamw": 8, "adamw_8bit": 2}[name] * trained


def stepping(settings: Mapping[str, Any], sharding: str, trained: int, gpus: int) -> float:
    """Return the bytes that a step of the optimizer takes on each GPU while there are no activations.

    torch's AdamW takes 4 bytes a parameter on GPUs, DeepSpeed's gradients in float32 as much. ZeRO-3 steps LIVE
    parameters at a time.
    """
    each = 4 * (optimizer_of(settings, sharding) == "adamw") + 4 * (sharding != "none")
    own = trained if sharding == "none" else trained / gpus
    return each * (min(own, LIVE) if sharding == "zero3" else own)


def optimizer_of(settings: Mapping[str, Any], sharding: str) -> str:
    """Return the optimizer that goes with a sharding: Muon needs whole matrices."""
    return "adamw" if sharding != "none" and settings["optimizer"] == "muon" else settings["optimizer"]


# -- work, steps, hours ----------------------------------------------------------------------------------------------


def rows_for(settings: Mapping[str, Any], gpus: int) -> int:
    """Return the rows of a step on so many GPUs: those of the config, or the next multiple.

    >>> rows_for({"rows_per_step": 6}, 4), rows_for({"rows_per_step": 1}, 8)
    (8, 8)
    """
    return -(-settings["rows_per_step"] // gpus) * gpus


def steps_of(work: Work, settings: Mapping[str, Any], rows: int, rehearsal: float) -> tuple[int, float]:
    """Return (steps, tokens that they read) of a training with `rows` rows a step, packed as training packs them.

    What is rehearsed, as a share of the tokens, comes in short pieces that fill the gaps first.
    """
    from subterra.training.tokens import pack

    size, tokens = max(1, settings["tokens_per_step"] // rows), sum(work.lengths)
    packed = pack(work.lengths, size, range(len(work.lengths)))
    gaps = sum(max(0, size - sum(work.lengths[number] for number in row)) for row in packed)
    epoch = len(packed) + max(0, math.ceil((rehearsal * tokens - gaps) / size))
    least = training_for(settings, work.lessons)["least_steps"]
    steps = max(math.ceil(settings["epochs"] * epoch / rows), least)
    return steps, steps * rows / epoch * tokens * (1 + rehearsal)


def hours_of(parameters: int, tokens: float, gpus: int, gpu: Gpu, lora: bool, checkpointing: bool) -> float:
    """Return the hours in which `gpus` GPUs learn from so many tokens.

    That is 6 operations a parameter and token, 2 fewer where the weights need no gradient, 2 more where layers are
    computed again. Measuring, saving and attention itself are not counted.

    >>> round(hours_of(3 * 10**9, 10**8, 8, Gpu("A100", 80, 312), False, True), 2)
    0.67
    """
    each = (4 if lora else 6) + 2 * checkpointing
    return each * parameters * tokens / (gpus * gpu.bf16 * 1e12 * OF_THE_PEAK) / 3600


def read_gpus(file: str | Path) -> list[Gpu]:
    """Return the GPUs of config/gpus.yaml. Raises SubterraError for a file that is none such."""
    try:
        told = yaml.safe_load(Path(file).read_text(encoding="utf-8"))["gpus"]
        found = [Gpu(str(name), **entry) for name, entry in told.items()]
    except (OSError, yaml.YAMLError, KeyError, TypeError, AttributeError) as problem:
        reason = " ".join(str(problem).split())
        raise SubterraError(
            f"{file}: `gpus` gives each its memory, bf16, and dollars_an_hour at will ({reason})"
        ) from None
    for gpu in found:
        for key in ("memory", "bf16", "dollars_an_hour"):
            value = getattr(gpu, key)
            if value is None and key == "dollars_an_hour":
                continue
            if type(value) not in (int, float) or not 0 < value < math.inf:
                raise SubterraError(f"{file}: {gpu.name}: {key}: {value!r} is no number above zero")
    return found
