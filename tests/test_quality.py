"""The quality gate: each turn against its script, conversations against one another."""

import pytest
from subterra.quality import Conversations, faults_of, kind
from subterra.script import Turn, script

TASK = "Tell the customer that the order {order} is on its way and ask whether that is fine."
GOOD = "Your order A-17 left us this morning and should be with you soon. Is that fine?"


def turn(**more):
    return Turn(3, "agent", [0], [TASK.replace("{order}", "A-17")], says={"order": "A-17"}, **more)


def test_a_turn_that_does_what_it_should_has_no_faults():
    assert faults_of(turn(), GOOD, {"tell_status", "end"}) == []


@pytest.mark.parametrize(
    ("text", "counted"),
    [
        ("", "empty"),
        ("  \n", "empty"),
        ("Your order is on its way.", "value missing"),
        ("Your order A-175 left us.", "value missing"),
        (f"Agent: {GOOD}", "speaker named"),
        (f"{GOOD} Next I go to tell_status.", "instructions leaked"),
        ("Tell the customer that the order A-17 is on its way.", "instructions leaked"),
        (f"**Note** {GOOD}", "marks"),
        (f"[smiles warmly] {GOOD}", "marks"),
        (f"{GOOD} Dear {{name}}.", "marks"),
        (f"{GOOD}<|im_end|>", "marks"),
        (GOOD * 20, "too long"),
    ],
)
def test_what_is_wrong_with_a_turn_is_found_and_counted(text, counted):
    faults = faults_of(turn(), text, {"tell_status", "end"})
    assert counted in {kind(fault) for fault in faults}
    assert all(fault.isprintable() for fault in faults)


def test_facts_in_the_words_of_a_task_are_no_leak():
    text = "I see that the order A-17 is on its way. Can I ask whether that is fine?"
    assert faults_of(turn(), text, set()) == []


def test_a_conversation_that_differs_by_its_values_alone_is_a_near_duplicate():
    seen = Conversations()
    words = [
        "Hello, where is my order {}? I have been waiting since Monday.",
        "Order {} will be there on Friday.",
    ]
    assert seen.meet("one", [line.format("A-17") for line in words], {"order": "A-17"}) is None
    assert seen.meet("two", [line.format("B-290") for line in words], {"order": "B-290"}) == "one"
    other = ["Good day. My parcel never came, it was B-290.", "I am sorry! Let me see what has become of it."]
    assert seen.meet("three", other, {"order": "B-290"}) is None


def step(speaker, prompt="", says=(), when="", **more):
    demands = [name for name in ("order", "town", "key") if f"{{{name}}}" in prompt and speaker == "agent"]
    return {
        "node": "n",
        "speaker": speaker,
        "prompt": prompt,
        "when": when,
        "says": list(says),
        "held_out_says": [],
        "demands": demands,
        "corrects": False,
        **more,
    }


VALUES = {"order": "A-17", "town": "Riga", "key": "Alt+A"}


def test_a_script_has_a_turn_for_each_change_of_speaker_and_says_what_each_must_say():
    steps = [
        step("agent", "Greet the customer."),
        step("agent", "Ask for the order."),
        step("user", says=["It is {order}.", "{order}, please"], when="the order is known"),
        step("tool", call={"name": "find", "arguments": {"id": "{order}"}}, result={"town": "{town}"}),
        step("agent", "Say that {order} is in {town}."),
        step(None),
    ]
    turns = script(steps, [VALUES] * len(steps))
    assert [(one.number, one.speaker, one.steps) for one in turns] == [
        (1, "agent", [0, 1]),
        (2, "customer", [2]),
        (3, "tool", [3]),
        (4, "agent", [4]),
    ]
    assert turns[0].task == ["Greet the customer.", "Ask for the order."]
    assert turns[1].says == {"order": "A-17"} and turns[1].shows == ["the order is known"]
    assert turns[2].answers == {"town": "Riga"}
    assert turns[3].says == {"order": "A-17", "town": "Riga"} and "A-17 is in Riga" in turns[3].task[0]
    assert turns[2].line().startswith('{"turn": 3, "speaker": "tool"') and "Riga" in turns[2].line()


def test_without_phrasings_the_customer_says_in_time_what_the_agent_needs():
    steps = [
        step("agent", "Ask for the order and the town."),
        step("user"),
        step("agent", "Ask whether that is all."),
        step("user"),
        step("agent", "Confirm {order} for {town}; the key is {key}."),
    ]
    turns = script(steps, [VALUES] * len(steps), facts={"key"})
    assert turns[3].says == {"order": "A-17", "town": "Riga"} and turns[1].says == {}


def test_a_value_in_the_customers_prompt_is_said():
    (turn,) = script([step("user", "Ask about {order}.")], [VALUES])
    assert turn.says == {"order": "A-17"} and turn.task == ["Ask about A-17."]
