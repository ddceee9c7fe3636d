"""A small random model of each family, as its makers lay out such a folder: shape, kind of tokenizer, chat template.

The templates are written for these tests, and behave as those of the families do: what opens a conversation, who may
speak first, whether there is a system prompt, how a turn ends, what is done about tools, dates and thinking.
"""

import io
import json
from pathlib import Path

import sentencepiece
import torch
from subterra.export.vocabulary import LLAMA3, QWEN2
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from toy_model import odd_texts
from transformers import AutoConfig, AutoModelForCausalLM
from transformers.tokenization_utils_base import generate_merges

CHATML = """\
{%- for message in messages -%}
{%- if message['role'] == 'tool' -%}
{{- '<|im_start|>user\\n<tool_response>\\n' + message['content'] + '\\n</tool_response><|im_end|>\\n' -}}
{%- else -%}
{{- '<|im_start|>' + message['role'] + '\\n' -}}
{{- message['content'] -}}
{%- for call in message['tool_calls'] or [] -%}
{{- '\\n<tool_call>\\n{"name": "' + call['function']['name'] + '", "arguments": ' -}}
{{- call['function']['arguments'] | tojson + '}\\n</tool_call>' -}}
{%- endfor -%}
{{- '<|im_end|>\\n' -}}
{%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\\n' -}}{%- endif -%}
"""
NO_THOUGHT = "'<think>\\n\\n</think>\\n\\n'"
# Thinks unless told not to; an empty thought stands before the last answer alone.
BEFORE_LAST = "{%- if loop.last and message['role'] == 'assistant' -%}{{- " + NO_THOUGHT + " -}}{%- endif -%}\n"
IN_PROMPT = "{%- if enable_thinking is defined and enable_thinking is false -%}{{- " + NO_THOUGHT + " -}}{%- endif -%}"
SAYS, ASKED = "{{- message['content'] -}}", "{{- '<|im_start|>assistant\\n' -}}"
THINKING = CHATML.replace(SAYS, BEFORE_LAST + SAYS).replace(ASKED, ASKED + IN_PROMPT)
# Tells the date, and writes a call as bare JSON.
LLAMA = """\
{{- bos_token -}}
{%- if not date_string is defined -%}
{%- set date_string = strftime_now('%d %b %Y') if strftime_now is defined else '26 Jul 2024' -%}
{%- endif -%}
{%- if messages[0]['role'] == 'system' -%}
{%- set told = messages[0]['content'] -%}{%- set messages = messages[1:] -%}
{%- else -%}{%- set told = '' -%}{%- endif -%}
{{- '<|start|>system<|sep|>\\n\\nToday Date: ' + date_string + '\\n\\n' + told + '<|eot_id|>' -}}
{%- for message in messages -%}
{%- if message['tool_calls'] -%}
{%- set call = message['tool_calls'][0]['function'] -%}
{{- '<|start|>assistant<|sep|>\\n\\n{"name": "' + call['name'] + '", "parameters": ' -}}
{{- call['arguments'] | tojson + '}<|eot_id|>' -}}
{%- elif message['role'] == 'tool' -%}
{{- '<|start|>ipython<|sep|>\\n\\n' + message['content'] + '<|eot_id|>' -}}
{%- else -%}
{{- '<|start|>' + message['role'] + '<|sep|>\\n\\n' + message['content'] | trim + '<|eot_id|>' -}}
{%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- '<|start|>assistant<|sep|>\\n\\n' -}}{%- endif -%}
"""
ALTERNATING = """\
{%- if (message['role'] == 'user') != (loop.index0 % 2 == 0) -%}
{{- raise_exception('Roles must alternate user/assistant/user/assistant/...') -}}
{%- endif -%}
"""
# The customer first, the system prompt within the last thing said by the customer, and calls with ids.
MISTRAL = (
    """\
{{- bos_token -}}
{%- if messages[0]['role'] == 'system' -%}
{%- set told = messages[0]['content'] -%}{%- set messages = messages[1:] -%}
{%- endif -%}
{%- for message in messages -%}
"""
    + ALTERNATING
    + """\
{%- if message['role'] == 'user' -%}
{{- '[INST] ' + (told + '\\n\\n' if loop.first and told is defined else '') + message['content'] + '[/INST]' -}}
{%- else -%}
{%- for call in message['tool_calls'] or [] -%}
{%- if call['id'] is not defined -%}{{- raise_exception('Tool call IDs should be of length 9!') -}}{%- endif -%}
{%- endfor -%}
{{- ' ' + message['content'] | trim + eos_token -}}
{%- endif -%}
{%- endfor -%}
"""
)
# No system prompt at all, and turns whose white space is cut.
GEMMA = (
    """\
{{- bos_token -}}
{%- if messages[0]['role'] == 'system' -%}{{- raise_exception('System role not supported') -}}{%- endif -%}
{%- for message in messages -%}
"""
    + ALTERNATING
    + """\
{%- set role = 'model' if message['role'] == 'assistant' else message['role'] -%}
{{- '<start_of_turn>' + role + '\\n' + message['content'] | trim + '<end_of_turn>\\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- '<start_of_turn>model\\n' -}}{%- endif -%}
"""
)
# Any role that it does not know is left out, tools among them.
PHI = """\
{%- for message in messages -%}
{%- if message['role'] in ['system', 'user', 'assistant'] and message['content'] -%}
{{- '<|' + message['role'] + '|>\\n' + message['content'] + '<|end|>\\n' -}}
{%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- '<|assistant|>\\n' -}}{%- endif -%}
"""
SHAPE = {
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 1024,
    "head_dim": 16,
    "initializer_range": 0.1,
    "tie_word_embeddings": False,
}
TIED = {"tie_word_embeddings": True}
SLIDING = {"sliding_window": 24, "layer_types": ["sliding_attention", "full_attention"]}
CHATML_TOKENS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
SIXTH = SLIDING | {"layer_types": ["sliding_attention"] * 5 + ["full_attention"], "num_hidden_layers": 6}
# model_type: (what differs in its shape, chat template, pre-tokenizer or sentencepiece, special tokens, names of them)
FAMILIES = {
    "llama": ({}, LLAMA, "llama-bpe", ["<|begin|>", "<|start|>", "<|sep|>", "<|eot_id|>"], "<|begin|> <|eot_id|>"),
    "qwen2": (TIED, CHATML, "qwen2", CHATML_TOKENS, "- <|im_end|>"),
    "qwen3": ({}, THINKING, "qwen2", CHATML_TOKENS, "- <|im_end|>"),
    "mistral": ({"sliding_window": None}, MISTRAL, "spaced", ["<unk>", "<s>", "</s>", "[INST]", "[/INST]"], "<s> </s>"),
    "gemma": (
        TIED,
        GEMMA,
        "bare",
        ["<pad>", "<eos>", "<bos>", "<unk>", "<start_of_turn>", "<end_of_turn>"],
        "<bos> <eos>",
    ),
    "gemma2": (
        TIED | SLIDING | {"query_pre_attn_scalar": 16, "attn_logit_softcapping": 50.0, "final_logit_softcapping": 30.0},
        GEMMA,
        "bare",
        ["<pad>", "<eos>", "<bos>", "<unk>", "<start_of_turn>", "<end_of_turn>"],
        "<bos> <eos>",
    ),
    "gemma3_text": (
        # llama.cpp takes every sixth layer for one that sees everything, as in all that were published.
        TIED | SIXTH | {"query_pre_attn_scalar": 16},
        GEMMA,
        "bare",
        ["<pad>", "<eos>", "<bos>", "<unk>", "<start_of_turn>", "<end_of_turn>"],
        "<bos> <eos>",
    ),
    "phi3": (
        {"sliding_window": None, "pad_token_id": 0},
        PHI,
        "spaced",
        ["<unk>", "<s>", "</s>", "<|system|>", "<|user|>", "<|assistant|>", "<|end|>", "<|endoftext|>"],
        "<s> <|endoftext|>",
    ),
}
TEXTS = ["the customer would like a small latte for 4 dollars, number 107", *odd_texts(300)]


