"""Quality against cost, and total cost over conversations, as inline SVG with a logarithmic axis of dollars.

Colours come from the page by the name of the condition, so that they follow light and dark.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from subterra.report.formats import family, mark
from subterra.report.labels import LETTER, LINE, Labels, apart

WIDE, NARROW = 760, 350  # pixels: of a laptop, of a phone
LEFT, RIGHT, TOP, FOOT = 52, 20, 32, 44
PLOT = 300  # pixels from the top of a picture to the foot of its plot
TICK = 78  # pixels that a tick's text takes
LANE = 22
MOST_CONVERSATIONS = 1_000_000
DOT, GAP_TO_WORDS = 6, 4


@dataclass(frozen=True)
class Mark:
    """A condition in the picture: dollars a conversation `x`, and its quality `y` where that was measured.

    A light mark is the paper's.
    """

    name: str
    condition: str
    x: float
    x_interval: tuple[float, float] | None = None
    y: float | None = None
    y_interval: tuple[float, float] | None = None
    light: bool = False

    @property
    def look(self) -> str:
        """Its class and colour."""
        kind = "light" if self.light else "solid" if self.y is not None else "hollow"
        return f'class="{kind}" style="{_colour(self.condition)}"'


@dataclass(frozen=True)
class Quality:
    """The axis of quality: what it shows, from where to where, and its ticks with their texts."""

    caption: str
    low: float
    high: float
    ticks: tuple[tuple[float, str], ...]

    def y(self, value: float) -> float:
        """Return pixels from the top."""
        share = (value - self.low) / (self.high - self.low)
        return TOP + (1 - min(1.0, max(0.0, share))) * (PLOT - TOP)


class Decades:
    """A logarithmic axis over whole decades, in pixels from `begin` to `end`."""

    def __init__(self, values: Sequence[float], begin: float, end: float):
        self.first = math.floor(math.log10(min(values)))
        self.last = max(math.ceil(math.log10(max(values))), self.first + 1)
        self.begin, self.end = begin, end

    def at(self, value: float) -> float:
        """Return the pixels of a value; what lies outside stands at the edge."""
        share = (math.log10(value) - self.first) / (self.last - self.first) if value > 0 else 0.0
        return self.begin + min(1.0, max(0.0, share)) * (self.end - self.begin)

    def ticks(self, room: float = TICK) -> list[float]:
        """Return powers of ten, as many as there is room for."""
        step = math.ceil((self.last - self.first) / max(1, abs(self.end - self.begin) // room))
        return [float(f"1e{power}") for power in range(self.first, self.last + 1, step)]


def quality_cost(
    marks: Sequence[Mark], lanes: Sequence[tuple[str, Sequence[Mark]]], quality: Quality, width: int = WIDE
) -> str:
    """Return the picture, "" without a mark of known quality.

    `lanes` hold marks of which the cost alone is known, by caption: they stand under the axis of quality, on rows of
    their own.
    """
    marks = [one for one in marks if one.x > 0]
    lanes = [(caption, [one for one in rows if one.x > 0]) for caption, rows in lanes]
    lanes = [(caption, rows) for caption, rows in lanes if rows]
    if not any(one.y is not None for one in marks):
        return ""
    costs = [cost for one in [*marks, *(one for _, rows in lanes for one in rows)] for cost in _span(one)]
    axis = Decades(costs, LEFT, width - RIGHT)
    parts = [_horizontal(quality.y(value), text, axis) for value, text in quality.ticks]
    labels = Labels((LEFT, TOP - 12, width - 2, PLOT))
    for one in marks:
        labels.take(_around(axis.at(one.x), quality.y(one.y)))
        parts.append(_bars(one, axis, quality))
    parts += [_dot(one, axis.at(one.x), quality.y(one.y), labels) for one in marks]
    foot = PLOT
    for caption, rows in lanes:
        drawn, foot = _lane(caption, rows, axis, foot + 8)
        parts += drawn
    parts += [_vertical(axis.at(value), foot, mark(value)) for value in axis.ticks()]
    parts.append(_text(4, TOP - 18, quality.caption, "mark"))
    parts.append(_text(axis.end, foot + 36, "dollars a conversation (logarithmic)", "mark", "end"))
    title = f"{quality.caption} against dollars a conversation: " + ", ".join(
        f"{one.name} {mark(float(f'{one.x:.2g}'))}" for one in marks
    )
    return _svg(title, (width, foot + FOOT), parts)


def total_costs(
    lines: Sequence[tuple[str, float, float, bool]], break_evens: Sequence[tuple[str, float]], width: int = WIDE
) -> str:
    """Return total dollars over conversations; both axes are logarithmic. "" unless ours and another cost anything.

    A line is (name, dollars once, dollars a conversation, measured); the first is ours, and `break_evens` (other's
    name, conversations) are marked on it.
    """
    ours, lines = lines[:1], [line for line in lines if line[1] + line[2] > 0]
    if len(lines) < 2 or lines[:1] != ours:
        return ""
    right = width - 12 - LETTER * max(len(name) for name, *_ in lines)
    across = Decades((1, MOST_CONVERSATIONS), LEFT + 26, right)
    ends = [once + each * count for _, once, each, _ in lines for count in (1, MOST_CONVERSATIONS)]
    up = Decades([value for value in ends if value > 0], PLOT, TOP)
    parts = [_horizontal(up.at(value), mark(value), across) for value in up.ticks(34)]
    parts += [_vertical(across.at(value), PLOT, f"{value:,.0f}") for value in across.ticks()]
    parts += [_line(*line, across, up) for line in lines]
    heights = [up.at(once + each * MOST_CONVERSATIONS) for _, once, each, _ in lines]
    for (name, *_), y in zip(lines, apart(heights, LINE, TOP, PLOT), strict=True):
        parts.append(f'<g style="{_colour(name)}">{_text(across.end + 6, y + 4, name, "name")}</g>')
    parts += _crossings(lines[0], break_evens, across, up)
    parts.append(_text(4, TOP - 18, "dollars, all in all", "mark"))
    parts.append(_text(across.end, PLOT + 36, "conversations", "mark", "end"))
    title = "Total cost over conversations of " + ", ".join(name for name, *_ in lines)
    return _svg(title, (width, PLOT + FOOT), parts)


def _crossings(ours: tuple, break_evens: Sequence[tuple[str, float]], across: Decades, up: Decades) -> list[str]:
    labels, parts = Labels((across.begin, TOP, across.end, PLOT - 2)), []
    for name, count in break_evens:
        if 1 <= count <= MOST_CONVERSATIONS:
            x, y = across.at(count), up.at(ours[1] + ours[2] * count)
            text = f"{math.ceil(count):,}"
            left, middle, _ = labels.place(x, y + LINE, text)
            parts.append(
                f'<circle class="cross" cx="{x:.1f}" cy="{y:.1f}" r="4.5" style="{_colour(name)}">'
                f"<title>pays against {escape(name)} from {text} conversations on</title></circle>"
            )
            parts.append(_text(left, middle + 4, text, "name"))
    return parts


def _line(name: str, once: float, each: float, measured: bool, across: Decades, up: Decades) -> str:
    powers = [across.first + step * (across.last - across.first) / 48 for step in range(49)]
    points = [(across.at(10**power), up.at(once + each * 10**power)) for power in powers]
    path = "L".join(f"{x:.1f} {y:.1f}" for x, y in points)
    return f'<path class="run{"" if measured else " counted"}" style="{_colour(name)}" d="M{path}"/>'


def _lane(caption: str, rows: Sequence[Mark], axis: Decades, top: float) -> tuple[list[str], float]:
    """Return a lane's parts and its foot; marks whose words would meet stand on rows of their own."""
    parts = [f'<path class="grid" d="M{LEFT} {top:.1f}H{axis.end:.1f}"/>', _text(LEFT, top + 15, caption, "mark")]
    filled: list[float] = []
    for one in sorted(rows, key=lambda one: one.x):
        x, width = axis.at(one.x), len(one.name) * LETTER
        to_left = x + DOT + GAP_TO_WORDS + width > axis.end + RIGHT - 2
        left = x - DOT - GAP_TO_WORDS - width if to_left else x - DOT
        row = next((index for index, edge in enumerate(filled) if edge < left - 6), len(filled))
        filled += [0.0] * (row + 1 - len(filled))
        filled[row] = x + DOT + (0 if to_left else GAP_TO_WORDS + width)
        y = top + LANE * (row + 1.5)
        parts.append(_bars(one, axis, None, y))
        parts.append(f'<circle {one.look} cx="{x:.1f}" cy="{y:.1f}" r="{DOT - 0.5}">{_title(one)}</circle>')
        at, anchor = (x - DOT - 4, "end") if to_left else (x + DOT + 4, "start")
        parts.append(f'<g style="{_colour(one.condition)}">{_text(at, y + 4, one.name, "name", anchor)}</g>')
    return parts, top + LANE * (len(filled) + 1.2)


