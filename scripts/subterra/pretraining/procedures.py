"""Random procedures: a topic, what has to be asked, hubs that branch on what the customer wants, and a system prompt.

A procedure is a row of phases. In each phase the customer acts, and within one procedure the same act always brings
the same move of the agent; where several moves make sense, the procedure has drawn one, and its system prompt may say
which.
"""

import random
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import yaml

from subterra.pretraining import words
from subterra.pretraining.grammar import Grammar, sentences, with_article

HERE = Path(__file__).parent

# Move: the rules it speaks, and where it leads: a hub, "same" (the hub asks again), "next" (the next phase) or "end".
MOVES: dict[str, tuple[tuple[str, ...], str]] = {
    "on": ((), "next"),
    "ask_rest": (("ask_rest",), "rest"),
    "clarify": (("clarify",), "intake"),
    "adjust": (("adjust",), "modest"),
    "insisted": (("insisted",), "modest"),
    "got_one": (("got_one",), "next"),
    "without": (("without",), "next"),
    "where_found": (("where_found",), "same"),
    "reassure": (("reassure",), "same"),
    "explain": (("explain",), "same"),
    "diagnose": (("diagnose",), "next"),
    "sum_pick": (("sum_pick",), "final"),
    "others": (("others",), "choice"),
    "other_kind": (("other_kind",), "choice"),
    "before_that": (("before_that",), "choice"),
    "redo": (("redo",), "intake"),
    "corrected": (("corrected",), "final"),
    "changed": (("changed",), "same"),
    "ask_reason": (("ask_reason",), "reason"),
    "retain": (("retain",), "last_offer"),
    "fixed": (("fixed",), "next"),
    "fix_next": (("fix_next",), "fix"),
    "fix_other": (("fix_other",), "fix"),
    "fix_partly": (("fix_partly",), "fix"),
    "docs_in": (("docs_in",), "next"),
    "better": (("better",), "settle"),
    "wait": (("wait",), "away"),
    "welcome_back": (("welcome_back",), "same"),
    "again": (("again",), "same"),
    "calm": (("calm",), "same"),
    "off_topic": (("off_topic",), "same"),
    "price": (("price",), "same"),
    "delay": (("delay",), "same"),
    "read_back": (("read_back",), "same"),
    "go_on": (("go_on",), "question"),
    "finish": (("done",), "next"),
    "transfer": (("transfer",), "end"),
    "closed": (("closed",), "end"),
    "danger": (("danger",), "end"),
    "review": (("review",), "end"),
    "pending": (("pending",), "end"),
    "unsolved": (("unsolved",), "end"),
    "farewell": (("farewell",), "end"),
}
# Hub: each act that may come there, how often (parts), and the moves a procedure chooses from. The first act leads on.
ANYWHERE: dict[str, tuple[float, tuple[str, ...]]] = {
    "want_human": (0.5, ("transfer",)),
    "ask_repeat": (0.4, ("again",)),
    "off_topic": (0.2, ("off_topic",)),
    "complain": (0.25, ("calm", "transfer")),
    "danger": (0.05, ("danger",)),
    "correct": (0.8, ("changed",)),
}
HUBS: dict[str, dict[str, tuple[float, tuple[str, ...]]]] = {
    "intake": {
        "give_all": (4, ("on",)),
        "give_some": (4, ("ask_rest",)),
        "vague": (3, ("clarify",)),
        "impossible": (2, ("adjust",)),
        "cancel": (0.4, ("closed", "ask_reason")),
        "ask_why": (0.4, ("explain",)),
    }
    | ANYWHERE,
    "rest": {
        "give_one": (6, ("on", "got_one")),
        "dont_know": (1, ("without", "where_found", "transfer")),
        "refuse": (1, ("reassure", "without", "explain")),
        "wait": (0.5, ("wait",)),
        "ask_why": (0.5, ("explain", "reassure")),
    }
    | ANYWHERE,
    "modest": {
        "compromise": (4, ("on",)),
        "insist": (1, ("insisted", "transfer")),
        "cancel": (1, ("closed", "ask_reason")),
        "want_human": (0.5, ("transfer",)),
    },
    "identify": {
        "give_one": (5, ("got_one", "on")),
        "dont_know": (2, ("without", "where_found", "transfer")),
        "refuse": (2, ("reassure", "explain", "closed")),
        "wait": (1, ("wait",)),
        "ask_why": (1, ("explain", "reassure")),
    }
    | ANYWHERE,
    "triage": {"problem": (8, ("diagnose",))} | ANYWHERE,
    "choice": {
        "accept_first": (2, ("sum_pick", "on")),
        "accept_second": (2, ("sum_pick", "on")),
        "ask_others": (3, ("others",)),
        "redo_details": (1.5, ("redo",)),
        "other_kind": (1.5, ("other_kind",)),
        "cancel": (1, ("closed", "ask_reason")),
        "postpone": (0.7, ("pending",)),
        "ask_price": (0.7, ("price",)),
        "ask_time": (0.4, ("delay",)),
    }
    | ANYWHERE,
    "final": {
        "confirm": (4, ("finish",)),
        "cancel": (1.5, ("closed", "ask_reason")),
        "hesitate": (2, ("before_that",)),
        "postpone": (1, ("pending",)),
        "redo_details": (0.6, ("redo",)),
        "ask_price": (0.4, ("price",)),
        "recall": (0.6, ("read_back",)),
    }
    | ANYWHERE
    | {"correct": (2, ("corrected",))},
    "reason": {"give_reason": (4, ("retain", "closed")), "refuse_reason": (1, ("closed",))},
    "last_offer": {"accept": (1, ("finish",)), "cancel": (1, ("closed",)), "ask_price": (0.3, ("price",))},
    "fix": {
        "worked": (3, ("fixed",)),
        "not_worked": (4, ("fix_next", "unsolved")),
        "cannot_do": (1.5, ("fix_other", "unsolved", "transfer")),
        "partly": (1, ("fix_partly",)),
        "cancel": (0.4, ("closed",)),
        "wait": (0.4, ("wait",)),
    }
    | ANYWHERE,
    "docs": {
        "ready": (5, ("docs_in",)),
        "dont_know": (1, ("without", "where_found")),
        "refuse": (1, ("reassure", "explain")),
        "wait": (0.6, ("wait",)),
        "ask_why": (0.6, ("explain",)),
    }
    | ANYWHERE,
    "settle": {
        "accept": (3, ("finish", "on")),
        "postpone": (1.5, ("pending",)),
        "negotiate": (2, ("better", "transfer")),
        "dispute": (1.5, ("review", "transfer")),
        "cancel": (0.6, ("closed", "ask_reason")),
        "ask_why": (0.5, ("explain",)),
    }
    | ANYWHERE,
    "away": {"back": (1, ("welcome_back",))},
    "follow": {"no_more": (2, ("farewell",)), "thank": (1, ("farewell",)), "more": (2, ("go_on",))},
    "question": {"ask_price": (1, ("price",)), "ask_time": (1, ("delay",)), "recall": (3, ("read_back",))},
}
# What the agent says when a phase begins, and again when it has to ask once more.
ENTRIES = {
    "intake": "ask_all", "rest": "ask_rest", "modest": "adjust", "identify": "ask_one", "triage": "greet_open",
    "choice": "offer", "final": "sum_up", "reason": "ask_reason", "last_offer": "retain", "fix": "fix_first",
    "docs": "send_docs", "settle": "settle", "follow": "follow_up", "question": "follow_up",
}  # fmt: skip
PLANS = (
    ("intake", "choice", "final"), ("intake", "final"), ("intake", "choice"), ("intake", "docs", "final"),
    ("identify", "intake", "choice", "final"), ("identify", "docs", "settle"), ("intake", "settle"), ("triage", "fix"),
    ("triage", "identify", "fix"), ("triage", "identify", "docs", "settle"), ("triage", "choice", "final"),
    ("triage", "fix", "settle"), ("intake", "fix", "final"), ("triage", "intake", "fix"),
)  # fmt: skip


