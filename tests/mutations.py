"""Good specs and configs, and thousands of ways to spoil them, as strategies of Hypothesis.

Called as a program, it tells as JSON what becomes of the spec files that are named to it, each within LONGEST seconds
and all within MOST_MEMORY: what is large is tried that way, in a process of its own.
"""

import contextlib
import copy
import io
import json
import random
import re
import resource
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from hypothesis import strategies as st
from subterra.checker import check_spec
from subterra.conversation import phrased, turns
from subterra.draws import values_along
from subterra.errors import SubterraError, one_line
from subterra.flowchart import Flowchart
from subterra.models import builtin
from subterra.paths import derive, edges_of
from subterra.plan import plan_agent, shard_file
from subterra.records import read_table
from toy_spec import TOY

ROOT = Path(__file__).parent.parent
LONGEST = 10  # seconds of the processor that one bad input may take
MOST_MEMORY = 2_000_000_000  # bytes

# A shop with all that the other two lack: facts, tools (with several answers, and one that may fail), interruptions.
SHOP = """\
title: Shop desk
system: You help the customers of a shop.
start: greet
variables:
  order: {from: 100, to: 140}
  name: [Ann, Bob, Cy, Dee, Eve, Flo, Gus, Hal, Ida]
  plan: [basic, gold]
  eta: [Monday, Tuesday, Friday]
  color: [red, blue, green]
knowledge:
  hours: nine to five
  meaning: {of: color, is: {red: stop, blue: cold, green: go}}
nodes:
  greet:
    role: agent
    prompt: Greet and ask for the order.
    says: ["Hello, which order?", "Hi! Your order?"]
    next: tell
  tell:
    role: user
    says: ["{order} of {name}, {plan}.", "I am {name}, {plan}, with order {order}.", "{plan}: {name}, {order}."]
    next: sort
  sort:
    role: agent
    prompt: Say to {name} that you look.
    says: ["One moment, {name}.", "Let me look, {name}."]
    next:
      - {to: find, when: the plan is basic, where: {plan: [basic]}}
      - {to: find_fast, when: the plan is gold, where: {plan: gold}}
  find:
    role: tool
    call: {name: find_order, arguments: {order: "{order}", who: "{name}"}}
    next:
      - {to: found, when: the order is there, result: {eta: "{eta}"}}
      - {to: lost, when: the order is lost, result: {error: not found}}
      - {to: find_fast, when: no answer, result: {error: timeout}}
  find_fast: {role: tool, call: {name: hurry, arguments: {order: "{order}"}}, result: {eta: "{eta}"}, next: found}
  found:
    role: agent
    prompt: Tell {name} that it comes {eta} and ask which light is on.
    says: ["{name}, it comes {eta}. Which light is on?", "On {eta}, {name}. What light is on?"]
    next: light
  light:
    role: user
    next:
      - {to: explain, when: a light is named, says: ["The {color} one.", "It is {color}."]}
      - {to: light, when: the customer asks back, says: ["Which light?", "What do you mean?"]}
      - {to: tell, when: the order was another one, says: ["That is not my order.", "Wrong order."]}
  explain:
    role: agent
    prompt: Say that it means {meaning}, and that {order} may be had {hours}.
    says: ["That means {meaning}. Get {order} {hours}.", "{meaning}, then. {order}, {hours}."]
    next: bye
  bye: {role: user, says: ["Bye.", "Thanks."], next: done}
  done: {role: end, outcome: done, prompt: "Say goodbye to {name}.", says: ["Bye, {name}!", "Goodbye {name}."]}
  lost: {role: end, outcome: lost, prompt: Regret., says: ["Sorry, it is lost.", "It is lost, sorry."]}
interruptions:
  wait:
    when: the customer needs a moment
    says: ["Wait a moment.", "Hold on."]
    prompt: Wait.
    answers: ["Take your time.", "I wait."]
  fix:
    when: the customer corrects a value
    corrects: [name, order]
    says: ["Not {old}, {new}!", "I meant {new}, not {old}."]
    prompt: Take {new}.
    answers: ["{new}, noted.", "So {new}."]
  human: {when: the customer wants a person, says: ["A person!", "Human please."], to: lost}
"""
BASES = {"toy": TOY, "shop": SHOP, "travel_booking": (ROOT / "specs" / "travel_booking.yaml").read_text("utf-8")}
BASE_DATA = {name: yaml.load(text, yaml.BaseLoader) for name, text in BASES.items()}
CONFIG_TEXT = (ROOT / "config" / "config.yaml").read_text("utf-8")
CONFIG = yaml.safe_load(CONFIG_TEXT)
PLANNED = ("seed", "paths", "held_out", "conversations", "interruptions", "shards", "teacher")

# -- what is put in --------------------------------------------------------------------------------------------------

