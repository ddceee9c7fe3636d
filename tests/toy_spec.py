"""A tiny valid spec, a coffee counter: eight nodes, two hubs, three ends, and ways that go back."""

from pathlib import Path

TOY = """\
# A counter where one drink is sold.
title: Coffee counter
system: You sell coffee.
paths: {rule: trail}
start: greet

variables:
  drink: [espresso, latte, mocha, cocoa, chai, matcha]
  size: [tiny, small, medium, large, huge, giant]
  price: {from: 2, to: 9}

nodes:
  greet:
    role: agent
    prompt: Greet the customer and ask what they would like.
    says: ["Hello! What may I bring you?", "Good day, what would you like?", "Hi, what can I get you?"]
    next: order
  order:
    role: user
    next:
      - to: quote
        when: drink, size and price are named
        says:
          - "A {size} {drink} for {price} dollars, please."
          - "I would like a {drink}, {size}, up to {price} dollars."
          - "For {price} dollars I take one {size} {drink}."
      - to: ask_size
        when: only a drink is named
        says: ["One {drink}, please.", "Just a {drink}.", "Do you have {drink}?"]
      - to: left
        when: the customer wants nothing
        says: ["Nothing, thanks.", "I was only looking.", "Oh, I am late. Goodbye!"]
  ask_size:
    role: agent
    prompt: Ask for the size of the {drink} and what it may cost.
    says: ["Which size of {drink}, and for how much?", "How large should the {drink} be, and at what price?"]
    next: order
  quote:
    role: agent
    prompt: Repeat the {size} {drink} for {price} dollars and ask whether it is right.
    says:
      - "One {size} {drink} for {price} dollars, right?"
      - "That is a {drink}, {size}, {price} dollars. Yes?"
    next: answer
  answer:
    role: user
    next:
      - {to: served, when: the customer agrees, says: ["Yes.", "That is right.", "Exactly, thank you."]}
      - {to: order, when: the customer starts anew, says: ["No, let me start again.", "Wait, once more."]}
      - {to: handed_over, when: the owner is asked for, says: ["I want the owner.", "Get the boss."]}
  served:
    role: end
    outcome: served
    prompt: Hand over the {drink} and say goodbye.
    says: ["Here is your {drink}. Goodbye!", "Your {drink}, enjoy it!"]
  left: {role: end, outcome: left}
  handed_over: {role: end, outcome: handed_over}
"""


def write(tmp_path: Path, text: str, name: str = "toy.yaml") -> Path:
    """Write a spec into a folder and return where it is."""
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return path


def changed(old: str, new: str, text: str = TOY) -> str:
    """Return the spec with one piece of text replaced, which has to stand in it once."""
    assert text.count(old) == 1, f"{old!r} stands {text.count(old)} times in the toy spec"
    return text.replace(old, new)
