"""How long and how much memory the paths of a flowchart take, from 10^3 to 10^6 of them, and on graphs that are hard.

Run from the repository's root:

    PYTHONPATH=scripts python benchmarks/derive_paths.py

Every row is a process of its own, so that its peak of memory is its own. `ratio` is seconds to those of the row above.
"""

import resource
import subprocess
import sys
import time
from itertools import pairwise

from subterra.flowchart import Flowchart, Node, Way
from subterra.paths import derive

LIMIT = 2_000


def flowchart(edges: list[tuple[str, str]], rule: str) -> Flowchart:
    """Return a flowchart of bare edges: it begins at the first one's source and ends where nothing leads on."""
    ways: dict[str, list[Way]] = {name: [] for edge in edges for name in edge}
    for source, target in edges:
        ways[source].append(Way(target, "", (), {}))
    nodes = {name: Node(name, "agent" if out else "end", "", (), tuple(out)) for name, out in sorted(ways.items())}
    return Flowchart("toy", "", "", edges[0][0], rule, {}, nodes)


def layers(depth: int) -> list[tuple[str, str]]:
    """Layers of ten nodes, each leading to all of the next: 10 ** depth paths."""
    rows = [["a"], *([f"l{row}_{index}" for index in range(10)] for row in range(depth)), ["z"]]
    return [(one, other) for row, following in pairwise(rows) for one in row for other in following]


def loops(depth: int) -> list[tuple[str, str]]:
    """Layers that lead back to the start, so that all of it is one cycle."""
    return [*layers(depth), *((f"l{depth - 1}_{index}", "a") for index in range(10))]


def diamonds(number: int) -> list[tuple[str, str]]:
    """Diamonds in a row: 2 ** number paths."""
    return [
        edge
        for index in range(number)
        for side in "lr"
        for edge in ((f"h{index}", f"h{index}{side}"), (f"h{index}{side}", f"h{index + 1}"))
    ]


def dense(size: int) -> list[tuple[str, str]]:
    """Every node leads to every other; the last one is an end."""
    return [(f"n{a}", f"n{b}") for a in range(size - 1) for b in range(size) if a != b]


def chain(length: int) -> list[tuple[str, str]]:
    """One node after the other."""
    return [(f"n{a}", f"n{a + 1}") for a in range(length - 1)]


ROWS = {
    "10^3 in layers": (layers, 3, "trail", 10**6),
    "10^4 in layers": (layers, 4, "trail", 10**6),
    "10^5 in layers": (layers, 5, "trail", 10**6),
    "10^6 in layers": (layers, 6, "trail", 10**6),
    "10^6 in one cycle": (loops, 6, "simple", 10**6),
    "10^6 of 2^30": (diamonds, 30, "trail", 10**6),
    "2^30 paths": (diamonds, 30, "trail", LIMIT),
    "dense 22, simple": (dense, 22, "simple", LIMIT),
    "dense 22, trail": (dense, 22, "trail", LIMIT),
    "dense 22, visits: 2": (dense, 22, "visits: 2", LIMIT),
    "chain of 2,000": (chain, 2_000, "trail", LIMIT),
}


def measure(row: str) -> None:
    """Print what one row takes: paths, their number, seconds, peak MB."""
    shape, size, rule, limit = ROWS[row]
    chart = flowchart(shape(size), rule)
    begun = time.perf_counter()
    derived = derive(chart, limit)
    seconds = time.perf_counter() - begun
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(len(derived.paths), "beyond" if derived.count is None else derived.count, seconds, peak)


def main() -> None:
    """Print the table, a row at a time."""
    print(f"{'graph':20} {'paths':>9} {'of':>12} {'seconds':>8} {'peak MB':>8} {'ratio':>6}")
    before = None
    for row in ROWS:
        command = [sys.executable, __file__, row]
        paths, number, seconds, peak = subprocess.run(
            command, check=True, text=True, stdout=subprocess.PIPE
        ).stdout.split()
        ratio = f"{float(seconds) / before:.1f}" if before else ""
        before = float(seconds)
        number = number if number == "beyond" else f"{int(number):,}"
        print(
            f"{row:20} {int(paths):>9,} {number:>12} {before:>8.2f} {float(peak):>8.0f} {ratio:>6}",
            flush=True,
        )


if __name__ == "__main__":
    measure(sys.argv[1]) if len(sys.argv) > 1 else main()
