"""Smaller files of one model, through llama.cpp's own quantization."""

from pathlib import Path

from subterra.errors import SubterraError, nearest
from subterra.export.gguf_writer import written_beside

# From the best to the smallest; llama.cpp's names in lower case.
QUANTS = (
    "q8_0", "q6_k", "q5_k_m", "q5_k_s", "q5_1", "q5_0", "q4_k_m", "q4_k_s", "q4_1", "q4_0",
    "iq4_nl", "iq4_xs", "q3_k_l", "q3_k_m", "q3_k_s", "q2_k",
)  # fmt: skip


def preferred(quants: list[str]) -> str:
    """Return the one to talk to: the best quantization, or f16 where there is no other.

    >>> preferred(["f16", "q4_k_m", "q8_0"])
    'q8_0'
    """
    known = [quant for quant in QUANTS if quant in quants]
    return known[0] if known else "f16"


def quantize(f16_path: str | Path, out_path: str | Path, quant: str, *, threads: int = 1) -> dict:
    """Write a quantization of an f16 GGUF, whole or not at all, and return what it came to.

    Returns {"quant", "bytes", "fallbacks": [{"tensor", "row", "type"}]}: matrices whose rows the type cannot
    divide into blocks (256 weights for K types, 32 for others) get another one, and the file grows.
    Raises SubterraError for an unknown name, a missing file, or where llama.cpp refuses.
    """
    _check_name(quant)
    if not Path(f16_path).is_file():
        raise SubterraError(f"{f16_path}: not found; export the model to f16 first")
    with written_beside(out_path) as beside:
        _run(Path(f16_path), beside, quant, threads)
    size = Path(out_path).stat().st_size
    return {"quant": quant, "bytes": size, "fallbacks": fallbacks(out_path, quant)}


def fallbacks(gguf_path: str | Path, quant: str) -> list[dict]:
    """Return the matrices of a quantized file that could not get a type of this quantization."""
    from gguf import GGUFReader

    block = 256 if "_k" in quant or quant == "iq4_xs" else 32
    return [
        {"tensor": tensor.name, "row": int(tensor.shape[0]), "type": tensor.tensor_type.name.lower()}
        for tensor in GGUFReader(gguf_path).tensors
        if len(tensor.shape) == 2 and tensor.shape[0] % block
    ]


def _check_name(quant: str) -> None:
    if quant not in QUANTS:
        near = nearest(quant.lower(), QUANTS)
        raise SubterraError(f"quantization {quant!r} is unknown{near}; known are {', '.join(QUANTS)}")


def _run(source: Path, target: Path, quant: str, threads: int) -> None:
    import ctypes

    import llama_cpp

    from subterra.models.llama_log import captured_log

    settings = llama_cpp.llama_model_quantize_default_params()
    settings.ftype = getattr(llama_cpp, f"LLAMA_FTYPE_MOSTLY_{quant.upper()}")
    settings.nthread = threads
    with captured_log() as log:
        failed = llama_cpp.llama_model_quantize(str(source).encode(), str(target).encode(), ctypes.byref(settings))
    if failed:
        raise SubterraError(f"{source}: llama.cpp cannot quantize it to {quant} ({log[-1] if log else failed})")
