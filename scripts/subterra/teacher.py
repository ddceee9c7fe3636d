"""A model as the teacher: it writes a conversation at once, or turn by turn, and writes again what does not fit.

Every request is the prompt files filled in, so that an edit of one asks anew and nothing else does. What is the same in
all requests comes first, and within a conversation each request continues the one before: providers charge less for a
beginning that they know.
"""

import json
import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from subterra.models.asking import Answer, Asker
from subterra.prompts import Prompts
from subterra.quality import faults_of, kind
from subterra.script import Turn, script
from subterra.text import fraction, readable

OBJECT = re.compile(r"\{.*\}", re.DOTALL)  # models like to put words around it
OPEN = "none"  # the choice of a reader whom the words leave in doubt
CUT = {
    "length": "the answer is cut off: raise max_tokens in teacher.parameters",
    "refusal": "the model refuses to write it",
    "content_filter": "the endpoint's filter keeps the answer back",
}

Faults = dict[int, list[str]]  # by turn


class Unfit(Exception):
    """A conversation that does not fit its path after all tries; says why."""


@dataclass
class Writing:
    """A conversation on its way: its turns, their words so far, what was asked, answered and found wrong.

    `scenario` is what its prompts know, `messages` the talk with the model, `places` how many of them there were when
    it was asked for a turn.
    """

    name: str
    turns: list[Turn]
    scenario: dict
    salt: str
    messages: list[dict]
    texts: dict[int, str] = field(default_factory=dict)
    places: dict[int, int] = field(default_factory=dict)
    answers: list[Answer] = field(default_factory=list)
    faults: Counter = field(default_factory=Counter)

    @property
    def spoken(self) -> list[Turn]:
        """The turns that somebody says."""
        return [turn for turn in self.turns if turn.speaker != "tool"]

    @property
    def hubs(self) -> list[Turn]:
        """The turns in which the customer may mean one of several things."""
        return [turn for turn in self.spoken if len(set(turn.choices)) > 1]

    def as_json(self, texts: Mapping[int, str]) -> str:
        """Return words by turn, as they are asked for."""
        told = [{"turn": one.number, "speaker": one.speaker, "text": texts[one.number]} for one in self.spoken]
        return readable({"turns": told})

    def lines(self, steps: int) -> list[str]:
        """Return the words of each of so many steps: a turn's at its first step, "" for the others."""
        found = [""] * steps
        for turn in self.spoken:
            found[turn.steps[0]] = self.texts[turn.number]
        return found