CONTROLS = ["\x00", "\x07", "\x1b[31m", "\x7f", "\x85", "\u2028", "\u2029", "\r", "\x0b", "\t", "\n", "\n\n"]
BIDI = ["\u202e", "\u2066x\u2069", "\u200f", "\u200b", "\ufeff", "\ud800", "\ufffe", "\U000e0001", "\xad"]
LETTERS = ["é", "e\u0301", "中文", "ß", "İ", "ﬁ", "😀", "𝔘", "٣", "\xa0", "\u3000"]
BRACES = ["{", "}", "{}", "{{name}}", "{name", "name}", "{name.__class__}", "{0}", "{name!r}", "{name:>9}", "{ name }"]
BRACES += ["{nmae}", "{drink}", "{order}", "{hours}", "{meaning}", "{old}", "{new}", "{{", "}}{", "{%s}", "${name}"]
LIKE_YAML = ["", " ", "null", "~", "true", "yes", "1", "-1", "1e9", ".nan", "0x1F", "12:30:45", "=", "<<", "?", "- a"]
LIKE_YAML += [
    "*a",
    "&a x",
    "!!int 1",
    "!x y",
    "#",
    ": ",
    "a: b",
    "|",
    ">",
    "@",
    "`",
    "%YAML 1.1",
    "---",
    "...",
    "[",
    "]",
]
KNOWN = ["title", "system", "start", "paths", "rule", "variables", "knowledge", "nodes", "interruptions", "of", "is"]
KNOWN += ["role", "prompt", "says", "call", "arguments", "result", "next", "outcome", "to", "when", "where", "from"]
KNOWN += ["step", "name", "answers", "corrects", "agent", "user", "tool", "end", "trail", "simple", "greet", "wait"]
RULES = ["simple", "trail", "visits: 1", "visits: 2", "visits:3", "visits: 99", "visits: 100", "visits: 0", "Trail"]
PATHS = ["../../etc/passwd", "a/b", ".", "..", "-", "a?", "a!", "a->b", "wait?", "C:\\x", "x" * 300, "1", "__class__"]
ODD = [*CONTROLS, *BIDI, *LETTERS, *BRACES, *LIKE_YAML, *KNOWN, *RULES, *PATHS]
LONG = ["x" * 50_000, "a b " * 10_000, "{" * 10_000, "{a}" * 3_000, "{name} " * 3_000, "中" * 20_000, "\u202e" * 3_000]
TWICE = "\ue000"  # stands after a key that is written a second time, and is taken out of the text

words = st.one_of(st.sampled_from(ODD), st.sampled_from(ODD), st.text(max_size=12), st.sampled_from(LONG))
SHAPES = [None, [], {}, [[]], [{}], {"": ""}, {"to": "greet"}, {"a": {"b": {"c": "d"}}}, [["a"], ["b"]], 1, -1, 1.5]
SHAPES += [True, ["a", "a"], ["a", {"b": "c"}], {"from": "1", "to": "3"}, {"from": "3", "to": "1"}, float("nan")]
SHAPES += [{"of": "name", "is": {}}, {"from": "1", "to": "9" * 15}, {"from": "a", "to": "b", "step": "0"}]
SHAPES += [{"role": "end", "outcome": "o"}, {"name": "find", "arguments": {"order": "{order}"}}, {"error": "timeout"}]
shapes = st.sampled_from(SHAPES)
sizes = st.sampled_from([[f"value {n}" for n in range(10_000)], {f"key {n}": "x" for n in range(2_000)}, 40, 17, 15])


@st.composite
def values(draw) -> Any:
    """Return a value that belongs nowhere: a word, another type, something long, wide or deep."""
    kind = draw(st.integers(0, 19))
    if kind < 10:
        return draw(words)
    if kind < 18:
        return copy.deepcopy(draw(shapes))
    value = draw(sizes)
    if not isinstance(value, int):
        return copy.deepcopy(value)
    nested: Any = "deep"
    for level in range(value):
        nested = [nested] if level % 2 else {"a": nested}
    return nested


# -- data ------------------------------------------------------------------------------------------------------------

Spot = tuple[Any, Any]


def spots(data: Any) -> Iterator[Spot]:
    """Yield every place inside plain data as what holds it and its key or index there."""
    for key in list(data) if isinstance(data, dict) else range(len(data)):
        yield data, key
        if isinstance(data[key], dict | list):
            yield from spots(data[key])


def _spot(draw, data: Any, wanted=lambda holder, key: True) -> Spot | None:
    found = [spot for spot in spots(data) if wanted(*spot)]
    return found[draw(st.integers(0, len(found) - 1))] if found else None


def _is_text(holder, key) -> bool:
    return isinstance(holder[key], str)


def _leads(holder, key) -> bool:
    return key in ("to", "next", "start") and isinstance(holder[key], str)


def _named(data: Any) -> list[str]:
    nodes = data.get("nodes") if isinstance(data, dict) else None
    return [str(name) for name in nodes] if isinstance(nodes, dict) and nodes else ["greet"]


def drop(draw, data):
    """Delete a key or an item."""
    if spot := _spot(draw, data):
        del spot[0][spot[1]]


