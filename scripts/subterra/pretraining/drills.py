"""Drills in chat form: repeating, looking up, keeping notes, hearing what is wanted, saying it another way, knowing
which words belong together, telling things apart, calling a tool.

Each takes the sample's random source and returns {system, turns} as dialogues do.
"""

import random
from collections.abc import Callable

from subterra.pretraining import words
from subterra.pretraining.dialogues import paraphrases, utterance
from subterra.pretraining.procedures import acts, slot_kinds
from subterra.pretraining.talk import key, tagged

Lines = list[tuple[str, str]]
ASSISTANT = (
    "You are a helpful assistant.",
    "Do as you are told.",
    "",
    "Listen well and answer briefly.",
    "A memory test.",
)
ACTS = tuple(acts())


def value(rng: random.Random) -> str:
    """Return a value of any kind, everyday words in unheard combinations most often."""
    return words.thing(rng) if rng.random() < 0.4 else words.MAKERS[rng.choice(tuple(words.MAKERS))](rng)


def nouns() -> list[str]:
    """Return the names of all slots: known words to put beside new ones."""
    return [label for slot in slot_kinds().values() for label in slot["label"]]


def repeat(rng: random.Random) -> dict:
    """Words or values in a row, said back; each round as long or longer."""
    ask = rng.choice(("Repeat after me: {}", "Say this: {}", "{}", "Copy: {}", "Please say back to me: {}"))
    reply = rng.choice(("{}", "{}", "You said: {}", "Here it is: {}"))
    lines: Lines = []
    for length in range(rng.randint(1, 4), rng.randint(5, 9)):
        make = rng.choice((value, words.pseudo_word, lambda source: source.choice(nouns())))
        row = rng.choice((" ", ", ", " - ")).join(make(rng) for _ in range(length))
        if rng.random() < 0.2:
            row = f"{row}; {row}"
        lines.append((ask.format(row), reply.format(row)))
    return _chat(rng.choice(ASSISTANT), lines)


def look_up(rng: random.Random) -> dict:
    """A list of keys and values, in the system prompt or from the user, then questions about it."""
    keys = rng.sample(nouns(), rng.randint(3, 7))
    if rng.random() < 0.5:
        keys = [words.pseudo_word(rng) for _ in keys]
    table = {key: value(rng) for key in keys}
    text = rng.choice(("; ", ", ", "\n")).join(f"{key}: {found}" for key, found in table.items())
    ask = rng.choice(("What is the {}?", "{}?", "Tell me the {}.", "Which {} is on the list?", "And the {}?"))
    reply = rng.choice(("{1}", "{1}.", "The {0} is {1}.", "{0}: {1}"))
    questions = [(ask.format(key), reply.format(key, table[key])) for key in rng.choices(keys, k=rng.randint(2, 7))]
    if rng.random() < 0.5:
        return _chat(f"Answer from this list. {text}", questions)
    return _chat(rng.choice(ASSISTANT), [(f"Here is a list. {text}", "Noted."), *questions])


def notes(rng: random.Random) -> dict:
    """Facts told one by one, some of them changed later, with talk in between; then all or one are asked."""
    told: dict[str, str] = {}
    lines: Lines = []
    labels = rng.sample(nouns(), rng.randint(2, 6))
    tell = rng.choice(("The {} is {}.", "My {}: {}.", "Note the {}: {}.", "{} = {}"))
    noted = rng.choice(("Noted: {1}.", "Got it, {0} {1}.", "Okay.", "{1}, I have it."))
    for label in labels + rng.sample(labels, rng.randint(0, 2)):
        changed = label in told
        told[label] = value(rng)
        start = rng.choice(("Correction. ", "Sorry, that changed. ", "New: ")) if changed else ""
        lines.append((start + tell.format(label, told[label]), noted.format(label, told[label])))
        if rng.random() < 0.25:
            act = rng.choice(("off_topic", "wait", "complain", "ask_why"))
            lines.append((utterance(rng, act), rng.choice(("I am here for your notes.", "Let us go on.", "Go on."))))
    for label in rng.sample(labels, rng.randint(1, len(labels))):
        lines.append((rng.choice(("What was the {}?", "The {}, please?")).format(label), f"{told[label]}."))
    summary = rng.choice((", ", "; ", " and ")).join(f"{label} {told[label]}" for label in labels)
    lines.append((rng.choice(("Sum it up.", "What do you have?", "Read me all of it.")), f"In short: {summary}."))
    return _chat(rng.choice(("You keep notes.", "", "You write down what people say.")), lines)


