"""Two tiny valid specs.

TOY is a coffee counter: eight nodes, two hubs, three ends, and ways that go back. SHOP has what else a spec may hold:
knowledge, tools and interruptions.
"""

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

SHOP = """\
# A shop that looks after the lamps that it sold.
title: Lamp shop
system: You look after lamps.
paths: {rule: trail}
start: greet

variables:
  order: {from: 100, to: 140}
  name: [Ann, Bob, Cy, Dee, Eve, Flo, Gus, Hal, Ida]
  day: [Monday, Tuesday, Friday]
  color: [red, blue, green]

knowledge:
  hours: nine to five
  meaning: {of: color, is: {red: the bulb is broken, blue: it is too cold, green: all is well}}

nodes:
  greet: {role: agent, prompt: Ask for the order., says: ["Hello, which order?", "Hi! Your order?"], next: tell}
  tell:
    role: user
    next:
      - {to: look, when: order and name are told, says: ["It is {order}, I am {name}.", "{name} here, order {order}."]}
      - {to: left, when: the customer leaves, says: ["Never mind.", "Another time."]}
  look: {role: agent, prompt: Say that you look., says: ["One moment, please.", "Let me look."], next: find}
  find:
    role: tool
    call: {name: find_order, arguments: {order: "{order}"}}
    next:
      - {to: found, when: the order is there, result: {day: "{day}"}}
      - {to: lost, when: there is no such order, result: {error: lost}}
      - {to: again, when: the system does not answer, result: {error: timeout}}
  again: {role: tool, call: {name: find_order, arguments: {order: "{order}"}}, result: {day: "{day}"}, next: found}
  found:
    role: agent
    prompt: Tell {name} that it was sold on {day}, and ask which light is on.
    says: ["{name}, you bought it on {day}. Which light is on?", "On {day} then, {name}. What light is on?"]
    next: light
  light: {role: user, says: ["The {color} one.", "It is {color}."], next: explain}
  explain:
    role: agent
    prompt: Say that {meaning}, and that there is somebody {hours}. Ask whether a new lamp should come.
    says: ["Then {meaning}. We are here {hours}. A new one?", "So {meaning}; call us {hours}. Shall I send another?"]
    next: answer
  answer:
    role: user
    next:
      - {to: send, when: a new lamp is wanted, says: ["Yes, please.", "Do that."]}
      - {to: done, when: no new lamp is wanted, says: ["No need.", "No, thanks."]}
  send:
    role: tool
    call: {name: send_lamp, arguments: {order: "{order}", customer: "{name}"}}
    result: {order: "{order}", sent: "true"}
    next: done
  done: {role: end, outcome: done, prompt: "Say goodbye to {name}.", says: ["Bye, {name}!", "Goodbye {name}."]}
  lost: {role: end, outcome: lost, prompt: Regret it., says: ["Sorry, somebody will call.", "A pity, we will call."]}
  left: {role: end, outcome: left}

interruptions:
  wait:
    when: the customer needs a moment
    says: ["Wait a moment.", "Hold on."]
    prompt: Say that there is time.
    answers: ["Take your time.", "I can wait."]
  fix:
    when: the customer corrects name or order
    corrects: [name, order]
    says: ["Not {old}, {new}!", "I meant {new}, not {old}."]
    prompt: Say that it is {new} now.
    answers: ["{new}, noted.", "So {new}."]
  human: {when: the customer wants a person, says: ["A person!", "A human, please."], to: lost}
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