def rename(draw, data):
    """Give a key another name: a known one, one with a slip, or an odd one."""
    spot = _spot(draw, data, lambda holder, key: isinstance(holder, dict) and isinstance(key, str))
    if spot:
        holder, key = spot
        slips = [key[1:], key + "s", key.upper(), key[:1] + key, f" {key}", f"{key}\n", f"{key}\u202e"]
        new = draw(st.one_of(st.sampled_from(slips), words, st.sampled_from(KNOWN)))
        items = [(new if name == key else name, value) for name, value in holder.items()]
        holder.clear()
        holder.update(items)


def write_twice(draw, data):
    """Write a key a second time, with the same value, another one or that of a neighbour."""
    spot = _spot(draw, data, lambda holder, key: isinstance(holder, dict) and isinstance(key, str))
    if spot:
        holder, key = spot
        holder[key + TWICE] = copy.deepcopy(draw(st.one_of(st.just(holder[key]), values())))


def replace(draw, data):
    """Put a wrong value in a place."""
    if spot := _spot(draw, data):
        spot[0][spot[1]] = draw(values())


def add(draw, data):
    """Put a wrong value beside the others."""
    if spot := _spot(draw, data, lambda holder, key: isinstance(holder[key], dict | list)):
        inner = spot[0][spot[1]]
        if isinstance(inner, list):
            inner.insert(draw(st.integers(0, len(inner))), draw(values()))
        else:
            inner[draw(words)] = draw(values())


def swap(draw, data):
    """Exchange two values."""
    one, other = _spot(draw, data), _spot(draw, data)
    if one and other:
        (first, a), (second, b) = one, other
        first[a], second[b] = copy.deepcopy(second[b]), copy.deepcopy(first[a])


def copy_over(draw, data):
    """Put the value of one place in another."""
    one, other = _spot(draw, data), _spot(draw, data)
    if one and other:
        other[0][other[1]] = copy.deepcopy(one[0][one[1]])


def wrap(draw, data):
    """Put a value into a list or mapping, or take it out of one."""
    if spot := _spot(draw, data):
        holder, key = spot
        value = holder[key]
        if isinstance(value, list | dict) and value and draw(st.booleans()):
            holder[key] = next(iter(value.values() if isinstance(value, dict) else value))
        else:
            holder[key] = [value] if draw(st.booleans()) else {draw(st.sampled_from(KNOWN)): value}


def repeat(draw, data):
    """Double an item of a list, or turn the list round."""
    spot = _spot(draw, data, lambda holder, key: isinstance(holder[key], list) and holder[key])
    if spot:
        items = spot[0][spot[1]]
        if draw(st.booleans()):
            items.append(copy.deepcopy(items[draw(st.integers(0, len(items) - 1))]))
        else:
            items.reverse()


def retarget(draw, data):
    """Let a way lead to another node, to its own, or to one with a slip in its name."""
    spot = _spot(draw, data, _leads)
    if spot:
        name = draw(st.sampled_from(_named(data)))
        spot[0][spot[1]] = draw(st.sampled_from([name, name, name, name[:-1], name + "x", name.upper(), f" {name} "]))


def loop(draw, data):
    """Let a node lead to itself, alone or beside its other ways."""
    nodes = data.get("nodes") if isinstance(data, dict) else None
    if isinstance(nodes, dict) and nodes:
        name = draw(st.sampled_from(_named(data)))
        node = nodes.get(name)
        if isinstance(node, dict):
            node["next"] = name if draw(st.booleans()) else [{"to": name, "when": "again", "says": ["Again!"]}]


def tangle(draw, data):
    """Add ways from customers' nodes to others, with words of their own: good ones, as far as each goes."""
    nodes = data.get("nodes") if isinstance(data, dict) else None
    if isinstance(nodes, dict):
        hubs = [node for node in nodes.values() if isinstance(node, dict) and isinstance(node.get("next"), list)]
        for number in range(draw(st.integers(1, 6)) if hubs else 0):
            to = draw(st.sampled_from(_named(data)))
            way = {"to": to, "when": f"new {number}", "says": [f"New {number}.", f"{number} new."]}
            hubs[draw(st.integers(0, len(hubs) - 1))]["next"].append(way)


def change_role(draw, data):
    """Give a node another role."""
    spot = _spot(draw, data, lambda holder, key: key == "role")
    if spot:
        roles = ["agent", "user", "tool", "end", "agnet", "Tool", "", "customer"]
        spot[0]["role"] = draw(st.sampled_from(roles))


def break_braces(draw, data):
    """Spoil the placeholders of a text, or put one where there is none."""
    spot = _spot(draw, data, _is_text)
    if spot:
        holder, key = spot
        text = holder[key]
        at = draw(st.integers(0, min(len(text), 200)))
        holder[key] = draw(
            st.sampled_from(
                [text.replace("{", "{{"), text.replace("}", ""), text.replace("{", ""), text.replace("}", "}}")]
                + [re.sub(r"\{(\w)", r"{\1\1", text), re.sub(r"\{\w+\}", "{name}", text), re.sub(r"\{\w+\}", "", text)]
                + [text[:at] + piece + text[at:] for piece in BRACES]
            )
        )


