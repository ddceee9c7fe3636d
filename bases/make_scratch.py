"""Write bases/scratch: the shape of a small Llama, and a byte-level BPE tokenizer learned from training conversations.

The folder holds no weights, so training starts from random ones; a Hugging Face folder or id goes in the same place.
Hidden and feed-forward sizes are multiples of 256, so that llama.cpp's K-quantizations apply to every matrix. The
tokenizer learns from training conversations alone: held-out values stay in pieces that it has seen elsewhere.

    PYTHONPATH=scripts python bases/make_scratch.py results/travel_booking/dataset/train.parquet ...
"""

import sys
from collections.abc import Iterator
from pathlib import Path

from subterra.records import CONVERSATION, read_table
from subterra.text import pretty, write_whole
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

FOLDER = Path(__file__).parent / "scratch"
VOCABULARY = 2048
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
CHATML = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
CONFIG = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "vocab_size": VOCABULARY,
    "hidden_size": 256,
    "intermediate_size": 512,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
    "head_dim": 64,
    "max_position_embeddings": 2048,
    "rms_norm_eps": 1e-5,
    "rope_parameters": {"rope_theta": 10000.0, "rope_type": "default"},
    "tie_word_embeddings": False,
    "initializer_range": 0.02,
    "bos_token_id": None,
    "eos_token_id": SPECIAL.index("<|im_end|>"),
    "pad_token_id": SPECIAL.index("<|endoftext|>"),
    "dtype": "float32",
}
TOKENIZER = {
    "tokenizer_class": "PreTrainedTokenizerFast",
    "eos_token": "<|im_end|>",
    "pad_token": "<|endoftext|>",
    "model_max_length": CONFIG["max_position_embeddings"],
    "chat_template": CHATML,
}


def words(files: list[str]) -> Iterator[str]:
    """Yield what both sides say, and the roles as the chat template writes them."""
    for file in files:
        for row in read_table(file, CONVERSATION):
            for turn in row["turns"]:
                yield turn["content"]
                yield f"{turn['role']}\n"


def main(files: list[str]) -> None:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=SPECIAL,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator([*words(files), *["system\n"] * 100], trainer)
    FOLDER.mkdir(exist_ok=True)
    tokenizer.save(str(FOLDER / "tokenizer.json"))
    write_whole(FOLDER / "tokenizer_config.json", pretty(TOKENIZER))
    write_whole(FOLDER / "config.json", pretty(CONFIG))
    print(f"{FOLDER}: {tokenizer.get_vocab_size():,} tokens")


if __name__ == "__main__":
    main(sys.argv[1:])
