"""A customer and an agent walk a random procedure with values drawn for them alone."""

import random
from collections.abc import Sequence
from dataclasses import replace

from subterra.pretraining import words
from subterra.pretraining.procedures import ANYWHERE, ENTRIES, HUBS, MOVES, Procedure, random_procedure
from subterra.pretraining.talk import Talk

LENGTHS = (10, 14, 16, 18, 22)  # turns after which a talk makes for its end
MINDS = 0.2  # share of the turns in mid-talk in which the agent takes up what it was told, corrected values first


def dialogue(rng: random.Random, more: int = 0) -> dict:
    """Return {system, turns} of a talk along a random procedure.

    So many `more` may follow, each opened by the customer, who then asks back for what was told in the first.
    """
    talk = _walked(rng, random_procedure(rng))
    others: set[str] = set()
    for _ in range(more):
        procedure = random_procedure(rng)
        while procedure.phases[0] == "identify":
            procedure = random_procedure(rng)
        talk.turns += _walked(rng, replace(procedure, agent_first=False, system="")).turns
        others.update(procedure.slots)
    if more:
        _asks_back(talk, sorted(set(talk.known) - others))
    return {"system": talk.system, "turns": talk.turns}


def _walked(rng: random.Random, procedure: Procedure) -> Talk:
    """Return a talk from its beginning to its end."""
    talk = Talk(rng, procedure)
    walk = Walk(talk)
    walk.open()
    while walk.hub:
        walk.step()
    if rng.random() < 0.25 and talk.turns[-1]["role"] == "assistant":
        talk.customer("thank")
        talk.agent(["farewell"])
    return talk


def _asks_back(talk: Talk, slots: Sequence[str]) -> None:
    """Let the customer ask what these slots were, one by one, and confirm them all."""
    for slot in talk.rng.sample(slots, min(len(slots), talk.rng.randint(1, 3))):
        talk.ask_for([slot])
        talk.customer("recall")
        talk.words["new"] = talk.phrase(slot)
        talk.agent(["read_back"])
    if slots:
        talk.about(slots, "agent")
        talk.customer("confirm")
        talk.agent(["done"])


