"""What the test endpoint answers to the prompts of an evaluation: as an agent, a customer or a judge.

It is told which of them it is by the prompt alone, as a real model is. It plays without understanding: the right words
of the toy specs come by chance.
"""

import json
import random
import re

CRITERIA = ("task_success", "information_accuracy", "consistency", "graceful_handling", "naturalness")


def answered(messages: list[dict], number: int) -> str | None:
    """Return the answer to an evaluation's prompt; None for any other prompt."""
    first, last = messages[0]["content"], messages[-1]["content"]
    rng = random.Random(number)
    if "You judge how well" in first:
        return judged(messages, rng)
    if first.startswith("You play a customer"):
        return customer(messages)
    if "Answer with the letter alone" in last:
        return rng.choice(re.findall(r"^([A-Za-z]+): ", last, re.MULTILINE))
    if "Answer with the\nJSON object alone" in last or "Answer with the JSON object alone" in last:
        return next(line for line in last.split("\n") if line.startswith("{"))
    if "in one to three short sentences" in first:
        return rng.choice(["Hello! What may I bring you?", "One moment, please.", "Which size, and for how much?"])
    return None


def customer(messages: list[dict]) -> str:
    """Say what the card knows, and leave after three turns."""
    known = re.search(r"all that you know: (\{.*\})", messages[0]["content"])
    values = list(json.loads(known[1]).values()) if known else []
    said = sum(message["role"] == "assistant" for message in messages)
    return " ".join(["It is", *values, "please."]) if said < 2 else "Thanks, goodbye. [END]"


def judged(messages: list[dict], rng: random.Random) -> str:
    """Return a verdict that quotes the agent, with scores by lot."""
    lines = [json.loads(line) for line in messages[1]["content"].split("\n") if line.startswith('{"turn":')]
    spoken = [line for line in lines if line.get("text")] or [{"turn": 0, "text": ""}]
    quoted = rng.choice(spoken)
    criteria = {
        name: {"reason": "It shows there.", "turn": quoted["turn"], "quote": quoted["text"], "score": rng.randint(2, 5)}
        for name in CRITERIA
    }
    return json.dumps({"challenged": rng.random() < 0.5, "criteria": criteria})