def put_in(draw, data):
    """Put odd letters into a text."""
    spot = _spot(draw, data, _is_text)
    if spot:
        text = spot[0][spot[1]]
        at = draw(st.integers(0, min(len(text), 200)))
        spot[0][spot[1]] = text[:at] + draw(words) + text[at:]


def set_rule(draw, data):
    """Set the path rule."""
    if isinstance(data, dict):
        data["paths"] = draw(st.one_of(st.sampled_from(RULES).map(lambda rule: {"rule": rule}), values()))


def restrict(draw, data):
    """Give a way a `where`: of values that are there, or of others."""
    spot = _spot(draw, data, lambda holder, key: key == "to")
    if spot:
        variables = data.get("variables") if isinstance(data, dict) else None
        pools = {k: v for k, v in variables.items() if isinstance(v, list)} if isinstance(variables, dict) else {}
        name = draw(st.sampled_from([*pools, "nobody"]))
        spot[0]["where"] = {name: draw(st.one_of(st.just(pools.get(name, [])[:1]), values()))}


def say_the_same(draw, data):
    """Let something be said in a second place as well, in large letters or beside a value of another type perhaps."""
    lines = [spot for spot in spots(data) if isinstance(spot[0], list) and _is_text(*spot)]
    if lines:
        (one, a), (other, b) = (lines[draw(st.integers(0, len(lines) - 1))] for _ in range(2))
        line = draw(st.sampled_from([one[a], one[a], one[a].upper()]))
        other[b:b] = draw(st.sampled_from([[line], [line], [line, copy.deepcopy(draw(shapes))]]))


GENERAL = [drop, rename, write_twice, replace, add, swap, copy_over, wrap, repeat, put_in, break_braces, say_the_same]
OF_A_GRAPH = [retarget, retarget, loop, tangle, change_role, set_rule, restrict]


def thin(draw, data):
    """Take one of several items away."""
    spot = _spot(draw, data, lambda holder, key: isinstance(holder[key], list) and len(holder[key]) > 1)
    if spot:
        del spot[0][spot[1]][draw(st.integers(0, len(spot[0][spot[1]]) - 1))]


def narrow(draw, data):
    """Restrict a way to one or two values, which are there."""
    name = draw(st.sampled_from(sorted(data["variables"])))
    pool, spot = data["variables"][name], _spot(draw, data, lambda holder, key: key == "to" and "when" in holder)
    if spot and isinstance(pool, list):
        first = draw(st.integers(0, len(pool) - 1))
        spot[0]["where"] = {name: pool[first : first + 2]}


def shrink(draw, data):
    """Leave one value of a variable, or many."""
    name = draw(st.sampled_from(sorted(data["variables"])))
    data["variables"][name] = draw(st.sampled_from([["one"], ["a", "b"], {"from": "1", "to": "300"}]))


def correct(draw, data):
    """Let customers correct other variables."""
    names = draw(st.lists(st.sampled_from(sorted(data["variables"])), min_size=1, max_size=3, unique=True))
    data.setdefault("interruptions", {})["put_right"] = {
        "when": "something was wrong",
        "corrects": names,
        "says": ["Not {old} but {new}.", "{new} instead of {old}."],
        "prompt": "Say that it is {new} now.",
        "answers": ["Then {new}.", "So it is {new}."],
    }


def lead_elsewhere(draw, data):
    """Let a way lead to another node that there is."""
    if spot := _spot(draw, data, _leads):
        spot[0][spot[1]] = draw(st.sampled_from(_named(data)))


def rule(draw, data):
    """Set a path rule that there is."""
    data["paths"] = {"rule": draw(st.sampled_from(RULES[:6]))}


CAREFUL = [thin, thin, narrow, narrow, shrink, correct, lead_elsewhere, rule, tangle, tangle]
SECTIONS = ["variables", "knowledge", "interruptions", "nodes"]


def written(data: Any) -> bytes:
    """Return data as YAML, where keys that are marked as such stand twice."""

    class Dumper(yaml.CSafeDumper):
        def ignore_aliases(self, data):
            return True

    try:
        text = yaml.dump(data, Dumper=Dumper, sort_keys=False, allow_unicode=True, width=200)
    except (UnicodeEncodeError, yaml.YAMLError):  # what libyaml does not write, JSON does
        text = json.dumps(data, ensure_ascii=False)
    return text.replace(TWICE, "").encode("utf-8", "surrogatepass")


