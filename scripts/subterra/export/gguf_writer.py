"""A Hugging Face folder as one f16 GGUF file, with everything a runtime needs inside.

llama.cpp's own converter (converter.py) knows every family, but has to be fetched and loads torch; this one knows
Llama, Qwen2 and Qwen3, reads with numpy alone and starts at once. Format: ggml's docs/gguf.md.
"""

import contextlib
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

import gguf
import numpy as np

from subterra.errors import SubterraError, nearest
from subterra.export.vocabulary import Vocabulary, read_json, read_vocabulary
from subterra.export.weights import Stored, Unsupported, as_half, interleaved, rope_base, rope_factors, stored_tensors
from subterra.text import canonical

ARCHITECTURES = {
    "llama": gguf.MODEL_ARCH.LLAMA,
    "qwen2": gguf.MODEL_ARCH.QWEN2,
    "qwen3": gguf.MODEL_ARCH.QWEN3,
}


def export_f16(
    model_dir: str | Path,
    out_path: str | Path,
    *,
    agent: str,
    spec_digest: str,
    version: str,
    system: str,
    opens: str = "agent",
    tools: Mapping[str, Sequence[Mapping]] = MappingProxyType({}),
) -> Path:
    """Write the folder's model as an f16 GGUF (matrices float16, vectors float32), whole or not at all.

    The keys `subterra.agent`, `.spec_digest`, `.version`, `.system` (the agent's prompt) and `.opens` (who speaks
    first, agent or user) say what it is.
    Raises Unsupported for an architecture, tokenizer or scaling that only llama.cpp's converter may know, SubterraError
    for a folder that is no model's.
    """
    config = read_json(Path(model_dir) / "config.json")
    arch = _architecture(config, model_dir)
    tensors = _named(stored_tensors(model_dir), config, arch, model_dir)
    vocabulary = read_vocabulary(model_dir, tensors["token_embd.weight"].shape[0])
    with written_beside(out_path) as beside:
        writer = gguf.GGUFWriter(beside, gguf.MODEL_ARCH_NAMES[arch])
        _add_shape(writer, config)
        _add_vocabulary(writer, vocabulary)
        _add_facts(writer, agent_facts(agent, spec_digest, version, system, opens, tools))
        _write_tensors(writer, tensors, config, arch)
        writer.close()
    return Path(out_path)


def agent_facts(
    agent: str, spec_digest: str, version: str, system: str, opens: str, tools: Mapping[str, Sequence[Mapping]]
) -> dict[str, str]:
    """Return what stands under `subterra.` in the file: see export_f16."""
    facts = {"agent": agent, "spec_digest": spec_digest, "version": version, "system": system, "opens": opens}
    return facts | {"tools": canonical(dict(tools))}


@contextlib.contextmanager
def written_beside(path: str | Path) -> Iterator[Path]:
    """Give a name beside `path` to write under; it takes the place of `path` once the block is through."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    os.close(handle)
    beside = Path(name)
    try:
        yield beside
        with beside.open("rb+") as file:
            os.fsync(file.fileno())
        beside.chmod(0o644)
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


def _architecture(config: dict, model_dir: str | Path) -> gguf.MODEL_ARCH:
    kind = str(config.get("model_type"))
    if kind not in ARCHITECTURES:
        raise Unsupported(
            f"{model_dir}/config.json: model_type {kind!r} cannot be exported{nearest(kind, ARCHITECTURES)}; "
            f"supported are {', '.join(ARCHITECTURES)}"
        )
    if config.get("use_sliding_window"):
        raise Unsupported(f"{model_dir}/config.json: use_sliding_window cannot be exported; set it to false")
    return ARCHITECTURES[kind]


def _named(stored: dict[str, Stored], config: dict, arch: gguf.MODEL_ARCH, model_dir: str | Path) -> dict[str, Stored]:
    """Return the tensors under llama.cpp's names, in its order; a tied output is left out."""
    names = gguf.get_tensor_name_map(arch, config["num_hidden_layers"])
    tensors = {}
    for name in sorted(stored):
        if name.endswith("rotary_emb.inv_freq") or (config.get("tie_word_embeddings") and name == "lm_head.weight"):
            continue
        new = names.get_name(name, try_suffixes=(".weight", ".bias"))
        if new is None:
            raise SubterraError(f"{model_dir}: tensor {name!r} is not part of a {config['model_type']} model")
        tensors[new] = stored[name]
    if "token_embd.weight" not in tensors:
        raise SubterraError(f"{model_dir}: no input embedding among the weights; an adapter must be merged first")
    return tensors


def _add_shape(writer: gguf.GGUFWriter, config: dict) -> None:
    heads = config["num_attention_heads"]
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_head_count(heads)
    writer.add_head_count_kv(config.get("num_key_value_heads") or heads)
    writer.add_key_length(_head_dim(config))
    writer.add_value_length(_head_dim(config))
    writer.add_rope_dimension_count(_head_dim(config))
    writer.add_rope_freq_base(rope_base(config))
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_F16)


def _head_dim(config: dict) -> int:
    return config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"]


def _add_vocabulary(writer: gguf.GGUFWriter, vocabulary: Vocabulary) -> None:
    writer.add_vocab_size(len(vocabulary.tokens))
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(vocabulary.pre)
    writer.add_token_list(vocabulary.tokens)
    writer.add_token_types(vocabulary.types)
    writer.add_token_merges(vocabulary.merges)
    for kind, number in vocabulary.ids.items():
        getattr(writer, f"add_{kind}_token_id")(number)
    # The chat template writes whatever opens a conversation; a second bos would be read as text.
    writer.add_add_bos_token(False)
    writer.add_chat_template(vocabulary.chat_template)


def _add_facts(writer: gguf.GGUFWriter, facts: dict[str, str]) -> None:
    writer.add_name(facts["agent"])
    writer.add_version(facts["version"])
    for key, value in facts.items():
        writer.add_string(f"subterra.{key}", value)


def _write_tensors(writer: gguf.GGUFWriter, tensors: dict[str, Stored], config: dict, arch: gguf.MODEL_ARCH) -> None:
    """Announce every tensor, then write them one after the other, so that only one is in memory."""
    factors = rope_factors(config, _head_dim(config))
    if factors is not None:
        writer.add_tensor_info("rope_freqs.weight", factors.shape, factors.dtype, factors.nbytes)
    for name, tensor in tensors.items():
        dtype = np.dtype(np.float32 if len(tensor.shape) < 2 else np.float16)
        size = int(np.prod(tensor.shape)) * dtype.itemsize
        writer.add_tensor_info(name, tensor.shape, dtype, size)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    if factors is not None:
        writer.write_tensor_data(factors)
    for name, tensor in tensors.items():
        writer.write_tensor_data(as_half(name, _laid_out(name, tensor.load(), config, arch)))


def _laid_out(name: str, tensor: np.ndarray, config: dict, arch: gguf.MODEL_ARCH) -> np.ndarray:
    heads = config["num_attention_heads"]
    if arch is gguf.MODEL_ARCH.LLAMA and ".attn_q." in name:
        return interleaved(tensor, heads)
    if arch is gguf.MODEL_ARCH.LLAMA and ".attn_k." in name:
        return interleaved(tensor, config.get("num_key_value_heads") or heads)
    return tensor