def _dot(one: Mark, x: float, y: float, labels: Labels) -> str:
    left, middle, off = labels.place(x, y, one.name)
    near = left if left > x else min(x, left + len(one.name) * LETTER)
    leader = f'<path class="leader" d="M{x:.1f} {y:.1f}L{near:.1f} {middle:.1f}"/>' if off else ""
    words = f'<g style="{_colour(one.condition)}">{_text(left, middle + 4, one.name, "name")}</g>'
    return f'{leader}<circle {one.look} cx="{x:.1f}" cy="{y:.1f}" r="{DOT}">{_title(one)}</circle>{words}'


def _bars(one: Mark, axis: Decades, quality: Quality | None, y: float = 0.0) -> str:
    parts = []
    y = quality.y(one.y) if quality else y
    if one.x_interval:
        parts.append(f"M{axis.at(one.x_interval[0]):.1f} {y:.1f}H{axis.at(one.x_interval[1]):.1f}")
    if quality and one.y_interval:
        ends = [quality.y(end) for end in one.y_interval]
        parts.append(f"M{axis.at(one.x):.1f} {ends[0]:.1f}V{ends[1]:.1f}")
    return f'<path class="interval" style="{_colour(one.condition)}" d="{"".join(parts)}"/>' if parts else ""


def _title(one: Mark) -> str:
    return f"<title>{escape(one.name)}: {mark(float(f'{one.x:.2g}'))} a conversation</title>"