@st.composite
def spoilt_data(draw, base: str) -> bytes:
    """Return a spec with one to four changes of its data, anywhere or all in one section."""
    data = copy.deepcopy(BASE_DATA[base])
    section = draw(st.sampled_from([None, None, *SECTIONS]))
    for _ in range(draw(st.sampled_from([1, 1, 1, 2, 3, 4]))):
        inner = data.get(section) if section and isinstance(data, dict) else None
        inner = inner if isinstance(inner, dict | list) else data
        if inner is data and draw(st.booleans()):
            draw(st.sampled_from(OF_A_GRAPH))(draw, data)
        else:
            draw(st.sampled_from(GENERAL))(draw, inner)
    return written(data)


@st.composite
def reshaped(draw, base: str) -> bytes:
    """Return a spec with one to five changes that are no mistakes of form: what is left may be good."""
    data = copy.deepcopy(BASE_DATA[base])
    for _ in range(draw(st.integers(1, 5))):
        draw(st.sampled_from(CAREFUL))(draw, data)
    return written(data)


# -- text and bytes --------------------------------------------------------------------------------------------------

PIECES = [
    "\t",
    "  ",
    "\n",
    "'",
    '"',
    "&a ",
    "*a",
    "&a *a",
    "!!str ",
    "!!python/object/apply:os.getcwd []",
    "!!binary x",
]
PIECES += ["\n---\n", "\n...\n", "\n--- !t\n", "%YAML 9.9\n", "%TAG ! x\n", "<<: *a", "? ", "? [a]\n: b\n", ": ", "- "]
PIECES += [
    " #",
    "|",
    "|-\n",
    ">2\n",
    "[",
    "]",
    "{",
    "}",
    ",",
    "@",
    "`",
    "\\",
    '"\\x"',
    '"\\ud800"',
    '"\\0"',
    "''",
    "[]",
]
PIECES += ["next: ", "role: user\n", "    says: [a]\n", "to: ", "{a: b, a: c}", "{name}", "visits: 99", "\r\n", "\r"]


@st.composite
def spoilt_text(draw, base: str) -> bytes:
    """Return a spec whose text was damaged in one to four places: letters, lines, indentation, signs of YAML."""
    text = BASES.get(base, CONFIG_TEXT)
    for _ in range(draw(st.integers(1, 4))):
        text = draw(st.sampled_from([_spoilt_letters, _spoilt_lines]))(draw, text)
    return text.encode("utf-8", "surrogatepass")


def _spoilt_letters(draw, text: str) -> str:
    begin = draw(st.integers(0, len(text)))
    end = min(len(text), begin + draw(st.sampled_from([0, 0, 1, 3, 10, 60, 400])))
    odd = st.one_of(st.sampled_from(PIECES), words)
    piece = draw(st.one_of(odd, odd, st.sampled_from(["", text[begin:end] * 2, text[end : end + 40]])))
    return text[:begin] + piece + text[end:]


def _spoilt_lines(draw, text: str) -> str:
    lines = text.split("\n")
    at, other = (draw(st.integers(0, len(lines) - 1)) for _ in range(2))
    line = lines[at]
    changed = [[], [line, line], [f" {line}"], [f"  {line}"], [f"\t{line}"], [line[1:]], [line[2:]], [line.strip()]]
    changed += [[line.replace(":", "")], [line.replace(":", "::")], [line.replace(" ", "")], [line.replace('"', "")]]
    changed += [[line, lines[other]], [lines[other]], [f"- {line}"], [f"#{line}"], [f"{line} &a"], [f"{line} *a"]]
    changed += [[f"{line}: x"], [line.replace(": ", ": !t ")], [line.replace("[", "")], [line.replace("]", "}")]]
    return "\n".join([*lines[:at], *draw(st.sampled_from(changed)), *lines[at + 1 :]])


@st.composite
def spoilt_bytes(draw, base: str) -> bytes:
    """Return a spec whose bytes were damaged: random ones, marks, other encodings, line ends, a cut."""
    content = BASES.get(base, CONFIG_TEXT).encode()
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(content)))
        before, after = content[:at], content[at:]
        letters = content.decode("latin-1")
        damaged = [before, after, b"", b"\xef\xbb\xbf" + content, before + b"\xef\xbb\xbf" + after]
        damaged += [before + b"\x00" + after[1:], before + b"\xc3" + after, before + "é".encode("latin-1") + after]
        damaged += [content.replace(b"\n", b"\r"), content.replace(b"\n", b"\r\n"), content.replace(b" ", b"\xa0")]
        damaged += [content.replace(b"e", b"\xe9"), letters.encode("utf-16"), letters.encode("utf-32-be")]
        damaged += [before + draw(st.binary(min_size=1, max_size=8)) + after] * 6
        content = draw(st.sampled_from(damaged))
    return content


def spoilt_specs() -> st.SearchStrategy[tuple[str, bytes]]:
    """Return a strategy of names and contents of spec files; most changes are of data, and of the small specs."""
    names = ["shop", "toy", "shop", "toy", "travel_booking"]
    return st.sampled_from(names).flatmap(
        lambda name: st.tuples(
            st.just(name),
            st.one_of(*[spoilt_data(name)] * 3, *[reshaped(name)] * 2, spoilt_text(name), spoilt_bytes(name)),
        )
    )


