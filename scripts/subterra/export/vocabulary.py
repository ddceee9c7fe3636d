"""A byte-level BPE tokenizer of a Hugging Face folder, as the lists that llama.cpp's tokenizer is built from.

llama.cpp splits text by patterns that it knows by name: a wrong name gives other tokens without a word, an
unknown one does not load. So the name is worked out from what tokenizer.json does, and all else is refused.
"""

import json
from dataclasses import dataclass
from pathlib import Path

from subterra.errors import SubterraError
from subterra.export.weights import Unsupported

NORMAL, CONTROL, USER_DEFINED, UNUSED = 1, 3, 4, 5
END_OF_TURN = ("<|im_end|>", "<|eot_id|>", "<|end|>", "<end_of_turn>")
GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
_MODERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|%s|"
    r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
LLAMA3 = _MODERN % r"\p{N}{1,3}"
QWEN2 = _MODERN % r"\p{N}"
PATTERNS = {GPT2: "gpt-2", LLAMA3: "llama-bpe", QWEN2: "qwen2"}
SUPPORTED = "byte-level BPE that splits like GPT-2, Llama 3, Qwen2 or SmolLM"


@dataclass(frozen=True)
class Vocabulary:
    """What llama.cpp's tokenizer needs; `ids` holds bos, eos, eot, unk and pad where named."""

    tokens: list[str]
    types: list[int]
    merges: list[str]
    pre: str
    ids: dict[str, int]
    chat_template: str


def read_vocabulary(model_dir: str | Path, rows: int) -> Vocabulary:
    """Read tokenizer.json and its config; `rows` is the number of embedding rows. Raises SubterraError."""
    folder = Path(model_dir)
    place = folder / "tokenizer.json"
    tokenizer, settings = read_json(place), read_json(folder / "tokenizer_config.json")
    _check(tokenizer, place)
    tokens, types = _tokens(tokenizer, rows, place)
    template = _chat_template(folder, settings)
    return Vocabulary(
        tokens=tokens,
        types=types,
        merges=[pair if isinstance(pair, str) else " ".join(pair) for pair in tokenizer["model"]["merges"]],
        pre=pre_tokenizer_name(tokenizer.get("pre_tokenizer"), place),
        ids=_special_ids(tokens, settings, template, folder),
        chat_template=template,
    )


def read_json(path: Path) -> dict:
    """Read a JSON file of a model folder. Raises SubterraError where it is missing or broken."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise SubterraError(f"{path}: not found; is {path.parent} a complete Hugging Face model folder?") from None
    except ValueError as broken:
        raise SubterraError(f"{path}: not JSON ({broken}); save the model again") from None


def pre_tokenizer_name(pre: dict | None, place: str | Path = "tokenizer.json") -> str:
    """Return llama.cpp's name for a tokenizer.json `pre_tokenizer`. Raises Unsupported for another.

    >>> pre_tokenizer_name({"type": "ByteLevel", "add_prefix_space": False, "use_regex": True})
    'gpt-2'
    """
    pre = pre or {}
    *before, last = pre.get("pretokenizers") or [pre]
    byte_level = last.get("type") == "ByteLevel" and not last.get("add_prefix_space", True)
    own_pattern = last.get("use_regex", True)
    name = None
    if byte_level and own_pattern:
        name = {(): "gpt-2", (("Digits", True),): "smollm"}.get(
            tuple((step["type"], step.get("individual_digits")) for step in before)
        )
    elif byte_level and len(before) == 1 and before[0].get("behavior") == "Isolated":
        name = None if before[0].get("invert") else PATTERNS.get(before[0]["pattern"].get("Regex"))
    if name is None:
        shown = " + ".join(step.get("type", "none") for step in [*before, last])
        raise Unsupported(f"{place}: pre_tokenizer {shown} cannot be exported; supported is {SUPPORTED}")
    return name


def _check(tokenizer: dict, place: Path) -> None:
    kind = tokenizer.get("model", {}).get("type")
    if kind != "BPE" or tokenizer["model"].get("byte_fallback"):
        raise Unsupported(f"{place}: {kind} tokenizer cannot be exported; supported is {SUPPORTED}")
    normalizer = (tokenizer.get("normalizer") or {}).get("type", "none")
    if normalizer not in ("none", "NFC"):
        raise Unsupported(f"{place}: normalizer {normalizer} cannot be exported; supported are none and NFC")


def _tokens(tokenizer: dict, rows: int, place: Path) -> tuple[list[str], list[int]]:
    """Return text and type of each embedding row; rows that no token uses become unused ones."""
    found = {number: (text, NORMAL) for text, number in tokenizer["model"]["vocab"].items()}
    for added in tokenizer.get("added_tokens", []):
        found[added["id"]] = (added["content"], CONTROL if added["special"] else USER_DEFINED)
    if max(found) >= rows:
        raise SubterraError(
            f"{place}: token {max(found)} has no row in an embedding of {rows}; resize the model's embedding"
        )
    listed = [found.get(number, (f"[PAD{number}]", UNUSED)) for number in range(rows)]
    return [text for text, _ in listed], [kind for _, kind in listed]


def _chat_template(folder: Path, settings: dict) -> str:
    beside = folder / "chat_template.jinja"
    template = beside.read_text(encoding="utf-8") if beside.is_file() else settings.get("chat_template")
    if not isinstance(template, str):
        raise SubterraError(f"{folder}: no chat template; put one into tokenizer_config.json or chat_template.jinja")
    return template


def _special_ids(tokens: list[str], settings: dict, template: str, folder: Path) -> dict[str, int]:
    place = {text: number for number, text in enumerate(tokens)}
    named = {kind: settings.get(f"{kind}_token") for kind in ("bos", "eos", "unk", "pad")}
    texts = {kind: text["content"] if isinstance(text, dict) else text for kind, text in named.items()}
    ids = {kind: place[text] for kind, text in texts.items() if text in place}
    turn_ends = [place[text] for text in END_OF_TURN if text in place and text in template]
    if "eos" not in ids:
        if not turn_ends:
            raise SubterraError(f"{folder}: tokenizer_config.json names no eos_token; generation could not stop")
        ids["eos"] = turn_ends[0]
    return ids | {"eot": turn_ends[0] if turn_ends else ids["eos"]}
