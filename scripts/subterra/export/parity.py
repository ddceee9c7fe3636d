"""Proof that the exported file is the model that was trained: the same text, tokens and choices.

Three things can go wrong without a word in an export: the chat template, the tokenizer, the weights. Each is
compared with transformers on real prompts. Choices are compared under teacher forcing: llama.cpp reads what
transformers wrote greedily and is asked for its own next token at every step, so that one difference does not
hide the rest.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

from subterra.errors import SubterraError
from subterra.models.gguf import GgufModel
from subterra.text import pretty, write_whole

NEAR_TIE = 0.05  # logits; f16 weights move a logit by about 0.02
Message = dict[str, str]


def check_parity(
    model_dir: str | Path,
    gguf_path: str | Path,
    prompts: Sequence[Sequence[Message]],
    out_json: str | Path,
    *,
    tokens: int = 40,
    threads: int = 1,
) -> dict:
    """Compare transformers (float32) with llama.cpp (the f16 file) on chat prompts and write what was found.

    Writes {prompts, same_template, same_tokenization, tokens, same_tokens, near_ties, largest_gap,
    first_differences}: `tokens` greedy tokens were compared, `same_tokens` are equal, `near_ties` differ
    where transformers' two candidates are less than 0.05 apart. Raises SubterraError, after writing, where
    rendered text or tokens of a prompt differ, or a choice differs that is no near-tie.
    """
    tokenizer, model = _load(model_dir, threads)
    found = {
        "prompts": len(prompts),
        "same_template": 0,
        "same_tokenization": 0,
        "tokens": 0,
        "same_tokens": 0,
    }
    differences: list[dict] = []
    with GgufModel(gguf_path, n_ctx=4096, threads=threads) as ours:
        for number, prompt in enumerate(prompts):
            text = tokenizer.apply_chat_template(list(prompt), tokenize=False, add_generation_prompt=True)
            ids = tokenizer(text, add_special_tokens=False)["input_ids"]
            found["same_template"] += ours.render(prompt) == text
            found["same_tokenization"] += ours.tokenize(text) == ids
            for step in _compare(model, ours, ids, min(tokens, ours.context - len(ids))):
                found["tokens"] += 1
                found["same_tokens"] += step["theirs"] == step["ours"]
                if step["theirs"] != step["ours"]:
                    differences.append({"prompt": number, **step})
    result = found | _summary(differences)
    write_whole(out_json, pretty(result))
    _judge(result, gguf_path)
    return result


def _load(model_dir: str | Path, threads: int):
    import torch
    from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast
    from transformers.utils import logging

    logging.disable_progress_bar()
    torch.set_num_threads(threads)
    # AutoTokenizer swaps in another tokenizer by model_type; the folder's own was trained with.
    tokenizer = PreTrainedTokenizerFast.from_pretrained(model_dir)
    return tokenizer, AutoModelForCausalLM.from_pretrained(model_dir, dtype=torch.float32).eval()


def _compare(model, ours: GgufModel, ids: list[int], count: int) -> Iterator[dict]:
    """Yield {position, theirs, ours, gap} for each greedy token, the gap in transformers' logits."""
    if count < 1:
        return
    written, logits = _greedy(model, ids, count)
    for position, (row, mine) in enumerate(zip(logits, ours.logits(ids, written[:-1]), strict=True)):
        choice = int(mine.argmax())
        gap = float(row[written[position]] - row[choice])
        yield {"position": position, "theirs": written[position], "ours": choice, "gap": round(gap, 5)}


def _greedy(model, ids: list[int], count: int) -> tuple[list[int], list]:
    """Return up to `count` greedy tokens of transformers, the end of the turn included, and their logits."""
    import torch

    ends = model.generation_config.eos_token_id
    ends = {ends} if isinstance(ends, int) else set(ends or ())
    written, rows, cache = [], [], None
    step = torch.tensor([ids])
    with torch.inference_mode():
        while len(written) < count:
            out = model(input_ids=step, past_key_values=cache, use_cache=True)
            rows.append(out.logits[0, -1].numpy())
            written.append(int(rows[-1].argmax()))
            cache, step = out.past_key_values, torch.tensor([[written[-1]]])
            if written[-1] in ends:
                break
    return written, rows


def _summary(differences: list[dict]) -> dict:
    return {
        "near_ties": sum(difference["gap"] < NEAR_TIE for difference in differences),
        "largest_gap": max((difference["gap"] for difference in differences), default=0.0),
        "first_differences": differences[:10],
    }


def _judge(result: dict, gguf_path: str | Path) -> None:
    wrong = result["tokens"] - result["same_tokens"] - result["near_ties"]
    for what, same in (("chat template", "same_template"), ("tokenizer", "same_tokenization")):
        if missed := result["prompts"] - result[same]:
            raise SubterraError(
                f"{gguf_path}: the {what} differs from transformers' on {missed} of {result['prompts']} "
                f"prompts; a model with this {what} cannot be exported"
            )
    if wrong:
        raise SubterraError(
            f"{gguf_path}: {wrong} of {result['tokens']} greedy tokens differ from transformers' by "
            f"{NEAR_TIE} or more in the logits (largest {result['largest_gap']}); "
            "the export is not the trained model"
        )
