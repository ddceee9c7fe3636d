"""What a conversation has to be, turn by turn: who speaks, what for, what it must show and which values are said.

It is what a model is given as its task, and what its words are checked against.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from subterra.text import fill, filled, names, readable

SPEAKERS = {"agent": "agent", "user": "customer", "tool": "tool"}


@dataclass
class Turn:
    """One turn. `steps` are indices of the steps that it speaks, `task` and `shows` a text a step, `says` by variable.

    Of a tool's turn, `answers` is what it answers. `choices` are the other things that the customer might have meant.
    """

    number: int
    speaker: str
    steps: list[int] = field(default_factory=list)
    task: list[str] = field(default_factory=list)
    shows: list[str] = field(default_factory=list)
    says: dict[str, str] = field(default_factory=dict)
    answers: dict[str, str] = field(default_factory=dict)
    choices: list[str] = field(default_factory=list)

    def line(self, **more) -> str:
        """Return the turn as one line of JSON, as prompts show it."""
        told = {"turn": self.number, "speaker": self.speaker, **more}
        told |= {key: getattr(self, key) for key in ("task", "shows", "says") if getattr(self, key)}
        return readable(told | ({"says": self.answers} if self.answers else {}))


def script(steps: Sequence[Mapping], values: Sequence[Mapping[str, str]], facts: Collection[str] = ()) -> list[Turn]:
    """Return the turns of a conversation from its steps (draws.step_of) and the values that hold at each.

    Steps of one speaker in a row are one turn. `facts` are names that the agent knows by heart. Where a spec leaves the
    customer's words to the teacher, a value that the agent needs is said by the customer's last turn before.
    """
    found: list[Turn] = []
    spoken = [_says(step, now) for step, now in zip(steps, values, strict=True)]
    _say_in_time(steps, values, spoken, facts)
    for index, (step, now, says) in enumerate(zip(steps, values, spoken, strict=True)):
        if not step["speaker"]:
            continue
        speaker = SPEAKERS[step["speaker"]]
        if not found or found[-1].speaker != speaker or speaker == "tool":
            found.append(Turn(len(found) + 1, speaker))
        turn = found[-1]
        turn.steps.append(index)
        if speaker == "tool":
            turn.answers = filled(step["result"], now)
            continue
        turn.task += [_told(step["prompt"], now)] if step["prompt"] else []
        turn.shows += [step["when"]] if step["when"] and speaker == "customer" else []
        turn.says |= {name: now[name] for name in says}
        turn.choices += step.get("choices", [])
    return found


def _says(step: Mapping, now: Mapping[str, str]) -> list[str]:
    """Return the variables that a step says: those its prompt names, and those that each of its phrasings names."""
    said = dict.fromkeys([*step["demands"], *(name for name in names(step["prompt"]) if name in now)])
    if step["speaker"] == "user" and step["says"]:
        shared = set.intersection(*(set(names(line)) for line in [*step["says"], *step["held_out_says"]]))
        said |= dict.fromkeys(sorted(shared))
    return list(said) if step["speaker"] in ("agent", "user") else []


def _say_in_time(
    steps: Sequence[Mapping], values: Sequence[Mapping[str, str]], spoken: list[list[str]], facts: Collection[str]
) -> None:
    """Add to what customers say, where no phrasing tells, what the agent needs and nobody has said."""
    known = set(facts)
    for index, step in enumerate(steps):
        needed = list(spoken[index]) if step["speaker"] == "agent" else []
        if step["speaker"] == "tool":
            needed = [name for template in step["call"]["arguments"].values() for name in names(template)]
        for name in needed:
            if name not in known:
                free = [at for at in range(index) if steps[at]["speaker"] == "user" and not steps[at]["says"]]
                if free and name in values[free[-1]]:
                    spoken[free[-1]].append(name)
        known |= {*needed, *spoken[index]}
        if step["speaker"] == "tool":
            known |= {name for template in step["result"].values() for name in names(template)}


def _told(prompt: str, now: Mapping[str, str]) -> str:
    return fill(prompt, {name: now.get(name, name) for name in names(prompt)})
