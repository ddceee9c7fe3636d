"""Where the words beside the marks of a picture go, so that none covers another."""

from dataclasses import dataclass, field

LETTER, LINE = 7.8, 16  # pixels: width of a bold letter of 12 pixels, generously, and height of a line
GAP = 9
STEPS = 9

Box = tuple[float, float, float, float]  # left, top, right, bottom


@dataclass
class Labels:
    """Places texts inside a frame, clear of all that was taken before."""

    frame: Box
    taken: list[Box] = field(default_factory=list)

    def take(self, box: Box) -> None:
        """Keep a box free of texts."""
        self.taken.append(box)

    def place(self, x: float, y: float, text: str) -> tuple[float, float, bool]:
        """Return the left end and the middle of a text near (x, y), and whether it stands off, so that a line helps.

        Beside the mark first, then above and below, then farther and farther off; where nothing is free, beside it.
        """
        width = len(text) * LETTER
        for step in range(STEPS):
            for sign in (-1, 1):
                for left in (x + GAP, x - GAP - width, x - width / 2):
                    over = left == x - width / 2
                    middle = y + sign * (step * LINE + (LINE if over else 0))
                    box = (left, middle - LINE / 2, left + width, middle + LINE / 2)
                    if self._free(box):
                        self.take(box)
                        return left, middle, step > 0
        return x + GAP, y, False

    def _free(self, box: Box) -> bool:
        left, top, right, bottom = self.frame
        inside = left <= box[0] and top <= box[1] and box[2] <= right and box[3] <= bottom
        return inside and not any(_overlap(box, other) for other in self.taken)


def _overlap(a: Box, b: Box) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def apart(places: list[float], least: float, low: float, high: float) -> list[float]:
    """Return places along an axis moved as little as it takes to be `least` apart, in their order.

    >>> apart([10, 12, 50], 16, 0, 100)
    [10, 26, 50]
    """
    order = sorted(range(len(places)), key=places.__getitem__)
    moved = list(places)
    edge = low
    for index in order:
        moved[index] = max(places[index], edge)
        edge = moved[index] + least
    edge = high
    for index in reversed(order):
        moved[index] = min(moved[index], edge)
        edge = moved[index] - least
    return moved
