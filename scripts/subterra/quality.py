"""Whether a conversation that a model wrote may be learned from: each turn against its script, and all against all."""

import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence

from subterra.conformance import says
from subterra.script import Turn
from subterra.text import digest

LONGEST = 1_200  # characters of a turn: nobody says more at a time
COPIED = 6  # first words of a task that show, where they are said, that it was copied
SHINGLE = 4  # words
SKETCH = 64  # shingles that stand for a conversation
ALIKE = 0.7  # share of them that makes two conversations near-duplicates

LABEL = re.compile(r"\s*(agent|customer|assistant|user|speaker)\s*\d*\s*:", re.IGNORECASE)
MARKS = re.compile(r"<\|?\w+\|?>|\{[^{}]*\}|\[[^\[\]]{3,}\]|\*\*|^#+ |```|^\*[^*]+\*$", re.MULTILINE)
WORDS = re.compile(r"\w+")
UNANSWERED = "nothing is said"
NEAR_DUPLICATE = "near-duplicate"


def faults_of(turn: Turn, text: str, ids: Collection[str]) -> list[str]:
    """Return what is wrong with the words of a turn, a phrase each, as its writer can be told. `ids` are node ids."""
    if not text.strip():
        return [UNANSWERED]
    found = [f"does not say '{value}' letter by letter" for value in turn.says.values() if not says(text, value)]
    if LABEL.match(text):
        found.append("begins with who speaks")
    if marks := MARKS.search(text):
        found.append(f"holds '{marks.group()[:40]}', which nobody says")
    if named := sorted(name for name in ids if "_" in name and re.search(rf"(?<!\w){re.escape(name)}(?!\w)", text)):
        found.append(f"holds '{named[0]}', a name from the instructions")
    if repeated := next(filter(None, (_repeats(text, task) for task in turn.task)), ""):
        found.append(f"repeats the task: '{repeated}'")
    if len(text) > LONGEST:
        found.append(f"is {len(text):,} characters long: a turn has at most {LONGEST:,}")
    return found


def kind(fault: str) -> str:
    """Return what a fault is counted as.

    >>> kind("does not say 'Lisbon' letter by letter"), kind("holds '**', which nobody says")
    ('value missing', 'marks')
    """
    starts = {
        UNANSWERED: "empty",
        "does not say": "value missing",
        "begins with": "speaker named",
        "repeats": "instructions leaked",
        "does not make plain": "when not visible",
        "is ": "too long",
    }
    if fault.startswith("holds"):
        return "instructions leaked" if fault.endswith("instructions") else "marks"
    return next((name for start, name in starts.items() if fault.startswith(start)), "not as asked for")


def too_many(left_out: Mapping[str, int], asked: int, share: float, where: str = "") -> str:
    """Return the line that stops a build where more than a share of the conversations were left out."""
    reasons = ", ".join(
        f"{name} {count}" for name, count in sorted(left_out.items(), key=lambda one: (-one[1], one[0]))
    )
    return (
        f"teacher.max_failures: {share:g}: {where}{sum(left_out.values()):,} of {asked:,} conversations had to be left "
        f"out ({reasons}): mend what causes it, or allow more; all answers are kept"
    )


def _repeats(text: str, task: str) -> str:
    """Return the first words of a task where a text holds them in a row; "" where it does not.

    What follows them is facts, which a good turn may well put into the same words.
    """
    begins = WORDS.findall(task.casefold())[:COPIED]
    said = f" {' '.join(WORDS.findall(text.casefold()))} "
    return " ".join(begins) if len(begins) == COPIED and f" {' '.join(begins)} " in said else ""


class Conversations:
    """Conversations seen so far, to find the one that a new one nearly repeats."""

    def __init__(self) -> None:
        self._sketches: dict[str, frozenset[int]] = {}
        self._holding: dict[int, list[str]] = {}

    def meet(self, name: str, texts: Sequence[str], values: Mapping[str, str]) -> str | None:
        """Return the one that a conversation nearly repeats, apart from the values; remember it where there is none."""
        sketch = _sketch(texts, values)
        shared = Counter(other for shingle in sketch for other in self._holding.get(shingle, ()))
        for twin, count in shared.most_common(1):
            if count >= ALIKE * min(len(sketch), len(self._sketches[twin])):
                return twin
        self._sketches[name] = sketch
        for shingle in sketch:
            self._holding.setdefault(shingle, []).append(name)
        return None


def _sketch(texts: Sequence[str], values: Mapping[str, str]) -> frozenset[int]:
    """Return the SKETCH smallest hashes of the runs of SHINGLE words (a bottom-k sketch, Broder 1997)."""
    line = " ".join(texts).casefold()
    for value in sorted(values.values(), key=len, reverse=True):
        line = line.replace(value.casefold(), "_")
    words = WORDS.findall(line)
    runs = {" ".join(words[at : at + SHINGLE]) for at in range(max(1, len(words) - SHINGLE + 1))}
    return frozenset(sorted(int(digest(run, 12), 16) for run in runs)[:SKETCH])