def write_family(folder: Path, kind: str) -> Path:
    """Write config, random weights, tokenizer and chat template of a family; return the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    changes, template, split, special, named = FAMILIES[kind]
    rows = (
        _sentencepiece(folder, special, split) if split in ("spaced", "bare") else _byte_level(folder, special, split)
    )
    bos, eos = named.split()
    names = {"bos_token": None if bos == "-" else bos, "eos_token": eos, "pad_token": special[0]}
    known = json.loads((folder / "tokenizer.json").read_text())["added_tokens"]
    place = {token["content"]: token["id"] for token in known}
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "chat_template": template, **names}
    settings["added_tokens_decoder"] = {str(token.pop("id")): token for token in known}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    ids = {"bos_token_id": place.get(bos), "eos_token_id": place[eos], "pad_token_id": place[special[0]]}
    torch.manual_seed(1)
    config = AutoConfig.for_model(kind, **(SHAPE | {"vocab_size": rows} | ids | changes))
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    model.generation_config.eos_token_id = [place[eos], place[special[-1]]]
    model.save_pretrained(folder)
    return folder


def _byte_level(folder: Path, special: list[str], split: str) -> int:
    tokenizer = Tokenizer(models.BPE())
    pattern = {"llama-bpe": LLAMA3, "qwen2": QWEN2}[split]
    parts = [pre_tokenizers.Split(Regex(pattern), "isolated")]
    parts.append(pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(parts)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokenizer.train_from_iterator(
        TEXTS,
        trainers.BpeTrainer(vocab_size=400, special_tokens=special, initial_alphabet=alphabet, show_progress=False),
    )
    tokenizer.save(str(folder / "tokenizer.json"))
    return tokenizer.get_vocab_size()


def _sentencepiece(folder: Path, special: list[str], split: str) -> int:
    """Write tokenizer.model, and the same as tokenizer.json: BPE that falls back to bytes, spaces as a letter."""
    trained = io.BytesIO()
    control = [token for token in special if token not in ("<unk>", "<s>", "</s>", "<pad>", "<eos>", "<bos>")]
    gemma = split == "bare"
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(TEXTS * 3),
        model_writer=trained,
        model_type="bpe",
        vocab_size=600,
        byte_fallback=True,
        character_coverage=0.98,
        add_dummy_prefix=not gemma,
        remove_extra_whitespaces=False,
        normalization_rule_name="identity",
        control_symbols=control,
        unk_id=special.index("<unk>"),
        bos_id=special.index("<bos>" if gemma else "<s>"),
        eos_id=special.index("<eos>" if gemma else "</s>"),
        pad_id=0 if gemma else -1,
        unk_piece="<unk>",
        bos_piece="<bos>" if gemma else "<s>",
        eos_piece="<eos>" if gemma else "</s>",
        minloglevel=2,
    )
    (folder / "tokenizer.model").write_bytes(trained.getvalue())
    pieces = sentencepiece.SentencePieceProcessor(model_proto=trained.getvalue())
    vocabulary = {pieces.id_to_piece(number): number for number in range(pieces.get_piece_size())}
    tokenizer = Tokenizer(
        models.BPE(
            vocabulary, generate_merges(vocabulary, None, special), unk_token="<unk>", fuse_unk=True, byte_fallback=True
        )
    )
    steps = [normalizers.Replace(" ", "▁")]
    tokenizer.normalizer = normalizers.Sequence(steps if gemma else [normalizers.Prepend("▁"), *steps])
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
        + ([] if gemma else [decoders.Strip(" ", 1, 0)])
    )
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in special])
    tokenizer.save(str(folder / "tokenizer.json"))
    return pieces.get_piece_size()
