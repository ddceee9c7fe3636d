"""A tiny random model in a Hugging Face folder, made without torch, for the tests of export and chat."""

import json
import random
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file
from subterra.export.vocabulary import LLAMA3, QWEN2
from tokenizers import Regex, Tokenizer, models, pre_tokenizers, trainers

TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
SYSTEM = "You are a toy."
PROMPTS = [
    [{"role": "system", "content": SYSTEM}],
    [
        {"role": "system", "content": SYSTEM},
        {"role": "assistant", "content": "Where to, and for how many days?"},
        {"role": "user", "content": "I'd like   12,500 dollars'\n\nworth of Kyōto 🎉"},
    ],
]


def splitter(pre: str) -> pre_tokenizers.PreTokenizer:
    """Return the pre-tokenizer that llama.cpp knows under a name."""
    if pre == "gpt-2":
        return pre_tokenizers.ByteLevel(add_prefix_space=False)
    if pre == "smollm":
        first, own = pre_tokenizers.Digits(individual_digits=True), True
    else:
        pattern = {"llama-bpe": LLAMA3, "qwen2": QWEN2}[pre]
        first, own = pre_tokenizers.Split(Regex(pattern), "isolated"), False
    return pre_tokenizers.Sequence([first, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=own)])


def odd_texts(count: int) -> list[str]:
    """Return texts of the kinds of characters on which split patterns disagree."""
    draw = random.Random(0)
    pool = [
        *"abcXYZ019 \t\n\r.,'’$-_/éßœ½²",
        "ü",
        "е",
        "日本",
        "🎉",
        "\u00a0",
        "I'm",
        "WE'LL",
        "2026",
        "  ",
        "\r\n",
        "́",
    ]
    return ["".join(draw.choice(pool) for _ in range(draw.randint(1, 24))) for _ in range(count)]


def write_toy(
    folder: Path, *, kind="llama", pre="gpt-2", hidden=64, feed=96, tied=False, shards=1, rope=None, heads=4
) -> Path:
    """Write config, weights (normal, float32), tokenizer and chat template; return the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = _write_tokenizer(folder, pre)
    config = {
        "architectures": [{"llama": "Llama", "qwen2": "Qwen2", "qwen3": "Qwen3"}[kind] + "ForCausalLM"],
        "model_type": kind,
        "vocab_size": rows,
        "hidden_size": hidden,
        "intermediate_size": feed,
        "num_hidden_layers": 2,
        "num_attention_heads": heads,
        "num_key_value_heads": heads // 2,
        "head_dim": hidden // heads,
        "max_position_embeddings": 512,
        "rms_norm_eps": 1e-5,
        "rope_parameters": rope or {"rope_theta": 10000.0, "rope_type": "default"},
        "tie_word_embeddings": tied,
        "eos_token_id": 2,
    }
    (folder / "config.json").write_text(json.dumps(config))
    names = sorted(weights := _weights(config))
    for number in range(shards):
        part = {name: weights[name] for name in names[number::shards]}
        file = "model.safetensors" if shards == 1 else f"model-{number + 1:05}-of-{shards:05}.safetensors"
        save_file(part, folder / file, metadata={"format": "pt"})
    if shards > 1:
        place = {name: f"model-{index % shards + 1:05}-of-{shards:05}.safetensors" for index, name in enumerate(names)}
        (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": place}))
    return folder


def _write_tokenizer(folder: Path, pre: str) -> int:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = splitter(pre)
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=SPECIAL,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(["the customer would like to travel to Kyoto in 2026", *odd_texts(300)], trainer)
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "eos_token": "<|im_end|>",
        "pad_token": "<|endoftext|>",
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings | {"chat_template": TEMPLATE}))
    return tokenizer.get_vocab_size()


def _weights(config: dict) -> dict[str, np.ndarray]:
    draw = np.random.default_rng(0)
    hidden, feed, width = config["hidden_size"], config["intermediate_size"], config["hidden_size"] // 2
    shapes = {"model.embed_tokens.weight": (config["vocab_size"], hidden), "model.norm.weight": (hidden,)}
    if not config["tie_word_embeddings"]:
        shapes["lm_head.weight"] = (config["vocab_size"], hidden)
    for layer in range(config["num_hidden_layers"]):
        inside = {"self_attn.q_proj": (hidden, hidden), "self_attn.k_proj": (width, hidden)}
        inside |= {"self_attn.v_proj": (width, hidden), "self_attn.o_proj": (hidden, hidden)}
        inside |= {
            "mlp.gate_proj": (feed, hidden),
            "mlp.up_proj": (feed, hidden),
            "mlp.down_proj": (hidden, feed),
        }
        inside |= {"input_layernorm": (hidden,), "post_attention_layernorm": (hidden,)}
        if config["model_type"] == "qwen3":
            inside |= {"self_attn.q_norm": (config["head_dim"],), "self_attn.k_norm": (config["head_dim"],)}
        shapes |= {f"model.layers.{layer}.{name}.weight": shape for name, shape in inside.items()}
        if config["model_type"] == "qwen2":
            biases = {"q": hidden, "k": width, "v": width}
            shapes |= {f"model.layers.{layer}.self_attn.{name}_proj.bias": (size,) for name, size in biases.items()}
    return {name: _drawn(draw, name, shape) for name, shape in shapes.items()}


def _drawn(draw: np.random.Generator, name: str, shape: tuple[int, ...]) -> np.ndarray:
    weights = draw.normal(0, 1, shape).astype(np.float32)
    return 1 + weights / 10 if "norm" in name else weights * (0.2 if "embed" not in name else 1.0)