class ModelTeacher:
    """Writes conversations by asking a model.

    `settings` are those of the config's `teacher` that shape what is written, `system` the agent's own prompt, `facts`
    the names of what it knows by heart, and `ids` node ids, which must never be said.
    """

    def __init__(
        self, settings: Mapping[str, Any], asker: Asker, system: str, facts: Collection[str], ids: Collection[str]
    ):
        self.settings, self.asker = settings, asker
        self.facts, self.ids = frozenset(facts), frozenset(ids)
        self.prompts = Prompts("teacher")
        self.system = self.prompts.write("system", system=system)
        self.styles = self.prompts.styles

    def begin(
        self, name: str, steps: Sequence[Mapping], values: Sequence[Mapping[str, str]], seed: str, twin: str = ""
    ) -> Writing:
        """Return a conversation of which nothing is written; `twin` is the text of one that it has to differ from."""
        turns = script(steps, values, self.facts)
        known = {key: text for turn in turns if turn.speaker == "customer" for key, text in turn.says.items()}
        scenario = {
            "style": self.styles[int(fraction(seed, "style") * len(self.styles))],
            "known": known,
            "facts": {key: text for now in values for key, text in now.items() if key in self.facts},
            "twin": twin,
        }
        return Writing(name, turns, scenario, seed, [{"role": "system", "content": self.system}])

    async def write(self, writing: Writing) -> None:
        """Write a conversation that was begun, so that it fits its steps. Raises Unfit, and what its asker raises."""
        if self.settings["mode"] == "conversation":
            await self._write_at_once(writing)
        else:
            await self._write_by_turn(writing)

    # -- a conversation at once ------------------------------------------------------------------------------------

    def first_request(self, writing: Writing) -> list[dict]:
        """Return the messages that ask for a whole conversation."""
        lines = [turn.line() for turn in writing.turns]
        prompt = self.prompts.write("conversation", lines=lines, first=writing.spoken[0].speaker, **writing.scenario)
        return [*writing.messages, {"role": "user", "content": prompt}]

    async def _write_at_once(self, writing: Writing) -> None:
        whole = writing.messages = self.first_request(writing)
        wrong: Faults = {}
        for trial in range(self.settings["rewrites"] + 1):
            answer = await self._ask(writing, writing.messages, trial, as_json=True)
            expected = [turn for turn in writing.spoken if not writing.texts or turn.number in wrong]
            told = self._read(answer, expected, writing)
            if told is None:
                continue
            writing.texts |= told
            wrong = await self._wrong(writing)
            if not wrong:
                return
            mend = self._mend(writing, wrong, one=False)
            writing.messages = [*whole, {"role": "assistant", "content": writing.as_json(writing.texts)}, mend]
        raise self._unfit(writing, wrong)

    def _read(self, answer: Answer, expected: Sequence[Turn], writing: Writing) -> dict[int, str] | None:
        """Return the words by turn in an answer; None where it is not what was asked for."""
        if answer.finish in CUT:
            return self._note(writing, CUT[answer.finish])
        try:
            entries = _object(answer.text)["turns"]
            told = {int(entry["turn"]): (str(entry["speaker"]).lower(), str(entry["text"])) for entry in entries}
        except (ValueError, KeyError, TypeError):
            return self._note(writing, "the answer is not the JSON that was asked for")
        if len(entries) != len(expected) or told.keys() != {turn.number for turn in expected}:
            return self._note(writing, "the answer has other turns than were asked for")
        if any(told[turn.number][0] != turn.speaker for turn in expected):
            return self._note(writing, "the answer has other speakers than were asked for")
        return {number: text.strip() for number, (_, text) in told.items()}

    # -- turn by turn ----------------------------------------------------------------------------------------------

    def request_of(self, writing: Writing, turn: Turn) -> dict:
        """Return the message that asks for one turn: the tools' answers before it, and its task."""
        before = [one for one in writing.turns if one.number < turn.number]
        tools = []
        while before and before[-1].speaker == "tool":
            tools.insert(0, before.pop())
        lines = [one.line() for one in (*tools, turn)]
        opens = turn is writing.spoken[0]
        prompt = self.prompts.write(
            "turn", lines=lines, opens=opens, turn=turn.number, speaker=turn.speaker, **writing.scenario
        )
        return {"role": "user", "content": prompt}

    async def _write_by_turn(self, writing: Writing) -> None:
        for turn in writing.spoken:
            writing.messages.append(self.request_of(writing, turn))
            writing.places[turn.number] = len(writing.messages)
            await self._write_turn(writing, turn)
            writing.messages.append({"role": "assistant", "content": writing.texts[turn.number]})
        for _ in range(self.settings["rewrites"]):
            if not (wrong := await self._wrong(writing)):
                return
            for turn in writing.spoken:
                if turn.number in wrong:
                    await self._write_turn(writing, turn, wrong[turn.number])
        if wrong := await self._wrong(writing):
            raise self._unfit(writing, wrong)

    async def _write_turn(self, writing: Writing, turn: Turn, wrong: Sequence[str] = ()) -> None:
        """Write one turn, for the first time or with what is wrong with it put right."""
        for trial in range(self.settings["rewrites"] + 1):
            messages = writing.messages[: writing.places[turn.number]]
            if wrong:
                said = {"role": "assistant", "content": writing.texts[turn.number]}
                messages = [*messages, said, self._mend(writing, {turn.number: wrong}, one=True)]
            answer = await self._ask(writing, messages, trial)
            writing.texts[turn.number] = answer.text.strip()
            if answer.finish in CUT:
                self._note(writing, CUT[answer.finish])
                wrong = ()
            elif not (wrong := self._count(writing, faults_of(turn, answer.text, self.ids))):
                return
        raise self._unfit(writing, {turn.number: list(wrong)})

    # -- what both need --------------------------------------------------------------------------------------------

    async def _ask(self, writing: Writing, messages: list[dict], trial: int, as_json: bool = False) -> Answer:
        answer = await self.asker.ask(messages, f"{writing.salt} {trial}", writing.name, as_json)
        writing.answers.append(answer)
        return answer

    async def _wrong(self, writing: Writing) -> Faults:
        """Return what is wrong with the words of a conversation: by the rules, then to a reader who knows no more."""
        found = {turn.number: faults_of(turn, writing.texts[turn.number], self.ids) for turn in writing.spoken}
        wrong = {number: faults for number, faults in found.items() if faults}
        if not wrong and self.settings["check_when"]:
            wrong = await self._not_plain(writing)
        for faults in wrong.values():
            self._count(writing, faults)
        return wrong

    async def _not_plain(self, writing: Writing) -> Faults:
        """Let the model say, from the customer's words alone, which way was meant; return the turns it gets wrong.

        Where it never answers as it was asked to, nothing is held against the words.
        """
        hubs = {turn.number: turn for turn in writing.hubs}
        if not hubs:
            return {}
        choices = {number: offered(turn, writing.salt) for number, turn in hubs.items()}
        lines = [
            readable({"turn": number, "text": writing.texts[number], "choices": given})
            for number, given in choices.items()
        ]
        prompt = self.prompts.write("check", lines=lines, turn=next(iter(hubs)))
        for trial in range(self.settings["rewrites"] + 1):
            answer = await self._ask(writing, [{"role": "user", "content": prompt}], trial, as_json=True)
            try:
                entries = _object(answer.text)["answers"]
                chosen = {int(one["turn"]): choices[int(one["turn"])].get(one["choice"], "") for one in entries}
            except (ValueError, KeyError, TypeError):
                self._note(writing, "the reader's answer is not the JSON that was asked for")
                continue
            return {
                number: [f"does not make plain that {turn.shows[-1]}"]
                for number, turn in hubs.items()
                if chosen.get(number) not in turn.shows
            }
        return {}

    def _mend(self, writing: Writing, wrong: Faults, one: bool) -> dict:
        turns = [turn for turn in writing.spoken if turn.number in wrong]
        lines = [turn.line(wrong=wrong[turn.number]) for turn in turns]
        prompt = self.prompts.write("repair", lines=lines, one=one, turn=turns[0].number, speaker=turns[0].speaker)
        return {"role": "user", "content": prompt}

    def _count(self, writing: Writing, faults: list[str]) -> list[str]:
        writing.faults.update(kind(fault) for fault in faults)
        return faults

    def _note(self, writing: Writing, reason: str) -> None:
        writing.faults[reason] += 1

    def _unfit(self, writing: Writing, wrong: Faults) -> Unfit:
        faults = [fault for found in wrong.values() for fault in found]
        return Unfit(kind(faults[0]) if faults else next(reversed(writing.faults), "no answer fits"))


def _object(text: str) -> dict:
    """Return the JSON object in an answer. Raises ValueError where there is none."""
    found = OBJECT.search(text)
    return json.loads(found.group() if found else text)


def offered(turn: Turn, salt: str) -> dict[str, str]:
    """Return what the customer may have meant, in an order drawn by lot, under letters."""
    drawn = sorted(set(turn.choices), key=lambda choice: fraction(salt, turn.number, choice))
    return {chr(ord("a") + place): choice for place, choice in enumerate(drawn)} | {OPEN: "none of them for sure"}
