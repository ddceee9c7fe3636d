"""What is said in a dialogue: the customer's and the agent's words, filled with values drawn for this talk alone.

The agent never names a value of the customer's that the customer has not told. What a turn says for the first time
(for the agent: an offer, a price, a code) is in its `own`, what it takes up again is in its `values`.
"""

import json
import random
import re
from collections.abc import Sequence

from subterra.pretraining import words
from subterra.pretraining.grammar import sentences, with_article
from subterra.pretraining.procedures import Procedure, agent, customer, slot_kinds
from subterra.text import PLACEHOLDER

IDENTITY = ("number", "name", "order", "serial", "mail", "phone")
# What the agent may say first; all other values are the customer's to tell.
AGENT_OWNS = {"kind", "brand", "agent", "price", "wait", "code", "first", "second", "found"}
ONCE = {"problem", "give_all", "give_some", "give_one", "impossible", "accept_first", "accept_second", "correct"}
TAIL = 0.25  # share of the clauses that end with a value, which go on
_SPACES = re.compile(r" +(?=[ .,?!:;]|$)|^ +")


class Talk:
    """A conversation in the making: the values drawn, what is known of them, and the turns so far."""

    def __init__(self, rng: random.Random, procedure: Procedure):
        self.rng = rng
        self.procedure = procedure
        self.values = dict(procedure.values)
        self.words: dict[str, str] = dict(procedure.words)
        self.known: list[str] = []
        self.missing = list(procedure.slots)
        self.asked = rng.choice([slot for slot in IDENTITY if slot not in procedure.slots])
        self.turns: list[dict] = []
        self.said: set[str] = set()
        self._lines: dict[str, str] = {}
        for slot in (*procedure.slots, self.asked):
            self.redraw(slot)
        self.values |= {"price": words.amount(rng), "wait": words.duration(rng), "code": words.code(rng)}
        self.words["need"], told = rng.choice(sorted(procedure.needs.items()))
        self.words |= {name: f"{{v_{name}}}" for name in ("brand", "agent", "wait", "code")}
        self.words |= {
            "price": f"{{v_price}} {self.words['unit']}",
            "money": self.phrase("money") if "money" in self.missing else "so little",
            "part": rng.choice(procedure.parts),
            "symptom": rng.choice(told),
        }
        self.draw_kind()
        self.system = self._fill(procedure.system, [])
        self.said |= {value for value in self.values.values() if value in self.system}

    def redraw(self, slot: str) -> None:
        """Draw a value for a slot."""
        self.values[slot] = words.MAKERS[slot_kinds()[slot]["make"]](self.rng)

    def draw_kind(self) -> None:
        """Draw a kind of the thing: one that people know, or one with an invented name."""
        self.values["kind"] = words.pseudo_word(self.rng)
        new = f"a {{v_kind}} {self.words['thing']}"
        self.words["kind"] = new if self.rng.random() < 0.3 else self.rng.choice(self.procedure.kinds)

    def phrase(self, slot: str) -> str:
        """Return a slot's value as a template, with its unit."""
        unit = f" {self.words['unit']}" if slot_kinds()[slot].get("unit") else ""
        return f"{{v_{slot}}}{unit}"

    def about(self, slots: Sequence[str], speaker: str) -> None:
        """Let {frames}, {list} and {facts} tell these slots."""
        rng, told = self.rng, slot_kinds()
        slots = rng.sample(slots, len(slots))
        frames = [self._frame(slot) for slot in slots]
        label = {slot: rng.choice(told[slot]["label"]) for slot in slots}
        form = rng.choice(("{1}", "{0} {1}", "{0}: {1}"))
        listed = _join(rng, [form.format(label[slot], self.phrase(slot)) for slot in slots])
        if speaker == "customer":
            facts = [self._clause(slot).format(self.phrase(slot)) for slot in slots]
        else:
            form = rng.choice((form, "the {0} is {1}"))
            facts = [form.format(label[slot], self.phrase(slot)) for slot in slots]
        self.words |= {
            "frames": " ".join(frames) or "for you",
            "list": listed or self.words.get("pick", "{thing}"),
            "facts": rng.choice((", ", ". ")).join(facts) or "it is about {a_thing}",
        }

    def mind(self, slot: str) -> None:
        """Let {mind} tell this slot."""
        self.words["mind"] = self._frame(slot)

    def _frame(self, slot: str) -> str:
        """Return a slot's value as a part of a sentence."""
        return self.rng.choice(slot_kinds()[slot]["in"]).format(self.phrase(slot))

    def _clause(self, slot: str) -> str:
        """Return a clause for a slot's value; what ends with it may go on with words that are no part of it."""
        clause = self.rng.choice(slot_kinds()[slot]["says"])
        if clause.endswith("{}") and self.rng.random() < TAIL:
            clause += " " + customer().draw(self.rng, "tail")
        return clause

    def ask_for(self, slots: Sequence[str]) -> None:
        """Let {slots} and {slot} name what is asked for."""
        labels = [self.rng.choice(slot_kinds()[slot]["label"]) for slot in slots]
        self.words |= {"slots": _join(self.rng, labels), "slot": labels[0]}

    def offer(self) -> None:
        """Draw two new offers, with a name, a price or neither."""
        rng, unit = self.rng, self.words["unit"]
        nouns = rng.sample(self.procedure.offers, 2)
        form, make = rng.choice((("{0}", None), ("{0} called {1}", words.title), ("{0} for {1} {2}", words.amount)))
        for name, value, noun in zip(("one", "two"), ("first", "second"), nouns, strict=True):
            named = make is words.title and rng.random() < 0.5
            self.words[name] = form.format(with_article(noun), f"{{v_{value}}}", unit)
            self.words[f"pick_{name}"] = f"{{v_{value}}}" if named else f"the {noun}"
            self.words[f"price_{name}"] = f"{{v_{value}}} {unit}" if make is words.amount else "{price}"
            if make:
                self.values[value] = make(rng)

    def choose(self, name: str) -> None:
        """Take an offer: {pick} is "one" or "two", and its price is the price from now on."""
        self.words["pick"] = self.words[f"pick_{name}"]
        self.words["price"] = self.words[f"price_{name}"].replace("{price}", self.words["price"])

    def customer(self, act: str) -> None:
        """Speak an act, perhaps in two ways, with or without what people say before and after."""
        rng, grammar = self.rng, customer()
        text = grammar.draw(rng, act)
        if act not in ONCE and rng.random() < 0.25:
            text = _close(text) + " " + grammar.draw(rng, act)
        if rng.random() < 0.4:
            text = grammar.draw(rng, "opener" if self.turns else "greeting") + text
        text = _close(text)
        if rng.random() < 0.3:
            text += " " + grammar.draw(rng, "closer")
        self._say("user", text, careless=rng.random() < 0.08)

    def agent(self, rules: Sequence[str], act: str = "") -> None:
        """Speak one rule after the other, at times after saying back what the customer wants."""
        lines = [_close(self._line(rule)) for rule in rules]
        if f"ack_{act}" in agent() and self.rng.random() < 0.4:
            lines.insert(0, _close(agent().draw(self.rng, f"ack_{act}")))
        self._say("assistant", " ".join(lines))

    def look_up(self) -> None:
        """Let the agent call a tool with what it asked for last; {field} and {v_found} are what came back."""
        rng, kinds = self.rng, slot_kinds()
        if "tool" not in self.words:
            self.words["tool"] = f"{rng.choice(('find', 'check', 'get', 'open', 'look_up'))}_{key(self.words['thing'])}"
            self.words["field"] = rng.choice([label for slot in kinds.values() for label in slot["label"]])
        self.values["found"] = words.MAKERS[rng.choice(tuple(words.MAKERS))](rng)
        told = {key(rng.choice(kinds[self.asked]["label"])): self.values[self.asked]}
        found = {key(self.words["field"]): self.values["found"]}
        self._note("assistant", tagged("tool_call", {"name": self.words["tool"], "arguments": told}), [self.asked])
        self._note("user", tagged("tool_response", found), ["found"])

    def _line(self, rule: str) -> str:
        """An agent has habits: what it said once it often says again in the same words."""
        if rule not in self._lines or self.rng.random() < 0.4:
            text = agent().draw(self.rng, rule)
            self._lines[rule] = text.replace("{step}", agent().draw(self.rng, "step"))
        return self._lines[rule]

    def _say(self, role: str, text: str, careless: bool = False) -> None:
        used: list[str] = []
        content = self._fill(text, used, careless)
        if role == "assistant":
            for name in used:
                assert name in AGENT_OWNS or self.values[name] in self.said, f"{name} was not told: {content}"
        self._note(role, content, used)

    def _note(self, role: str, content: str, used: Sequence[str]) -> None:
        """Keep a turn and the values in it."""
        values = [self.values[name] for name in dict.fromkeys(used)]
        again, own = ([value for value in values if (value in self.said) == said] for said in (True, False))
        self.said.update(own)
        self.turns.append({"role": role, "content": content, "values": again, "own": own})

    def _fill(self, text: str, used: list[str], careless: bool = False) -> str:
        while True:
            filled = PLACEHOLDER.sub(lambda found: self.words.get(found[1], found[0]), text)
            if filled == text:
                break
            text = filled
        text = _SPACES.sub("", text)
        text = text.lower().rstrip(".") if careless else sentences(text)
        used += [name.removeprefix("v_") for name in PLACEHOLDER.findall(text)]
        return PLACEHOLDER.sub(lambda found: self.values[found[1].removeprefix("v_")], text)


def key(label: str) -> str:
    """Return a label as a key of JSON or a part of a tool's name."""
    return re.sub(r"[^a-z]+", "_", label.lower())


def tagged(tag: str, content: dict) -> str:
    """Return what a tool is asked, or answers, as chat templates write it."""
    return f"<{tag}>\n{json.dumps(content)}\n</{tag}>"


def _close(text: str) -> str:
    """End a sentence that has no end."""
    return text if text.rstrip()[-1:] in ".?!:" else f"{text.rstrip()}."


def _join(rng: random.Random, parts: Sequence[str]) -> str:
    """Join with commas, mostly with "and" before the last."""
    if len(parts) < 2 or rng.random() < 0.4:
        return ", ".join(parts)
    return f"{', '.join(parts[:-1])} and {parts[-1]}"