# -- the config ------------------------------------------------------------------------------------------------------

NUMBERS = [0, 1, 2, 3, -1, 0.0, 1.0, 0.5, 0.99, -0.5, 1e-300, 1e308, 10**30, -(10**30), 2**63, 2**64 + 1, True, False]
NUMBERS += [float("nan"), float("inf"), -float("inf"), 16**5000, -(16**5000)]
CONFIG_WORDS = [
    "trail",
    "trail\n",
    "visits: 99",
    "toy",
    "toy\n",
    "all",
    "shop",
    "embedded",
    "bases/none",
    "a" * 300,
    "muon",
]
CONFIG_WORDS += [
    "../x",
    "bases/a\nb",
    "no/such/base",
    "q8_0",
    "tools.py:f",
    "http://x",
    "rule",
    "seed",
    "train",
    "worst",
]


@st.composite
def spoilt_configs(draw) -> dict:
    """Return settings with one to three changes: wrong types, unknown keys, numbers out of range or none at all."""
    config = copy.deepcopy(CONFIG) | {"agents": ["toy"], "shards": 2}
    config["conversations"] = dict.fromkeys(config["conversations"], 3)
    for _ in range(draw(st.integers(1, 3))):
        draw(st.sampled_from(OF_A_CONFIG))(draw, config)
    return config


def _new(draw, old: Any = None) -> Any:
    """Return another value: of the same type as `old` half of the time."""
    alike = st.sampled_from(CONFIG_WORDS if isinstance(old, str) else NUMBERS)
    return copy.deepcopy(draw(st.one_of(alike, alike, st.sampled_from(CONFIG_WORDS), values())))


def _new_value(draw, config: dict) -> None:
    def is_value(holder, key) -> bool:
        return not isinstance(holder[key], dict)

    sections = [value for value in config.values() if isinstance(value, dict) and value]
    inner = draw(st.sampled_from([config, *sections]))
    if spot := _spot(draw, inner, is_value):
        spot[0][spot[1]] = _new(draw, spot[0][spot[1]])


def _new_key(draw, config: dict) -> None:
    inner = [config, *(holder[key] for holder, key in spots(config) if isinstance(holder[key], dict))]
    odd = st.sampled_from([None, 1, True, 1.5, float("nan"), "tran", "epoch", "Seed", "a: b", "seed ", "SHARDS"])
    inner[draw(st.integers(0, len(inner) - 1))][draw(st.one_of(odd, odd, words))] = _new(draw)


def _new_item(draw, config: dict) -> None:
    if spot := _spot(draw, config, lambda holder, key: isinstance(holder[key], list)):
        spot[0][spot[1]].append(_new(draw, ""))


def _new_name(draw, config: dict) -> None:
    config[draw(st.sampled_from(["base", "cache"]))] = draw(st.one_of(st.sampled_from(CONFIG_WORDS), words))
    if isinstance(config.get("agents"), list):
        config["agents"].append(draw(st.sampled_from([*CONFIG_WORDS, "shop", "shop"])))


OF_A_CONFIG = [*[_new_value] * 5, _new_name, _new_key, _new_item, drop, rename, swap, copy_over, wrap, repeat]


# -- what is large ---------------------------------------------------------------------------------------------------


def _spec(nodes: Mapping, start: str, **more) -> dict:
    return {"title": "T", "system": "S", "start": start, **more, "nodes": dict(nodes)}


def _end() -> dict:
    return {"role": "end", "outcome": "o"}


def chain(size: int, lot: random.Random) -> dict:
    """Agent and customer take turns, one node after the other, in an order of names that is no order."""
    names = [f"n{number}" for number in range(size)]
    lot.shuffle(names)
    turn = [{"role": "agent", "prompt": "Go on.", "says": "Well."}, {"role": "user", "says": "Well."}]
    nodes = {a: turn[n % 2] | {"next": b} for n, (a, b) in enumerate(zip(names, [*names[1:], "end"], strict=True))}
    return _spec({**nodes, "end": _end()}, names[0])