def _span(one: Mark) -> list[float]:
    return [value for value in (one.x, *(one.x_interval or ())) if value > 0]


def _around(x: float, y: float) -> tuple[float, float, float, float]:
    return x - DOT - 2, y - DOT - 2, x + DOT + 2, y + DOT + 2


def _colour(condition: str) -> str:
    return f"--c:var(--c-{escape(family(condition))},var(--quiet))"


def _horizontal(y: float, text: str, across: Decades) -> str:
    line = f'<path class="grid" d="M{across.begin:.1f} {y:.1f}H{across.end:.1f}"/>'
    return line + _text(across.begin - 7, y + 4, text, "mark", "end")


def _vertical(x: float, foot: float, text: str) -> str:
    return f'<path class="grid" d="M{x:.1f} {TOP}V{foot:.1f}"/>' + _text(x, foot + 18, text, "mark", "middle")


def _text(x: float, y: float, text: str, look: str, anchor: str = "start") -> str:
    return f'<text class="{look}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'


def _svg(title: str, size: tuple[float, float], parts: Sequence[str]) -> str:
    told = escape(title)
    kind = "narrow" if size[0] < WIDE else "wide"
    return (
        f'<svg class="plot {kind}" viewBox="0 0 {size[0]} {size[1]:.0f}" role="img" aria-label="{told}">'
        f"<title>{told}</title>" + "".join(parts) + "</svg>"
    )