def signs(rng: random.Random) -> dict:
    """The system prompt gives a sign for each of a few acts; the customer acts, the agent answers with the sign."""
    chosen = rng.sample(ACTS, rng.randint(2, 7))
    make = rng.choice((words.pseudo_word, words.code, words.title))
    sign = {act: make(rng) for act in chosen}
    lead = rng.choice(("If the customer {}, say {}.", "{}: {}.", "When somebody {}, answer {}."))
    rules = " ".join(lead.format(rng.choice(acts()[act]), sign[act]) for act in chosen)
    heard = rng.choices(chosen, k=rng.randint(3, 8))
    return _chat(f"Answer with a sign. {rules}", [(utterance(rng, act), sign[act]) for act in heard])


def hear(rng: random.Random) -> dict:
    """Quoted customers: what do they want?"""
    ask = rng.choice(('"{}" What does this customer do?', "A customer says: {}", 'Explain: "{}"', "{}"))
    system = rng.choice(("Say what the customer means.", "You explain what customers want.", "Name the wish."))
    reply = rng.choice(("The customer {}.", "Somebody who {}.", "{}"))
    heard = rng.choices(ACTS, k=rng.randint(2, 6))
    return _chat(system, [(ask.format(utterance(rng, act)), reply.format(rng.choice(acts()[act]))) for act in heard])


def same(rng: random.Random) -> dict:
    """Two customers: do they want the same?"""
    lines: Lines = []
    for _ in range(rng.randint(2, 5)):
        one, two = (rng.choice(ACTS),) * 2 if rng.random() < 0.5 else rng.sample(ACTS, 2)
        reply = f"Yes, one who {acts()[one][0]}." if one == two else f"No. One {acts()[one][0]}, one {acts()[two][0]}."
        lines.append((f"A: {utterance(rng, one)}\nB: {utterance(rng, two)}", reply))
    return _chat("Do both customers want the same?", lines)


def rephrase(rng: random.Random) -> dict:
    """The same act in other words, with no value that was not there before."""
    ask = rng.choice(("Say it differently: {}", "In other words? {}", "{}"))
    lines: Lines = []
    for act in rng.choices(ACTS, k=rng.randint(2, 5)):
        said, *others = paraphrases(rng, act, 4)
        lines += [(ask.format(said["content"]), other["content"]) for other in others if not other["own"]][:1]
    return _chat("Rephrase what customers say.", lines or [(ask.format("Yes."), "I confirm.")])


def compare(rng: random.Random) -> dict:
    """Which of two numbers is more, or less; close ones as often as far ones."""
    lines: Lines = []
    for _ in range(rng.randint(2, 7)):
        one = rng.randint(10, 9999)
        two = max(1, one + rng.choice((-1, 1)) * rng.choice((1, 10, 50, 100, 500, 1000, 3000)))
        more = rng.random() < 0.5
        found = max(one, two) if more else min(one, two)
        lines.append((f"Which is {'more' if more else 'less'}, {one} or {two}?", f"{found}."))
    return _chat(rng.choice(ASSISTANT), lines)


def belong(rng: random.Random) -> dict:
    """Words of everyday life: which belong together, and what do they share?"""
    lines: Lines = []
    for _ in range(rng.randint(3, 8)):
        (shared, members), (other, strangers) = rng.sample(words.concepts(), 2)
        one, two, three = rng.sample(members, 3)
        odd = rng.choice(strangers)
        chosen = rng.sample([one, odd, rng.choice(strangers)], 3)
        listed = rng.sample([one, two, three, odd], 4)
        lines.append(
            rng.choice(
                (
                    (f"What do {one}, {two} and {three} share?", f"{shared}."),
                    (f"Words for {shared}?", f"{one}, {two}, {three}."),
                    (f"What is like {two}: {chosen[0]}, {chosen[1]} or {chosen[2]}?", f"{one}: {shared}."),
                    (f"Which does not belong: {', '.join(listed)}?", f"{odd}. The others: {shared}."),
                    (f"{one} and {two}?", f"Alike: {shared}."),
                    (f"{one} and {odd}?", f"Not alike: {shared}, and {other}."),
                    (f"Another word for {one}?", f"{two}, or {three}."),
                )
            )
        )
    return _chat(rng.choice(("You know words.", "", "Which words belong together?")), lines)