# Slots that fit anywhere, filled with everyday words in unheard combinations; and the share of slots that they replace.
THINGS = ("device", "occasion", "item", "paper", "spot", "cause", "contact")
THING = 0.6


@dataclass(frozen=True)
class Procedure:
    """One procedure. `ways` names the move after each act in each hub; `words` fill the phrasings."""

    phases: tuple[str, ...]
    slots: tuple[str, ...]
    ways: dict[str, dict[str, str]]
    words: dict[str, str]
    values: dict[str, str]
    needs: dict[str, list[str]]
    offers: tuple[str, ...]
    kinds: tuple[str, ...]
    parts: tuple[str, ...]
    agent_first: bool
    system: str


@cache
def customer() -> Grammar:
    """Return the grammar of customers."""
    return Grammar(HERE / "customer.grammar", *sorted(HERE.glob("customer_*.grammar")))


@cache
def agent() -> Grammar:
    """Return the grammar of agents."""
    return Grammar(HERE / "agent.grammar")


@cache
def topics() -> list[dict]:
    """Return what procedures may be about."""
    return yaml.safe_load((HERE / "topics.yaml").read_text(encoding="utf-8"))


@cache
def slot_kinds() -> dict[str, dict]:
    """Return what a procedure may ask for: how each slot's value is made, what it is called and how it is told."""
    return yaml.safe_load((HERE / "slots.yaml").read_text(encoding="utf-8"))


