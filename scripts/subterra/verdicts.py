"""What a judge answers, read and checked: five criteria with score, reason and quoted turn, or what is wrong with it.

What can be mended without guessing is: words around the JSON, a comma too many, "4/5", a quote under a wrong number. No
score is ever made up, rounded or moved into its range.
"""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from subterra.errors import printable, shown

CRITERIA = ("task_success", "information_accuracy", "consistency", "graceful_handling", "naturalness")
LOWEST, HIGHEST = 1, 5
MOST_UNCHALLENGED = 3  # of graceful handling: what was not tried was not shown
MOST_FAILED = 3  # task success of a failure
NO_TURN = -1

SCORE = re.compile(rf"(\d)(?:\.0+)?\s*(?:(?:/|out of)\s*{HIGHEST})?", re.IGNORECASE)
WHOLE = re.compile(r"\D*(\d{1,6})\D*")
ELLIPSIS = re.compile(r"\.{2,}|…")
WORD = re.compile(r"[a-z0-9]+|\w")  # of scripts that put no space between words, a letter
COMMA = re.compile(r'("(?:[^"\\]|\\.)*")|,(?=\s*[}\]])', re.DOTALL)  # strings are kept as they are
YES = {"true": True, "yes": True, "false": False, "no": False}


class Unfit(Exception):
    """An answer that is no verdict; `faults` says why, a phrase each, as the judge can be told."""

    def __init__(self, faults: Sequence[str]):
        self.faults = tuple(printable(fault) for fault in faults)
        super().__init__("; ".join(self.faults))


def read_verdict(text: str, turns: Sequence[Mapping]) -> dict:
    """Return {criteria, challenged, failed} (see records.JUDGEMENT) of an answer about a talk's turns.

    Graceful handling is capped where nothing challenged the agent. Raises Unfit with all that is wrong.
    """
    data = _object(text)
    entries, faults = _entries(data)
    challenged = _challenged(data, faults)
    criteria = [_criterion(name, entries[name], turns, faults) for name in CRITERIA if name in entries]
    if faults:
        raise Unfit(faults)
    for one in criteria:
        if one["criterion"] == "graceful_handling" and not challenged and one["score"] > MOST_UNCHALLENGED:
            one["reason"] += f" (capped at {MOST_UNCHALLENGED}: nothing challenged the agent)"
            one["score"] = MOST_UNCHALLENGED
    return {"criteria": criteria, "challenged": challenged, "failed": criteria[0]["score"] <= MOST_FAILED}


def _object(text: str) -> dict:
    """Return the last JSON object in an answer that names a criterion: a model that thinks aloud drafts before it."""
    text = COMMA.sub(lambda found: found[1] or "", text)
    reader = json.JSONDecoder(strict=False)
    place, found = text.find("{"), {}
    while place >= 0:
        end = place + 1
        try:
            data, behind = reader.raw_decode(text, place)
        except (ValueError, RecursionError):
            data = {}
        if _listed(data):
            found, end = data, behind
        place = text.find("{", end)
    if not found:
        raise Unfit(["it holds no whole JSON object of the kind that is asked for"])
    return found


def _listed(data: Mapping) -> list[tuple[str, Any]]:
    """Return (name, entry) of what an object holds by criterion: under `criteria`, beside it, or in a list."""
    inner = data.get("criteria", data)
    if isinstance(inner, list):
        named = [one for one in inner if isinstance(one, dict)]
        pairs = [(one.get("criterion", one.get("name", "")), one) for one in named]
    else:
        pairs = list(inner.items()) if isinstance(inner, dict) else []
    plain = [("_".join(re.findall(r"[a-z]+", str(name).lower())), entry) for name, entry in pairs]
    return [(name, entry) for name, entry in plain if name in CRITERIA]


def _entries(data: Mapping) -> tuple[dict[str, Any], list[str]]:
    """Return the entry of each criterion, and what is wrong with their number."""
    listed = _listed(data)
    names = [name for name, _ in listed]
    faults = [f"{name} is missing" for name in CRITERIA if name not in names]
    faults += [f"{name} is there more than once" for name in CRITERIA if names.count(name) > 1]
    return dict(listed), faults


def _challenged(data: Mapping, faults: list[str]) -> bool:
    value = data.get("challenged")
    found = YES.get(str(value).strip().lower())
    if found is None:
        faults.append(f"challenged is neither true nor false but {_said(value)}")
    return bool(found)


def _criterion(name: str, entry: Any, turns: Sequence[Mapping], faults: list[str]) -> dict:
    """Return a row (see records.CRITERION); what is wrong with it is added to `faults`."""
    if not isinstance(entry, dict):
        faults.append(f"{name} is no object with reason, turn, quote and score")
        return {}
    score = _score(entry.get("score"))
    if score is None:
        faults.append(f"{name}: score {_said(entry.get('score'))} is no whole number from {LOWEST} to {HIGHEST}")
    reason = _told(entry.get("reason"))
    if not reason:
        faults.append(f"{name}: there is no reason")
    quote = _told(entry.get("quote"))
    turn = _place(entry.get("turn"), quote, turns)
    if turn is None:
        faults.append(f"{name}: {_quote_fault(entry.get('turn'), quote)}")
    return {"criterion": name, "score": score, "reason": reason, "turn": turn, "quote": quote}


def _told(value: Any) -> str:
    """Return words in one line that any file can hold: JSON may spell half a letter ("\\ud83d"). "" for no words."""
    return " ".join(value.encode("utf-8", "replace").decode().split()) if isinstance(value, str) else ""


def _quote_fault(turn: Any, quote: str) -> str:
    if not WORD.search(quote.lower()):
        return "no words of a turn are quoted"
    return f"the quote {_said(quote)} stands neither in turn {_said(turn)} nor in another: copy it letter by letter"


def _score(value: Any) -> int | None:
    """Return a score from 1 to 5; None for anything else.

    >>> _score("4/5"), _score(4.0), _score(3.5), _score("4/10"), _score(6), _score(True)
    (4, 4, None, None, None, None)
    """
    found = None if isinstance(value, bool) else SCORE.fullmatch(str(value).strip())
    score = int(found[1]) if found else 0
    return score if LOWEST <= score <= HIGHEST else None


def _place(told: Any, quote: str, turns: Sequence[Mapping]) -> int | None:
    """Return the turn in which a quote stands: the one that was told, else the nearest; None for none."""
    texts = [turn["content"] + " " + (turn.get("call") or "") for turn in turns]
    if not any(WORD.search(text.lower()) for text in texts):
        return NO_TURN  # a talk without words has none to quote
    number = WHOLE.fullmatch(str(told))
    near = int(number[1]) if number else 0
    holding = [index for index, text in enumerate(texts) if stands_in(quote, text)]
    return min(holding, key=lambda index: abs(index - near), default=None)


def stands_in(quote: str, text: str) -> bool:
    """Tell whether the words of a quote stand in a text in a row; at an ellipsis some may be left out.

    Spaces, case and punctuation do not count.

    >>> stands_in("“Which size ... how much”", "Which SIZE of latte, and for how much?"), stands_in("", "Hi")
    (True, False)
    """
    said = f" {_words(text)} "
    parts = [part for part in map(_words, ELLIPSIS.split(quote)) if part]
    place = 0
    for part in parts:
        place = said.find(f" {part} ", place)
        if place < 0:
            return False
        place += len(part) + 1
    return bool(parts)


def _words(text: str) -> str:
    return " ".join(WORD.findall(text.casefold()))


def _said(value: Any) -> str:
    return f"'{shown(value)}'" if isinstance(value, str) else shown(value)