def which(rng: random.Random) -> dict:
    """Things told in one breath, which only their last word tells apart; each is asked for by it, or by one like it."""
    alike = {one: other for one, other in (rng.sample(group, 2) for _, group in rng.sample(words.concepts(), 5))}
    named = {one: f"{_modifier(rng)} {one}" for one in list(alike)[: rng.randint(2, 5)]}
    told = [
        f"{rng.choice(('my', 'my', 'the', 'a', 'our'))} {thing}"
        for thing in rng.sample(list(named.values()), len(named))
    ]
    tell = rng.choice(
        ("{}.", "It is about {}.", "Hello, I have {}.", "Look at {}, please.", "{}, all at once!", "There is {}.")
    )
    glue = rng.choice((", ", " and ", " with ", " on ", ", for ", " near "))
    reply = rng.choice(
        ("Your {}.", "The {}, then.", "{}", "I look at the {} now.", "Let us check your {} first.", "You mean the {}?")
    )
    ask = rng.choice(("Which {}?", "And the {}?", "What about the {}?", "{}?", "Now the {}, please.", "How is my {}?"))
    lines: Lines = [(tell.format(glue.join(told)), reply.format(rng.choice(list(named.values()))))]
    for one in rng.choices(list(named), k=rng.randint(2, 6)):
        lines.append((ask.format(alike[one] if rng.random() < 0.3 else one), reply.format(named[one])))
    return _chat(rng.choice(ASSISTANT), lines)


def _modifier(rng: random.Random) -> str:
    """Return a word or two to stand before another."""
    invented = words.pseudo_word(rng)
    found = words.known_word(rng) if rng.random() < 0.7 else rng.choice((invented, invented.capitalize()))
    return f"{words.known_word(rng)} {found}" if rng.random() < 0.15 else found


def call(rng: random.Random) -> dict:
    """The agent calls a tool with what the user told it, as JSON, and says what came back; or that nothing did."""
    tool = f"{rng.choice(('find', 'check', 'get', 'look_up', 'open', 'verify'))}_{key(rng.choice(nouns()))}"
    asked = rng.sample(sorted(slot_kinds()), rng.randint(1, 3))
    labels = {slot: rng.choice(slot_kinds()[slot]["label"]) for slot in asked}
    fields = rng.sample(nouns(), rng.randint(1, 3))
    missing = rng.choice(("not found", "no entry", "unknown", "service unavailable", "timeout"))
    sorry = rng.choice(("Sorry, that gave: {}.", "The search failed: {}.", "I get no answer: {}. Anything else?"))
    lines: Lines = []
    for _ in range(rng.randint(1, 4)):
        told = {slot: words.MAKERS[slot_kinds()[slot]["make"]](rng) for slot in asked}
        tell = [rng.choice(slot_kinds()[slot]["says"]).format(said) for slot, said in told.items()]
        given = {key(labels[slot]): said for slot, said in told.items()}
        found = {key(field): value(rng) for field in fields} if rng.random() < 0.8 else {"error": missing}
        answer = ", ".join(f"{field} {found[key(field)]}" for field in fields) if "error" not in found else ""
        lines += [
            (", ".join(tell) + ".", tagged("tool_call", {"name": tool, "arguments": given})),
            (tagged("tool_response", found), f"I found: {answer}." if answer else sorry.format(missing)),
        ]
    named = ", ".join(key(label) for label in labels.values())
    system = rng.choice(("Call {0} with {1}.", "Tool: {0}({1}).", "You have the tool {0}; it needs {1}."))
    return _chat(system.format(tool, named), lines)


DRILLS: dict[Callable[[random.Random], dict], float] = {
    repeat: 3, look_up: 3, notes: 4, signs: 5, hear: 3, same: 1.5, rephrase: 2, compare: 0.5, call: 5, belong: 7,
    which: 16,
}  # fmt: skip


def drill(rng: random.Random) -> dict:
    """Return one drill, drawn by its share."""
    return rng.choices(list(DRILLS), list(DRILLS.values()))[0](rng)


def _chat(system: str, lines: Lines) -> dict:
    turns = [
        {"role": role, "content": content, "values": [], "own": []}
        for line in lines
        for role, content in zip(("user", "assistant"), line, strict=True)
    ]
    return {"system": system, "turns": turns}
