"""Hearing which step of the procedure an agent turn was, from its words alone.

A score is only as good as this ear, so its own accuracy is measured on turns kept from it, together with
how much nonsense it refuses. A turn is vectorised by its words, pairs and triples with all values masked
(who travels where must not matter), a logistic regression names the step, and the turn has to resemble
some known turn of that step: word order shows in the pairs and triples, so shuffled words and most glued
halves fall through. It knows the phrasings it was given: words of its own, however fitting, are refused
as well.
"""

import io
import random
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import joblib
import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression

from subterra.errors import SubterraError
from subterra.text import whole_words, write_whole

UNKNOWN = "?"
TURNS_A_LABEL = 500  # turns of a label that are learned from: more teach nothing new
NOISE_A_KIND = 400
GENUINE_LOST = 0.01  # share of genuine turns that a threshold may refuse
NOISE_REFUSED = 0.99  # share of each kind of noise it aims to refuse: stricter would cost free wording

Turn = tuple[str, str]


@dataclass(frozen=True)
class Matcher:
    """Names the node run ("a" or "a+b") that an agent turn speaks, or "?" for a turn that resembles none.

    The confidence is in [0, 1]: the probability of the label times the likeness (cosine) to the nearest known
    turn of that label. Below `threshold` the label is "?".
    """

    labels: tuple[str, ...]
    threshold: float
    vectorizer: Any = field(repr=False)
    classifier: Any = field(repr=False)
    known: dict[str, Any] = field(repr=False)
    mask: re.Pattern | None = field(repr=False)

    def match(self, text: str) -> Turn:
        """Return (label or "?", confidence) for one turn."""
        return self.match_all([text])[0]

    def match_all(self, texts: Sequence[str]) -> list[tuple[str, float]]:
        """Return (label or "?", confidence) for each turn, in order."""
        return [
            (label if confidence >= self.threshold else UNKNOWN, round(confidence, 4))
            for label, confidence in self.hear(texts)
        ]

    def hear(self, texts: Sequence[str]) -> list[tuple[str, float]]:
        """Return the nearest label and the confidence for each turn, without a threshold."""
        if not texts:
            return []
        vectors = self.vectorizer.transform(masked(text, self.mask) for text in texts)
        labels, probabilities = self._classify(vectors)
        likeness = np.zeros(len(texts))
        for label in set(labels):
            rows = np.flatnonzero(labels == label)
            likeness[rows] = (vectors[rows] @ self.known[label].T).max(axis=1).toarray().ravel()
        confidences = np.clip(probabilities * likeness, 0.0, 1.0)
        return [(str(label), float(value)) for label, value in zip(labels, confidences, strict=True)]

    def _classify(self, vectors) -> tuple[np.ndarray, np.ndarray]:
        if self.classifier is None:  # one label only: nothing to choose between
            return np.full(vectors.shape[0], self.labels[0], dtype=object), np.ones(vectors.shape[0])
        probabilities = self.classifier.predict_proba(vectors)
        return self.classifier.classes_[probabilities.argmax(axis=1)], probabilities.max(axis=1)


def fit(turns: Iterable[Turn], mask: Iterable[str] = (), customer: Iterable[str] = (), seed: int = 1) -> Matcher:
    """Learn from agent turns as (text, node run).

    `mask` holds the values of all variables; `customer` holds customer turns, which are to be refused.
    One turn in five is kept from a first fit, the threshold is set on it against noise, and the matcher
    that is returned has learned from all. The order of the turns changes nothing. Raises SubterraError
    without a turn.
    """
    pattern = whole_words(mask, re.IGNORECASE)
    sample = _sample(turns, seed)
    if not sample:
        raise SubterraError("the matcher has no agent turn to learn from: build the conversations first")
    learned, kept = _split(sample, seed)
    threshold = _threshold(_learn(learned, pattern, 0.0), kept, _some(set(customer), NOISE_A_KIND, seed), seed)
    return _learn(sample, pattern, threshold)


def accuracy(matcher: Matcher, turns: Sequence[Turn], customer: Iterable[str] = (), seed: int = 1) -> dict:
    """Measure a matcher on labelled turns it has not learned from.

    Returns {"turns", "correct", "accuracy", "labels", "threshold", "noise": {kind: {"turns", "refused"}}};
    accuracy is None without turns. Kinds of noise: words shuffled, halves of two turns glued, customer turns.
    """
    heard = matcher.match_all([text for text, _ in turns])
    correct = sum(label == found for (_, label), (found, _) in zip(turns, heard, strict=True))
    refused = {
        kind: {
            "turns": len(texts),
            "refused": sum(label == UNKNOWN for label, _ in matcher.match_all(texts)),
        }
        for kind, texts in noise(turns, customer, seed).items()
    }
    return {
        "turns": len(turns),
        "correct": correct,
        "accuracy": correct / len(turns) if turns else None,
        "labels": len(matcher.labels),
        "threshold": matcher.threshold,
        "noise": refused,
    }


