"""A base without weights: the shape of a small Llama, and a byte-level BPE tokenizer that writes ChatML.

Hidden and feed-forward sizes are multiples of 256, so that llama.cpp's K-quantizations apply to every matrix.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from subterra.text import pretty, write_whole

SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
# ChatML, and tools as Qwen and Hermes write them.
CHATML = """\
{%- for message in messages %}
{%- if message['role'] == 'tool' %}
{{- '<|im_start|>user\\n<tool_response>\\n' + message['content'] + '\\n</tool_response><|im_end|>\\n' }}
{%- else %}
{{- '<|im_start|>' + message['role'] + '\\n' + message['content'] }}
{%- for call in message['tool_calls'] or [] %}
{{- '\\n' if message['content'] or not loop.first else '' }}
{{- '<tool_call>\\n{"name": ' + call['function']['name'] | tojson }}
{{- ', "arguments": ' + call['function']['arguments'] | tojson + '}\\n</tool_call>' }}
{%- endfor %}
{{- '<|im_end|>\\n' }}
{%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
{{- '<|im_start|>assistant\\n' }}
{%- endif %}
"""
LLAMA = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 256,
    "intermediate_size": 512,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "max_position_embeddings": 2048,
    "rms_norm_eps": 1e-5,
    "tie_word_embeddings": False,
    "initializer_range": 0.02,
    "bos_token_id": None,
    "eos_token_id": SPECIAL.index("<|im_end|>"),
    "pad_token_id": SPECIAL.index("<|endoftext|>"),
    "dtype": "float32",
}


def write_base(
    folder: str | Path,
    texts: Iterable[str],
    vocabulary: int,
    digits: bool = False,
    rope_theta: float = 10_000.0,
    **shape,
) -> int:
    """Write config.json, tokenizer.json and tokenizer_config.json; return how many tokens the texts gave.

    `texts` is what the tokenizer learns from, `vocabulary` the most tokens and the rows of the embedding, `digits`
    whether each digit is a token of its own, `rope_theta` the base of the rotary frequencies, `shape` what differs
    from LLAMA.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = _learned(texts, vocabulary, digits)
    tokenizer.save(str(folder / "tokenizer.json"))
    config = LLAMA | shape | {"vocab_size": vocabulary}
    config |= {
        "rope_parameters": {"rope_theta": float(rope_theta), "rope_type": "default"},
        "num_key_value_heads": config["num_attention_heads"],
        "head_dim": config["hidden_size"] // config["num_attention_heads"],
    }
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "eos_token": "<|im_end|>",
        "pad_token": "<|endoftext|>",
        "model_max_length": config["max_position_embeddings"],
        "chat_template": CHATML,
    }
    write_whole(folder / "tokenizer_config.json", pretty(settings))
    write_whole(folder / "config.json", pretty(config))
    return tokenizer.get_vocab_size()


def spoken(turns: Iterable[Mapping]) -> list[str]:
    """Return what a tokenizer learns from turns: their words, and the roles as the chat template writes them."""
    return [text for turn in turns for text in (turn["content"], f"{turn['role']}\n")]


def _learned(texts: Iterable[str], vocabulary: int, digits: bool) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False)
    each_digit = pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), byte_level])
    tokenizer.pre_tokenizer = each_digit if digits else byte_level
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=SPECIAL,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer
