"""The loss curve as inline SVG. Its colours come from the page, so that they follow light and dark."""

import math
from html import escape

WIDTH, HEIGHT, LEFT, RIGHT, TOP, FOOT = 1000, 320, 44, 16, 14, 40
POINTS = 400


def loss_curve(rows: list[dict]) -> str:
    """Return the training and held-out loss over the steps as SVG, "" for fewer than two measured steps.

    `rows` have step, train_loss and valid_loss (null where it was not measured). The axis is logarithmic
    where the losses span more than a factor of 20.
    """
    lines = {name: _points(rows, f"{name}_loss") for name in ("train", "valid")}
    shown = [point for points in lines.values() for point in points]
    if len({step for step, _ in shown}) < 2:
        return ""
    scale = _Scale(shown)
    paths = [
        f'<path class="line-{name}" d="M' + "L".join(f"{scale.x(s):.1f} {scale.y(v):.1f}" for s, v in points) + '"/>'
        for name, points in lines.items()
        if len(points) > 1
    ]
    dots = [
        f'<circle class="dot-valid" cx="{scale.x(s):.1f}" cy="{scale.y(v):.1f}" r="3">'
        f"<title>step {s}: held-out loss {v:.4g}</title></circle>"
        for s, v in lines["valid"]
    ]
    return _frame(scale, lines, [*_axes(scale), *paths, *dots])


class _Scale:
    """Steps and losses to pixels."""

    def __init__(self, points: list[tuple[int, float]]):
        steps, losses = [s for s, _ in points], [v for _, v in points]
        self.first, self.last = min(steps), max(steps)
        self.logarithmic = min(losses) > 0 and max(losses) / min(losses) > 20
        self.low, self.high = (min(losses), max(losses)) if self.logarithmic else (0.0, max(losses) or 1.0)

    def x(self, step: float) -> float:
        return LEFT + (step - self.first) / (self.last - self.first) * (WIDTH - LEFT - RIGHT)

    def y(self, loss: float) -> float:
        share = loss / self.high
        if self.logarithmic:
            share = math.log(loss / self.low) / math.log(self.high / self.low)
        return HEIGHT - FOOT - share * (HEIGHT - TOP - FOOT)

    def marks(self) -> list[float]:
        """Return about five round losses inside the axis."""
        if not self.logarithmic:
            return _round_marks(0, self.high)
        decades = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
        steps = (1, 2, 5) if len(decades) < 4 else (1,)
        return [m * 10.0**d for d in decades for m in steps if self.low <= m * 10.0**d <= self.high]


def _round_marks(low: float, high: float) -> list[float]:
    raw = (high - low) / 5 or 1
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(m * power for m in (1, 2, 5, 10) if m * power >= raw)
    first = math.ceil(low / step)
    return [index * step for index in range(first, math.floor(high / step + 1e-9) + 1)]


def _points(rows: list[dict], key: str) -> list[tuple[int, float]]:
    """Return (step, loss), neighbours averaged down to at most POINTS; what is no number is left out."""
    found = [(row["step"], row[key]) for row in rows if row.get(key) is not None and math.isfinite(row[key])]
    size = math.ceil(len(found) / POINTS) or 1
    groups = [found[i : i + size] for i in range(0, len(found), size)]
    return [(group[-1][0], sum(v for _, v in group) / len(group)) for group in groups]


def _axes(scale: _Scale) -> list[str]:
    parts = []
    for loss in scale.marks():
        y = scale.y(loss)
        parts.append(f'<path class="grid" d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}"/>')
        parts.append(f'<text class="mark" x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{loss:g}</text>')
    for step in _round_marks(scale.first, scale.last):
        text = f"{int(step):,}" if step == int(step) else f"{step:g}"
        parts.append(
            f'<text class="mark" x="{scale.x(step):.1f}" y="{HEIGHT - FOOT + 18}" text-anchor="middle">{text}</text>'
        )
    return parts


def _frame(scale: _Scale, lines: dict, parts: list[str]) -> str:
    last = {name: points[-1][1] for name, points in lines.items() if points}
    told = ", ".join(
        f"{'held-out' if name == 'valid' else 'training'} loss ends at {v:.4g}" for name, v in last.items()
    )
    title = escape(f"Loss over {scale.last:,} steps: {told}")
    axis = "loss (logarithmic)" if scale.logarithmic else "loss"
    caption = f'<text class="mark" x="{WIDTH - RIGHT}" y="{HEIGHT - 4}" text-anchor="end">step</text>'
    caption += f'<text class="mark" x="{WIDTH - RIGHT}" y="{TOP + 8}" text-anchor="end">{axis}</text>'
    return (
        f'<svg class="loss" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{title}">'
        f"<title>{title}</title>" + "".join(parts) + caption + "</svg>"
    )
