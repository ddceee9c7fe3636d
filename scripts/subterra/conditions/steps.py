"""What a program asks a model at each step of a flowchart, as plain data, and how it reads the answers.

It is the same for every program that walks the flowchart (a graph of LangGraph, a flow of CrewAI), and needs nothing
but the standard library, so that a program in an environment of its own can use it.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from subterra.conditions.procedure import fact_lines, reason
from subterra.conditions.talk import transcript
from subterra.flowchart import ANSWERED, Flowchart, Node
from subterra.prompts import Prompts
from subterra.text import names
from subterra.tools import unfilled as unfilled

TALK = "\0talk\0"  # stands in a prompt for the talk so far
SAYS, HEARS, CALLS, ENDS = "says", "hears", "calls", "ends"  # what is done at a step; an end without words only ends
BEGINS = re.compile(r"[\W_]*([A-Za-z]{1,2})(?:\s*$|[\W_]*[).:*\n])")
NAMED = re.compile(r"\b(?:[Ll]etter|[Aa]nswer|[Cc]hoice|[Oo]ption)\b(?: is)?[\W_]*\b([A-Z]{1,2})\b")


@dataclass(frozen=True)
class Step:
    """A step of the flowchart: what is asked there, and where it leads to.

    `speak`, `route` and `fill` are prompts, with TALK in them where the talk belongs, `route_again` and `fill_again`
    what follows an answer that cannot be read. `options` are the ways on: (letter, the step it leads to); a model
    chooses where there are several. Of a tool, `fill` is "" where all arguments are constant, and `results` is what it
    answers on each way, a template for each key.
    """

    id: str
    kind: str
    speak: str
    route: str
    options: tuple[tuple[str, str], ...]
    tool: str
    arguments: Mapping[str, str]
    results: Mapping[str, Mapping[str, str]]
    fill: str
    route_again: str
    fill_again: str
    last: bool

    @classmethod
    def of(cls, data: Mapping[str, Any]) -> "Step":
        """Return a step from what `dataclasses.asdict` and JSON made of it."""
        return cls(**{**data, "options": tuple((letter, to) for letter, to in data["options"])})

    def chosen(self, answer: str) -> str | None:
        """Return the step that an answer to `route` chooses, None for an answer that names none."""
        leads = dict(self.options)
        return leads.get(read_letter(answer, list(leads)))

    def filled(self, answer: str) -> dict[str, str] | None:
        """Return the arguments in an answer to `fill`, None where it has not all of them."""
        found = read_object(answer)
        if found is None or not self.arguments.keys() <= found.keys():
            return None
        return {key: template if not names(template) else _text(found[key]) for key, template in self.arguments.items()}

    def after(self, result: str) -> str | None:
        """Return the step that a tool's answer leads to by its form alone, None where that does not decide."""
        if len(self.options) == 1:
            return self.options[0][1]
        told = read_object(result) or {}
        texts = {key: _text(value) for key, value in told.items()}
        found = [to for to, template in self.results.items() if unfilled(template, texts) is not None]
        exact = [to for to in found if self.results[to] == texts]
        found = exact or found
        return found[0] if len(found) == 1 else None


def steps_of(flowchart: Flowchart, speaking: Prompts) -> dict[str, Step]:
    """Return the steps of a flowchart and the answers to its interruptions by name.

    `speaking` has the prompt of what is asked where the agent speaks; the others are the same for all programs.
    """
    prompts = Prompts("orchestrated")
    answers = [flowchart.step(name + ANSWERED) for name, one in flowchart.interruptions.items() if not one.to]
    steps = [_step(flowchart, node, prompts, speaking) for node in [*flowchart.nodes.values(), *answers]]
    return {step.id: step for step in steps}


def _step(flowchart: Flowchart, node: Node, prompts: Prompts, speaking: Prompts) -> Step:
    kind = {"agent": SAYS, "user": HEARS, "tool": CALLS}.get(node.speaker or "", ENDS)
    ways = [(way.to, reason(flowchart, way)) for way in node.ways]
    if kind == HEARS:
        ways += [(one.to or name + ANSWERED, one.when) for name, one in flowchart.interruptions.items()]
    options = [(letter(number), to) for number, (to, _) in enumerate(ways)]
    reasons = [(letter(number), why) for number, (_, why) in enumerate(ways)]
    arguments = node.call.arguments if node.call else {}
    facts = {name: flowchart.knowledge[name] for name in node.demands if name in flowchart.knowledge}
    asked = {"system": flowchart.system, "talk": TALK}
    interruption = flowchart.interruptions.get(node.id.removesuffix(ANSWERED))
    corrects = bool(interruption and node.id.endswith(ANSWERED) and interruption.corrects)
    told = {"instruction": node.prompt, "names": names(node.prompt), "corrects": corrects, "facts": fact_lines(facts)}
    return Step(
        id=node.id,
        kind=kind,
        speak=speaking.write("speak", **told, **asked) if kind == SAYS else "",
        route=prompts.write("route", role=node.role, options=reasons, **asked) if len(options) > 1 else "",
        options=tuple(options),
        tool=node.call.name if node.call else "",
        arguments=arguments,
        results={way.to: way.result for way in node.ways if way.result},
        fill=prompts.write("call", tool=node.call.name, arguments=arguments, **asked) if node.asks else "",
        route_again=prompts.write("again", letters=[key for key, _ in options]),
        fill_again=prompts.write("again", letters=[]),
        last=node.role == "end",
    )


def about(prompt: str, talk: Sequence[Mapping]) -> list[dict[str, str]]:
    """Return a prompt with the talk so far in it, as the only message."""
    return [{"role": "user", "content": prompt.replace(TALK, transcript(talk))}]


def letter(number: int) -> str:
    """Return the letter of an option: A to Z, then AA, AB and so on.

    >>> [letter(number) for number in (0, 25, 26)]
    ['A', 'Z', 'AA']
    """
    first, last = divmod(number, 26)
    return (letter(first - 1) if first else "") + chr(ord("A") + last)


def read_letter(answer: str, letters: Sequence[str]) -> str | None:
    """Return the letter that an answer gives; None where it gives none, or more than one.

    >>> [read_letter(answer, "ABC") for answer in ("b", "**C**: they agree.", "The answer is A.", "A customer", "D")]
    ['B', 'C', 'A', None, None]
    """
    answer = answer.rpartition("</think>")[2].strip()
    found = BEGINS.match(answer)
    given = {found[1].upper()} if found else set(NAMED.findall(answer))
    return given.pop() if len(given) == 1 and given <= set(letters) else None


def read_object(answer: str) -> dict | None:
    """Return the JSON object in an answer, None where there is none.

    >>> read_object('Here: {"order": "7"}')
    {'order': '7'}
    """
    answer = answer.rpartition("</think>")[2]
    start = answer.find("{")
    if start < 0:
        return None
    try:
        return json.JSONDecoder().raw_decode(answer[start:])[0]
    except ValueError:
        return None


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