def broken_chain(size: int, lot: random.Random) -> dict:
    """The same with a slip in some names, and islands where ways are lost."""
    spec = chain(size, lot)
    for node in lot.sample([node for node in spec["nodes"].values() if "next" in node], size // 3):
        node["next"] = lot.choice([node["next"] + "x", "nobody at all", node["next"].upper(), ""])
    return spec


def wide(size: int, lot: random.Random) -> dict:
    """One hub with many ways, some of which say the same."""
    ways = [{"to": f"e{n}", "when": f"w{n}", "says": [f"Say {lot.randrange(3 * size)}."]} for n in range(size)]
    nodes = {"hub": {"role": "user", "next": ways}} | {f"e{n}": _end() for n in range(size)}
    return _spec(nodes, "hub")


def dense(size: int, lot: random.Random) -> dict:
    """Every customer's node leads to every agent's node, under a rule by lot."""
    nodes: dict[str, dict] = {"end": _end()}
    for here in range(size):
        ways = [{"to": f"a{to}", "when": f"w{to}", "says": [f"Say {to}."]} for to in range(size)]
        nodes[f"u{here}"] = {"role": "user", "next": [*ways, {"to": "end", "when": "bye", "says": ["Bye."]}]}
        nodes[f"a{here}"] = {"role": "agent", "prompt": "Go on.", "says": ["Go on."], "next": f"u{here}"}
    return _spec(nodes, "u0", paths={"rule": lot.choice(["simple", "trail", "visits: 2", "visits: 99"])})


def many_values(size: int, lot: random.Random) -> dict:
    """Pools of many values, with ways that some of them allow."""
    data = copy.deepcopy(BASE_DATA["shop"])
    data["variables"]["plan"] = [f"plan {n}" for n in range(size)]
    cut = lot.randrange(size)
    basic, gold = data["nodes"]["sort"]["next"]
    basic["where"], gold["where"] = (
        {"plan": data["variables"]["plan"][part]} for part in (slice(cut), slice(cut, None))
    )
    data["variables"]["order"] = {"from": 1, "to": size}
    return data


def many_words(size: int, lot: random.Random) -> dict:
    """Many phrasings, some with a slip in a placeholder, and many values that are no text."""
    data = copy.deepcopy(BASE_DATA["shop"])
    lines = [f"{n}: {{order}} of {{name}}, {{plan}}." for n in range(size)]
    data["nodes"]["tell"]["says"] = [
        lot.choice([line, line, line.replace("{name", "{nmae"), line[:-9]]) for line in lines
    ]
    data["nodes"]["bye"]["says"] = [[n] if n % 2 else f"Bye {n}." for n in range(size)]
    return data


def many_names(size: int, lot: random.Random) -> dict:
    """A phrasing that names many variables, and others that name none of them."""
    side = int(size**0.5)
    variables = {f"v{n}": ["a", "b"] for n in range(side)}
    says = [" ".join(f"{{{name}}}" for name in variables), *(f"Line {n}." for n in range(side))]
    return _spec({"a": {"role": "user", "says": says, "next": "end"}, "end": _end()}, "a", variables=variables)


def many_facts(size: int, lot: random.Random) -> dict:
    """Much knowledge, and many interruptions, some of them malformed."""
    data = copy.deepcopy(BASE_DATA["shop"])
    data["knowledge"] |= {f"fact{n}": lot.choice(["so", "so", "{so}", ["so"]]) for n in range(size)}
    good = data["interruptions"]["wait"]
    data["interruptions"] |= {
        f"wait{n}": lot.choice([good, good, {**good, "to": "lost"}, []]) for n in range(size // 10)
    }
    return data


def many_keys(size: int, lot: random.Random) -> dict:
    """Unknown keys everywhere."""
    data = copy.deepcopy(BASE_DATA["toy"])
    for holder in (data, data["nodes"]["greet"], data["nodes"]["order"]["next"][0]):
        holder |= {f"{lot.choice(KNOWN)}{n}": "x" for n in range(size // 3)}
    return data


def long_texts(size: int, lot: random.Random) -> dict:
    """Texts, names and braces of a megabyte."""
    data = copy.deepcopy(BASE_DATA["toy"])
    for _ in range(3):
        holder, key = lot.choice([spot for spot in spots(data) if isinstance(spot[0][spot[1]], str)])
        holder[key] = lot.choice(["x", "{", "{x", "{a}", "a ", "}", "中", "\\", "'"]) * (100 * size)
    data["nodes"]["y" * (10 * size)] = {"role": "agent", "next": "z" * (10 * size)}
    return data


def wrong_sizes(size: int, lot: random.Random) -> dict:
    """Long lists and wide mappings where a word belongs."""
    data = copy.deepcopy(BASE_DATA[lot.choice(["toy", "shop"])])
    for _ in range(3):
        holder, key = lot.choice(list(spots(data)))
        holder[key] = lot.choice([["x"] * size, [[]] * size, {f"k{n}": [] for n in range(size)}, list(range(size))])
    return data


def many_visits(size: int, lot: random.Random) -> dict:
    """A rule under which paths are as long as they are many."""
    return copy.deepcopy(BASE_DATA[lot.choice(list(BASES))]) | {"paths": {"rule": f"visits: {min(99, size)}"}}


# The largest size of each that is tried. Where a comment says so, it is below what is known to take too long.
LARGE = {
    chain: 5_000,
    broken_chain: 1_500,  # the nearest of many names: too long from about 1,000 with 60 letters each on
    wide: 2_000,
    dense: 12,  # too long from about 40 customers' nodes on, for 5,000 paths
    many_values: 5_000,  # a plan with draws from, and corrections of, pools of 20,000; 2 GB from about 80,000 on
    many_words: 10_000,
    many_names: 100_000,  # a line for each phrasing and name: too long from about 1,000 of each on
    many_facts: 5_000,
    many_keys: 10_000,
    long_texts: 10_000,
    wrong_sizes: 10_000,
    many_visits: 99,  # too long with interruptions and 5,000 paths
}
LARGE_PLAN = {key: CONFIG[key] for key in PLANNED} | {"paths": {"rule": "trail", "limit": 200}, "shards": 2}
LARGE_PLAN["conversations"] = dict.fromkeys(CONFIG["conversations"], 20) | {"train": 200}


@st.composite
def large_specs(draw) -> tuple[str, bytes]:
    """Return a name that tells what it is, and the content of a large spec."""
    make = draw(st.sampled_from(list(LARGE)))
    size = draw(st.one_of(st.just(LARGE[make]), st.integers(2, LARGE[make])))
    seed = draw(st.integers(0, 99))
    return f"{make.__name__}_{size}_{seed}", written(make(size, random.Random(seed)))


# -- what becomes of them --------------------------------------------------------------------------------------------


class TooLong(AssertionError):
    """An input took more of the processor than LONGEST seconds."""


@contextlib.contextmanager
def limited(seconds: float = LONGEST) -> Iterator[None]:
    """Raise TooLong where something takes more of the processor (a busy machine makes no difference)."""

    def stop(*_):
        raise TooLong(f"more than {seconds} seconds")

    old = signal.signal(signal.SIGPROF, stop)
    begun = time.process_time()
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, old)
    assert time.process_time() - begun < seconds


def told(do, *arguments) -> list[str]:
    """Return the lines with which a call ends the process with status 1; none where it comes to its end."""
    stream = io.StringIO()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with limited(), contextlib.redirect_stderr(stream):
        try:
            with one_line():
                do(*arguments)
        except SystemExit as end:
            assert end.code == 1 and stream.getvalue().endswith("\n")
            lines = stream.getvalue()[:-1].split("\n")
        else:
            assert not stream.getvalue()
            lines = []
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 < MOST_MEMORY
    return lines


def assert_clear(lines: list[str], files: str) -> None:
    """Assert that each line is a single one, can be printed as it is, and begins with file and place."""
    for line in lines:
        assert line.isprintable(), repr(line[:300])
        assert re.match(rf"(?:{files}):(?:\d+:)*(?:\d+:)? \S", line), line[:300]
        assert "Traceback" not in line
    assert len(lines) == len(set(lines))


def check_and_derive(path: Path, phrasings: bool = True, limit: int = 200) -> None:
    """Check a spec and derive its paths; they and its canonical form have to be whole."""
    flowchart = check_spec(path, phrasings=phrasings)
    assert Flowchart.from_json(flowchart.to_json()) == flowchart
    found = derive(flowchart, limit)
    assert len(found.paths) <= limit and len(set(found.paths)) == len(found.paths)
    assert all(path[0] == flowchart.start and path[-1] in flowchart.ends for path in found.paths)
    assert edges_of(found.paths) <= set(flowchart.edges)


def assert_whole(folder: Path, settings: Mapping) -> None:
    """Assert that a plan is whole, and that what it holds can be spoken."""
    flowchart = Flowchart.read(folder / "flowchart.json")
    rows = read_table(folder / "paths.parquet")
    assert rows and json.loads((folder / "paths.json").read_text())["derived"] == len(rows)
    assert all(row["nodes"][0] == flowchart.start and row["nodes"][-1] in flowchart.ends for row in rows)
    for shard in range(settings["shards"]):
        work = json.loads(shard_file(folder, shard).read_text())
        for talk in work["conversations"][:40] if settings["teacher"]["backend"] == "builtin" else ():
            steps = [phrased(work["steps"][name], talk["split"]) for name in talk["steps"]]
            held = values_along(steps, talk["values"], talk["corrected"])
            lines = builtin.BuiltinTeacher().write(steps, held, talk["id"])
            spoken = turns(steps, lines, held)
            assert all(turn["content"] or turn["call"] for turn in spoken), (talk, spoken)


def plan_and_speak(path: Path, settings: Mapping) -> None:
    """Plan an agent into a new folder, of which a mistake leaves nothing."""
    with tempfile.TemporaryDirectory() as new:
        folder = Path(new) / "agent"
        try:
            plan_agent(path, folder, settings)
        except SubterraError:
            assert not folder.exists()
            raise
        assert_whole(folder, settings)


def main(paths: list[str]) -> None:
    """Tell of each file how many lines it gave, or what went wrong, and how long it took."""
    resource.setrlimit(resource.RLIMIT_AS, (MOST_MEMORY, MOST_MEMORY))
    for path in paths:
        begun, problem, lines = time.process_time(), "", []
        try:
            lines = told(plan_and_speak, Path(path), LARGE_PLAN)
            assert_clear(lines, re.escape(path))
        except BaseException as error:
            problem = f"{type(error).__name__}: {error}"[:500]
        seconds = round(time.process_time() - begun, 2)
        print(json.dumps({"file": path, "lines": len(lines), "problem": problem, "seconds": seconds}), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