def acts() -> dict[str, tuple[str, ...]]:
    """Return the acts of customers with the ways to name each."""
    return {name: tuple(meaning.split("|")) for name, meaning in customer().meanings.items() if meaning}


def random_procedure(rng: random.Random) -> Procedure:
    """Return a procedure that nobody has seen before."""
    topic = rng.choice(topics())
    phases = rng.choice(PLANS)
    if rng.random() < 0.4:
        phases += ("follow",)
    ways = {hub: {act: rng.choice(moves) for act, (_, moves) in acts.items()} for hub, acts in HUBS.items()}
    if "choice" not in phases:
        del ways["final"]["hesitate"]
    if "final" not in phases:
        ways["choice"] |= {"accept_first": "finish", "accept_second": "finish"}
    if "intake" not in phases:
        for hub in ("choice", "final"):
            del ways[hub]["redo_details"]
    slots = rng.sample(topic["slots"], min(len(topic["slots"]), rng.choice((2, 3, 3, 4, 4, 5))))
    things = rng.sample(THINGS, len(slots))
    slots = [thing if rng.random() < THING else slot for slot, thing in zip(slots, things, strict=True)]
    if "money" not in slots:
        del ways["intake"]["impossible"]
    thing = rng.choice(topic["thing"])
    return Procedure(
        phases=phases,
        slots=tuple(slots),
        ways=ways,
        words={
            "desk": rng.choice(topic["desk"]),
            "thing": thing,
            "things": thing + ("es" if thing.endswith(("s", "x")) else "s"),
            "a_thing": with_article(thing),
            "wish": rng.choice(topic["wish"]),
            "unit": rng.choice(words.UNITS),
        },
        values={"brand": words.brand(rng), "agent": rng.choice(words.FIRST_NAMES)},
        needs=topic["needs"],
        offers=tuple(topic["offers"]),
        kinds=tuple(topic["kinds"]),
        parts=tuple(topic["parts"]),
        agent_first=rng.random() < 0.6,
        system=_system(rng, phases, ways),
    )


def _system(rng: random.Random, phases: tuple[str, ...], ways: dict[str, dict[str, str]]) -> str:
    """Return a system prompt with its words still to be filled; often none of the rules, sometimes many."""
    if rng.random() < 0.1:
        return ""
    text = sentences(agent().draw(rng, "system_plain"))
    if rng.random() < 0.3:
        known, names = agent().meanings, acts()
        rules = {(act, move) for hub in phases for act, move in ways[hub].items() if known.get(move) and act in names}
        for act, move in rng.sample(sorted(rules), min(len(rules), rng.randint(1, 5))):
            lead = rng.choice(("If the customer", "When a customer", "Where somebody", "Once the customer"))
            text += f" {lead} {rng.choice(names[act])}, {known[move]}."
    return text
