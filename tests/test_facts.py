"""A fact that the agent knows by heart counts more where it parts from others; what it was told does not."""

from pathlib import Path

import pytest
from subterra.training import tokens
from subterra.training.facts import Facts

BASE = str(Path(__file__).parents[1] / "bases" / "embedded")
MENUS = {"ten": "Settings, Apps, Features", "eleven": "Settings, Apps, Installed"}


def talk(system: str, menu: str) -> dict:
    said = [
        ("user", f"My system is {system}.", {}),
        ("assistant", f"On {system} go to {menu}, please.", {"system": system, "menu": menu}),
        ("assistant", f"Again: {menu}.", {"menu": menu}),
    ]
    turns = [
        {"role": role, "nodes": ["help"], "content": content, "values": values, "call": ""}
        for role, content, values in said
    ]
    return {"id": system, "values": {}, "corrected": {}, "turns": turns}


@pytest.fixture(scope="module")
def encoded():
    tokenizer = tokens.load_tokenizer(BASE)
    rows = [talk(system, menu) for system, menu in MENUS.items()]
    return tokenizer, tokens.encode_all(tokenizer, "Help.", rows, 2048)


def test_what_nobody_had_said_counts_more_where_it_parts(encoded):
    tokenizer, plain = encoded
    for one, menu in zip(Facts(4)(plain), MENUS.values(), strict=True):
        counts = [place for place, weight in enumerate(one["weights"]) if weight != 1]
        assert [one["weights"][place] for place in counts] == [4.0]
        assert tokenizer.decode([one["input_ids"][counts[0]]]) in f" {menu.split()[-1]}"
        before = tokenizer.decode(one["input_ids"][: counts[0]])
        assert before.count("Settings, Apps,") == 1, "a fact is said by heart once: then it can be copied"


def test_a_fact_of_which_there_is_one_counts_as_ever(encoded):
    _, plain = encoded
    assert Facts(4)(plain[:1])[0]["weights"] == plain[0]["weights"]
    assert Facts(1)(plain) is plain