def noise(turns: Iterable[Turn], customer: Iterable[str] = (), seed: int = 1) -> dict[str, list[str]]:
    """Return turns that are none, by kind: what a broken model might say. Deterministic."""
    turns = sorted(set(turns))
    draw = random.Random(seed)
    kinds = {"shuffled": [], "glued": [], "customer": _some(set(customer), NOISE_A_KIND, seed)}
    for text, label in draw.sample(turns, min(NOISE_A_KIND, len(turns))):
        shuffled = _shuffled(text, draw)
        if shuffled:
            kinds["shuffled"].append(shuffled)
        other, other_label = draw.choice(turns)
        if label != other_label:
            kinds["glued"].append(_glued(text, other))
    return {kind: texts for kind, texts in kinds.items() if texts}


def save(matcher: Matcher, path: str | Path) -> Path:
    """Write a matcher whole or not at all."""
    buffer = io.BytesIO()
    joblib.dump(matcher, buffer, compress=3)
    return write_whole(path, buffer.getvalue())


def load(path: str | Path) -> Matcher:
    """Read a matcher that `save` wrote. It is a pickle: read only files of your own."""
    return joblib.load(path)


def masked(text: str, pattern: re.Pattern | None) -> str:
    """Return a turn in small letters without its values.

    >>> masked("To Cape Town for 900 dollars.", whole_words(["Cape Town"]))
    'to zzvalue for zzvalue dollars.'
    """
    text = pattern.sub("zzvalue", text) if pattern else text
    return re.sub(r"\d+(?:[.,]\d+)*", "zzvalue", text).lower()


def _sample(turns: Iterable[Turn], seed: int) -> list[Turn]:
    """Return at most TURNS_A_LABEL turns of a label, as often as they were said."""
    by_label: dict[str, list[str]] = {}
    for text, label in turns:
        if text.strip():
            by_label.setdefault(label, []).append(text)
    return [(text, label) for label, texts in sorted(by_label.items()) for text in _some(texts, TURNS_A_LABEL, seed)]


def _some(texts: Iterable[str], most: int, seed: int) -> list[str]:
    texts = sorted(texts)
    return texts if len(texts) <= most else sorted(random.Random(seed).sample(texts, most))


def _split(turns: list[Turn], seed: int) -> tuple[list[Turn], list[Turn]]:
    """Keep one turn in five of each label; a label with fewer than five gives none.

    A turn said twice may fall on both sides: the talks to be scored repeat what was taught, too.
    """
    draw = random.Random(seed)
    learned: list[Turn] = []
    kept: list[Turn] = []
    for label in sorted({label for _, label in turns}):
        own = [turn for turn in turns if turn[1] == label]
        draw.shuffle(own)
        kept += own[: len(own) // 5]
        learned += own[len(own) // 5 :]
    return learned, kept


def _learn(turns: list[Turn], mask: re.Pattern | None, threshold: float) -> Matcher:
    distinct = sorted({(masked(text, mask), label) for text, label in turns})
    targets = np.array([label for _, label in distinct], dtype=object)
    vectorizer = TfidfVectorizer(ngram_range=(1, 3), sublinear_tf=True, token_pattern=r"[\w']+", dtype=np.float32)
    try:
        vectors = vectorizer.fit_transform(text for text, _ in distinct)
    except ValueError:
        raise SubterraError("the agent turns hold no words: the matcher cannot tell them apart") from None
    labels = tuple(sorted(set(targets)))
    classifier = None
    if len(labels) > 1:
        classifier = LogisticRegression(C=100.0, class_weight="balanced", max_iter=300)
        classifier.fit(vectors, targets)
    known = {label: vectors[np.flatnonzero(targets == label)] for label in labels}
    return Matcher(labels, threshold, vectorizer, classifier, known, mask)


def _threshold(matcher: Matcher, kept: list[Turn], customer: list[str], seed: int) -> float:
    """Return the confidence that refuses noise, lowered where genuine turns would be lost to it."""
    right = [confidence for _, confidence in matcher.hear([text for text, _ in kept])]
    wrong = [
        float(np.quantile([confidence for _, confidence in matcher.hear(texts)], NOISE_REFUSED))
        for texts in noise(kept, customer, seed).values()
    ]
    if not wrong or not right:
        return 0.5
    return round(min(max(wrong), 0.999 * float(np.quantile(right, GENUINE_LOST))), 4)


def _shuffled(text: str, draw: random.Random) -> str:
    """Return the words in another order; "" for a turn too short to be broken that way."""
    words = text.split()
    if len(words) < 5:
        return ""
    draw.shuffle(words)
    return " ".join(words)


def _glued(text: str, other: str) -> str:
    """Return the first half of a turn and the second half of another."""
    words, others = text.split(), other.split()
    return " ".join(words[: (len(words) + 1) // 2] + others[len(others) // 2 :])
