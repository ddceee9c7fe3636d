"""What a procedure allows an agent where the customer says what it likes: every place where the talk may be by now.

A customer that a model plays follows no script, so which way it took out of a hub is known by what the agent does next.
All ways stay open until then. A wrong turn closes none of them, and the walk goes on from what was heard as well.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from subterra.demands import Demand, Run, is_due, legal_runs
from subterra.flowchart import ANSWERED, HEARD, Flowchart


@dataclass
class FreeWalk:
    """Where a talk may be: `places` are customer's nodes, tools, or "" at the start, after which the agent is due."""

    flowchart: Flowchart
    scenario: Mapping
    places: set[str] = field(default_factory=set)
    corrected: bool = False
    ended: bool = False

    def __post_init__(self) -> None:
        self.places = {""} if self.flowchart.opens != "user" else self._waits({self.flowchart.start})

    @property
    def values(self) -> dict[str, str]:
        """The values that hold: the scenario's, corrected once the agent has taken notice."""
        return self.scenario["values"] | (self.scenario["corrected"] if self.corrected else {})

    def demand(self) -> Demand | None:
        """Return what is allowed now; None where nothing is: the talk may have ended without a word."""
        runs = sorted(self._runs(), key=lambda run: (run[0].endswith(ANSWERED), len(run), run))
        due = tuple(dict.fromkeys(run for run in runs if is_due(self.flowchart, run)))
        return Demand("|".join(sorted(self.places)), (0, 0), due, self.values) if due and not self.ended else None

    def may_have_ended(self) -> str | None:
        """Return the outcome of an end without words that may have been reached, None for none.

        Of several the scenario's: nothing that was said tells them apart.
        """
        runs = [run for run in self._runs() if not is_due(self.flowchart, run)]
        outcomes = [self.flowchart.nodes[run[-1]].outcome for run in runs]
        meant = self.scenario["outcome"]
        return meant if meant in outcomes else next(iter(outcomes), None)

    def take(self, run: Run, legal: bool, heard: str) -> None:
        """Go on after an agent's turn: along the run it was taken for; where it was wrong, from what was heard too."""
        if legal:
            self._go(run[-1])
            return
        last = heard.split("+")[-1]
        if last in self.flowchart.nodes:
            before = set(self.places)
            self._go(last)
            self.places |= before

    def _go(self, last: str) -> None:
        name = last.removesuffix(ANSWERED)
        if last.endswith(ANSWERED):  # the customer goes on with what was due
            self.corrected |= bool(self.flowchart.interruptions[name].corrects)
            return
        node = self.flowchart.nodes[last]
        self.ended = node.role == "end"
        users = {way.to for way in node.ways if self.flowchart.speaks(way.to) == "user"}
        self.places = {last} if node.role == "tool" else self._waits(users)

    def _waits(self, nodes: Iterable[str]) -> set[str]:
        """Return customer's nodes with those of the customer that follow them: together they are one turn."""
        found, waiting = set(), list(nodes)
        while waiting:
            name = waiting.pop()
            if name not in found:
                found.add(name)
                waiting += [
                    way.to for way in self.flowchart.nodes[name].ways if self.flowchart.speaks(way.to) == "user"
                ]
        return found

    def _runs(self) -> Iterator[Run]:
        """Yield every run of the agent's steps that may come, an end without words included."""
        for place in sorted(self.places):
            firsts = [way.to for way in self.flowchart.nodes[place].ways] if place else [self.flowchart.start]
            for first in firsts:
                if self.flowchart.speaks(first) != "user":
                    yield from legal_runs(self.flowchart, first, self.values)
            if place and self.flowchart.nodes[place].role == "user":
                for one in self.flowchart.interruptions.values():
                    yield (one.to or one.id + ANSWERED,)


def interrupts(run: Run) -> str:
    """Return the customer's step that a run answers, if it answers an interruption; else ""."""
    return run[0].removesuffix(ANSWERED) + HEARD if run and run[0].endswith(ANSWERED) else ""