class Walk:
    """Where a talk stands in its procedure."""

    def __init__(self, talk: Talk):
        self.talk = talk
        self.phases = talk.procedure.phases
        self.hub = self.phases[0]
        self.returns: list[str] = []
        self.failed = 0
        self.long = talk.rng.choice(LENGTHS)
        self.looks_up = talk.rng.random() < 0.5
        self.changed = ""  # the slot that was corrected last

    def open(self) -> None:
        """Let the agent greet, where it speaks first."""
        talk = self.talk
        talk.ask_for(talk.missing)
        if self.hub == "identify":
            talk.ask_for([talk.asked])
            talk.agent(["greet_open" if talk.rng.random() < 0.3 else "greet_ask"])
        elif talk.procedure.agent_first:
            rule = "greet_ask" if self.hub == "intake" and talk.rng.random() < 0.5 else "greet_open"
            talk.agent([rule])

    def step(self) -> None:
        """Let the customer act and the agent answer."""
        talk = self.talk
        act = self._act()
        self.prepare(act)
        talk.customer(act)
        move = talk.procedure.ways[self.hub][act]
        self.failed += act in ("not_worked", "cannot_do", "partly")
        if self.hub == "fix" and self.failed > 3:
            move = "unsolved"
        rules, then = MOVES[move]
        if self.looks_up and self.hub == "identify" and act == "give_one":
            talk.look_up()
            rules = ("looked_up", *rules)
        after = self._after(move, then)
        self._renew(move)
        asks = []
        if after and then in ("same", "next"):
            asks = [self._enter(after)]
        elif then == "next" and rules != ("done",):
            asks = ["farewell" if rules else "done"]
        if move == "read_back":
            talk.words["new"] = talk.phrase(self.about)
        else:
            talk.about(talk.known, "agent")
        if asks and talk.known and talk.rng.random() < MINDS:
            talk.mind(self.changed or talk.rng.choice(talk.known))
            rules = (*rules, "minding")
        talk.agent([*rules, *asks], act)
        self.hub = after

    def _act(self) -> str:
        talk = self.talk
        ways = talk.procedure.ways[self.hub]
        parts = {act: share for act, (share, _) in HUBS[self.hub].items() if act in ways and self._possible(act)}
        if len(talk.turns) > self.long:
            return next(iter(parts))
        return talk.rng.choices(list(parts), list(parts.values()))[0]

    def _possible(self, act: str) -> bool:
        talk = self.talk
        if act == "give_some":
            return len(talk.missing) > 1
        if act in ("correct", "recall"):
            return bool(talk.known)
        if act == "ask_repeat":
            return bool(talk.turns)
        if act in ANYWHERE:
            return len(talk.turns) > 1 or talk.rng.random() < 0.2
        return True

    def prepare(self, act: str) -> None:
        """Draw what an act needs, before it is spoken; the values it tells are known from then on."""
        talk, rng = self.talk, self.talk.rng
        if act in ("give_all", "impossible", "give_some", "give_one"):
            self._tell(act)
        elif act in ("accept_first", "accept_second"):
            talk.choose("one" if act == "accept_first" else "two")
        elif act in ("other_kind", "vague", "more"):
            talk.draw_kind()
        elif act in ("correct", "recall"):
            self.about = rng.choice(talk.known)
            talk.ask_for([self.about])
            if act == "correct":
                self.changed = self.about
                talk.values["old"] = talk.values[self.about]
                talk.redraw(self.about)
                talk.words |= {
                    "old": talk.phrase(self.about).replace(self.about, "old"),
                    "new": talk.phrase(self.about),
                }
        elif act == "negotiate":
            talk.values["more"] = words.amount(rng)
            talk.words["new"] = f"{{v_more}} {talk.words['unit']}"
        elif act == "problem":
            talk.values["since"] = words.date(rng)
            talk.words["new"] = "{v_since}"
        elif act == "redo_details":
            self.changed = ""
            talk.missing, talk.known = list(talk.procedure.slots), []
            for slot in talk.missing:
                talk.redraw(slot)

    def _tell(self, act: str) -> None:
        talk = self.talk
        if self.hub == "identify":
            told = [talk.asked]
        elif act == "give_some":
            told = talk.rng.sample(talk.missing, talk.rng.randint(1, len(talk.missing) - 1))
        else:
            told = list(talk.missing)
        talk.about(told, "customer")
        talk.known += told
        talk.missing = [slot for slot in talk.missing if slot not in told]

    def _after(self, move: str, then: str) -> str:
        """Return the hub that follows, "" for the end."""
        if then == "end":
            return ""
        if move == "welcome_back":
            return self.returns.pop()
        if move == "wait":
            self.returns.append(self.hub)
        if then == "same":
            return "follow" if self.hub == "question" else self.hub
        if then != "next":
            return then
        if move == "finish":
            return "follow" if "follow" in self.phases and self.hub != "follow" else ""
        place = self.phases.index(self.hub) if self.hub in self.phases else self.phases.index("intake")
        return self.phases[place + 1] if place + 1 < len(self.phases) else ""

    def _enter(self, hub: str) -> str:
        """Prepare what the agent says when a hub begins or asks again; return its rule."""
        talk = self.talk
        if hub == "choice" and ("one" not in talk.words or hub != self.hub):
            talk.offer()
        if hub in ("fix", "docs") and hub != self.hub:
            talk.words["part"] = talk.rng.choice(talk.procedure.parts)
        if hub == "docs":
            talk.words["slot"] = talk.words["part"]
        if hub in ("intake", "rest") and talk.missing:
            talk.ask_for(talk.missing)
        if hub == "identify":
            talk.ask_for([talk.asked])
        if hub == "rest" and not talk.known:
            return "ask_all"
        return ENTRIES[hub]

    def _renew(self, move: str) -> None:
        """Prepare what a move needs: new offers, another part, the slots that are missing."""
        talk = self.talk
        if move in ("others", "other_kind", "before_that", "retain"):
            talk.offer()
        elif move in ("fix_next", "fix_other", "fix_partly"):
            talk.words["part"] = talk.rng.choice(talk.procedure.parts)
        elif move == "better":
            talk.values["price"] = words.amount(talk.rng)
            talk.words["price"] = talk.words["new"] if talk.rng.random() < 0.5 else f"{{v_price}} {talk.words['unit']}"
        elif move in ("ask_rest", "redo"):
            talk.ask_for(talk.missing)


def utterance(rng: random.Random, act: str) -> str:
    """Return one way to say an act, in a situation made up for it."""
    return paraphrases(rng, act, 1)[0]["content"]


def paraphrases(rng: random.Random, act: str, count: int) -> list[dict]:
    """Return the turns of a customer who says an act in several ways, in one situation made up for it."""
    procedure = random_procedure(rng)
    while act == "impossible" and "money" not in procedure.slots:
        procedure = random_procedure(rng)
    talk = Talk(rng, procedure)
    walk = Walk(talk)
    walk.hub = "intake"
    if act not in ("give_all", "give_some", "give_one", "impossible"):
        talk.known, talk.missing = list(procedure.slots), []
    talk.ask_for([talk.asked])
    talk.offer()
    walk.prepare(act)
    if act in ("accept_first", "accept_second"):
        talk.words["pick"] = "option one" if act == "accept_first" else "option two"  # nobody has named the offers
    for _ in range(count):
        talk.customer(act)
    return talk.turns
