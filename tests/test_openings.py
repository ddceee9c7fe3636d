"""What an agent's turn goes on with is learned as all that followed the same beginning in its step, save for values."""

from pathlib import Path

import pytest
import torch
from subterra.training import tokens
from subterra.training.loss import weighted_loss
from subterra.training.model import load_model
from subterra.training.openings import Openings

BASE = str(Path(__file__).parents[1] / "bases" / "embedded")
GREETINGS = ["Hello, where to?", "Welcome, where to?", "Hello again, where to?", "Tell me where to."]


def talk(number: int) -> dict:
    town = ("Lisbon", "Oslo")[number % 2]
    said = [
        ("assistant", "greet", GREETINGS[number % len(GREETINGS)], {}),
        ("user", "", f"{town}, please.", {}),
        ("assistant", "book", f"{town} it is." if number < 4 else f"{town} then.", {"town": town}),
    ]
    turns = [
        {"role": role, "nodes": [node], "content": content, "values": values, "call": ""}
        for role, node, content, values in said
    ]
    return {"id": f"talk {number}", "values": {"town": town}, "corrected": {}, "turns": turns}


ROWS = [talk(number) for number in range(8)]


@pytest.fixture(scope="module")
def tokenizer():
    return tokens.load_tokenizer(BASE)


@pytest.fixture(scope="module")
def encoded(tokenizer):
    return tokens.encode_all(tokenizer, "Sell flights.", ROWS, 2048, 3)


def first(tokenizer, text: str) -> int:
    return tokenizer(text, add_special_tokens=False)["input_ids"][0]


def labels_at(one: tokens.Encoded, place: int) -> dict[int, float]:
    """Return what each label counts at a place."""
    more = {label: weight for at, label, weight in one["openings"] if at == place}
    return {one["labels"][place]: one["weights"][place]} | more


def test_a_turn_may_begin_as_its_step_did_elsewhere(tokenizer, encoded):
    shares = {first(tokenizer, "Hello"): 0.5, first(tokenizer, "Welcome"): 0.25, first(tokenizer, "Tell"): 0.25}
    for one in Openings(1)(ROWS, encoded):
        assert labels_at(one, one["begins"][0]) == pytest.approx(shares)


def test_it_goes_on_as_its_step_did_after_the_same_beginning(tokenizer, encoded):
    comma, again = first(tokenizer, ", where"), first(tokenizer, " again")
    for number, one in enumerate(Openings(1)(ROWS, encoded)):
        after = labels_at(one, one["begins"][0] + 1)
        assert after == pytest.approx(
            {comma: 0.5, again: 0.5} if number % 2 == 0 else {one["labels"][one["begins"][0] + 1]: 1}
        )


def test_values_keep_their_own_tokens_and_are_alike_to_what_follows(tokenizer, encoded):
    it, then = first(tokenizer, " it"), first(tokenizer, " then")
    for one in Openings(1)(ROWS, encoded):
        valued = [place for place, _ in one["valued"]]
        assert valued[0] == one["begins"][-1] and {place for place, *_ in one["openings"]}.isdisjoint(valued)
        assert {one["weights"][place] for place in valued} == {3}
        assert labels_at(one, valued[-1] + 1) == pytest.approx({it: 0.5, then: 0.5})


def test_values_of_two_names_are_not_alike(tokenizer):
    said = ["Oslo is for Petra.", "Petra goes to Oslo."]
    turn = {"role": "assistant", "nodes": ["book"], "values": {"town": "Oslo", "guest": "Petra"}, "call": ""}
    rows = [{"id": one, "values": {}, "corrected": {}, "turns": [{**turn, "content": one}]} for one in said]
    for one in Openings(1)(rows, tokens.encode_all(tokenizer, "Sell flights.", rows, 2048)):
        assert one["openings"] == []


def test_the_favourite_is_the_token_that_a_step_is_known_by(tokenizer, encoded):
    hello, welcome, tell = (first(tokenizer, word) for word in ("Hello", "Welcome", "Tell"))
    bye = {"role": "assistant", "nodes": ["bye"], "content": "Hello and goodbye.", "values": {}, "call": ""}
    rows = [{**row, "turns": [*row["turns"][:-1], bye]} for row in ROWS[:6]] + ROWS[6:]
    encoded = tokens.encode_all(tokenizer, "Sell flights.", rows, 2048)
    shares = {hello: 0.2, welcome: 0.1 + 0.6, tell: 0.1}
    comma, again = first(tokenizer, ", where"), first(tokenizer, " again")
    for row, one in zip(rows, Openings(1, 0.6)(rows, encoded), strict=True):
        assert labels_at(one, one["begins"][0]) == pytest.approx(shares)
        if row["turns"][0]["content"].startswith("Hello"):  # "Hello and" is of the other step, so comma is as good
            assert labels_at(one, one["begins"][0] + 1)[comma] == pytest.approx(0.2 + 0.6)
            assert labels_at(one, one["begins"][0] + 1)[again] == pytest.approx(0.2)


def test_the_smoothing_is_what_the_others_share(tokenizer, encoded):
    hello = first(tokenizer, "Hello")
    for one, before in zip(Openings(0.4)(ROWS, encoded), encoded, strict=True):
        assert sum(one["weights"]) + sum(weight for *_, weight in one["openings"]) == pytest.approx(
            sum(before["weights"])
        )
        place = one["begins"][0]
        assert labels_at(one, place)[hello] == pytest.approx(0.4 * 0.5 + 0.6 * (one["labels"][place] == hello))
    assert Openings(0)(ROWS, encoded) is encoded


def test_the_loss_is_that_of_the_shares(encoded):
    model = load_model(BASE).float().eval()
    smoothed = Openings(1)(ROWS, encoded)[:3]
    with torch.no_grad():
        found = weighted_loss(model, tokens.collate([smoothed[:2], smoothed[2:]]), 16)
        loss = counted = 0.0
        for one in smoothed:
            likely = model(torch.tensor([one["input_ids"]])).logits[0].log_softmax(-1)
            for place, label in enumerate(one["labels"]):
                if label != tokens.IGNORED:
                    for token, weight in labels_at(one, place).items():
                        loss, counted = loss - weight * likely[place - 1, token], counted + weight
    assert found == pytest.approx(float(loss / counted), rel=1e-4)
