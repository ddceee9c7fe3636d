"""Weights of a Hugging Face folder, read with numpy alone, under llama.cpp's names and in its layout.

safetensors is a length, a JSON header and the bytes. Reading them here gives bfloat16 without torch (numpy
has no such type, but a bfloat16 is the upper half of a float32) and holds one tensor in memory at a time.
Layouts follow llama.cpp's convert_hf_to_gguf.py.
"""

import json
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from subterra.errors import SubterraError

DTYPES = {"F32": np.float32, "F16": np.float16, "BF16": np.uint16, "F64": np.float64}


class Unsupported(SubterraError):
    """What the writer of this package does not know; llama.cpp's own converter may."""


@dataclass(frozen=True)
class Stored:
    """Where one tensor lies: file, first byte, safetensors dtype name, shape."""

    file: Path
    start: int
    dtype: str
    shape: tuple[int, ...]

    def load(self) -> np.ndarray:
        """Return the tensor as float32 or float16, of `shape`."""
        raw = np.fromfile(self.file, DTYPES[self.dtype], math.prod(self.shape), offset=self.start)
        if self.dtype == "BF16":
            raw = (raw.astype(np.uint32) << 16).view(np.float32)
        elif self.dtype == "F64":
            raw = raw.astype(np.float32)
        return raw.reshape(self.shape)


def stored_tensors(model_dir: str | Path) -> dict[str, Stored]:
    """Return every tensor of the folder's safetensors files by its name. Raises SubterraError."""
    files = sorted(Path(model_dir).glob("*.safetensors"))
    if not files:
        raise SubterraError(
            f"{model_dir}: no *.safetensors file; train the model first, or save it with safe serialization"
        )
    return {name: tensor for file in files for name, tensor in _header(file).items()}


def _header(file: Path) -> dict[str, Stored]:
    with file.open("rb") as handle:
        size = int.from_bytes(handle.read(8), "little")
        if size > file.stat().st_size:
            raise SubterraError(f"{file}: cut short or no safetensors file; write it again")
        header = json.loads(handle.read(size))
    header.pop("__metadata__", None)
    for name, entry in header.items():
        if entry["dtype"] not in DTYPES:
            raise Unsupported(f"{file}: {name}: {entry['dtype']} weights; supported are {', '.join(DTYPES)}")
    return {
        name: Stored(file, 8 + size + entry["data_offsets"][0], entry["dtype"], tuple(entry["shape"]))
        for name, entry in header.items()
    }


def interleaved(rows: np.ndarray, heads: int) -> np.ndarray:
    """Return Llama's q or k rows in the order of llama.cpp's interleaved rotary embedding.

    Hugging Face keeps the two halves of each head apart, llama.cpp wants their rows in pairs.

    >>> interleaved(np.arange(8), heads=2).tolist()
    [0, 2, 1, 3, 4, 6, 5, 7]
    """
    halves = rows.reshape(heads, 2, rows.shape[0] // heads // 2, *rows.shape[1:])
    return halves.swapaxes(1, 2).reshape(rows.shape)


def as_half(name: str, tensor: np.ndarray) -> np.ndarray:
    """Return matrices as float16 and vectors as float32 (llama.cpp's habit). Overflow raises."""
    if tensor.ndim < 2:
        return tensor.astype(np.float32)
    with np.errstate(over="ignore"):
        half = tensor.astype(np.float16)
    if not np.isfinite(half).all():
        raise SubterraError(f"{name}: weights that are not finite in float16; the training diverged, lower its rate")
    return half


def rope_factors(config: dict, head_dim: int) -> np.ndarray | None:
    """Return llama.cpp's `rope_freqs.weight` (head_dim / 2) for `llama3` scaling, None without scaling.

    Raises Unsupported for any other scaling.
    """
    rope = config.get("rope_parameters") or config.get("rope_scaling") or {}
    kind = rope.get("rope_type", rope.get("type", "default"))
    if kind == "default":
        return None
    if kind != "llama3":
        raise Unsupported(f"config.json: rope_type {kind!r} cannot be exported; supported are default and llama3")
    base, old = rope_base(config), rope["original_max_position_embeddings"]
    low, high = rope["low_freq_factor"], rope["high_freq_factor"]
    turns = old * base ** (-np.arange(0, head_dim, 2, dtype=np.float64) / head_dim) / (2 * math.pi)
    smooth = np.clip((turns - low) / (high - low), 0, 1)
    return (1 / ((1 - smooth) / rope["factor"] + smooth)).astype(np.float32)


def rope_base(config: dict) -> float:
    """Return the rotary base, which transformers 5 keeps inside `rope_parameters`."""
    return float((config.get("rope_parameters") or {}).get("rope_theta") or config.get("rope_theta") or 10000.0)
