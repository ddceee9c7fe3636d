"""What each epoch reads: other unheard values, missing words and pieces of the corpus every time, all else as it is."""

from pathlib import Path

import pytest
from subterra.errors import SubterraError
from subterra.training import tokens
from subterra.training.epochs import Epochs

BASE = Path(__file__).parents[1] / "bases" / "embedded"
TOWNS = ["Lisbon", "Cape Town", "New Orleans", "Oslo", "Kyoto", "Quito"]
SETTINGS = {
    "rehearsal": 0.0,
    "rare_edges": 1,
    "unheard_values": 0.5,
    "word_dropout": 0.0,
    "opening_smoothing": 0.0,
    "opening_favourite": 0.0,
    "value_weight": 3,
    "fact_weight": 1,
}


def talk(number: int) -> dict:
    town = TOWNS[number % len(TOWNS)]
    turns = [
        ("user", f"A flight to {town} for {number}, please.", {}),
        ("assistant", f"To {town}, then.", {"town": town}),
    ]
    return {
        "id": f"talk {number}",
        "nodes": ["ask", "book"],
        "values": {"town": town},
        "corrected": {},
        "turns": [
            {"role": role, "nodes": ["book"], "content": text, "values": said, "call": ""} for role, text, said in turns
        ],
    }


ROWS = [talk(number) for number in range(40)]


@pytest.fixture(scope="module")
def tokenizer():
    return tokens.load_tokenizer(str(BASE))


def epochs(tokenizer, base: Path = BASE, longest: int = 2048, **settings) -> Epochs:
    return Epochs(ROWS, {"town": TOWNS}, "Sell flights.", tokenizer, str(base), SETTINGS | settings, 1, 512, longest)


def texts(tokenizer, read: list[tokens.Encoded]) -> list[str]:
    return [tokenizer.decode(one["input_ids"]) for one in read]


def test_every_epoch_draws_unheard_values_anew(tokenizer):
    read = epochs(tokenizer)
    first, second = (dict(enumerate(texts(tokenizer, read(epoch)))) for epoch in (0, 1))
    unheard = [{(n, text) for n, text in one.items() if not any(map(text.count, TOWNS))} for one in (first, second)]
    assert all(8 < len(one) < 32 for one in unheard) and not unheard[0] & unheard[1]
    assert {n for n, _ in unheard[0]} != {n for n, _ in unheard[1]}
    assert texts(tokenizer, epochs(tokenizer)(1)) == [*second.values()]


def test_every_epoch_drops_other_words_of_the_customer_alone(tokenizer):
    read = epochs(tokenizer, unheard_values=0.0, word_dropout=0.3)
    lines = [[text.split("<|im_start|>")[-2:] for text in texts(tokenizer, read(epoch))] for epoch in (0, 1)]
    assert lines[0] != lines[1]
    for epoch in lines:
        assert all(
            agent == f"assistant\n{row['turns'][1]['content']}<|im_end|>\n"
            for row, (_, agent) in zip(ROWS, epoch, strict=True)
        )
        assert 0.5 < sum("flight" in customer for customer, _ in epoch) / len(ROWS) < 0.9


def test_what_is_read_as_it_is_is_encoded_once(tokenizer):
    read = epochs(tokenizer, unheard_values=0.0)
    assert all(one is other for one, other in zip(read(0), read(1), strict=True))


def test_every_epoch_rehearses_another_piece_of_the_corpus_that_the_base_was_pretrained_on(tokenizer, tmp_path):
    read = epochs(tokenizer, rehearsal=0.5)
    first, second = read(0), read(1)
    rehearsed = [texts(tokenizer, one[len(ROWS) :]) for one in (first, second)]
    assert all(rehearsed) and not set(rehearsed[0]) & set(rehearsed[1])
    total = sum(len(one["input_ids"]) for one in first[: len(ROWS)])
    assert 0.5 * total <= sum(len(one["input_ids"]) for one in first[len(ROWS) :]) < 0.5 * total + 512
    assert len(epochs(tokenizer, tmp_path, rehearsal=0.5)(0)) == len(ROWS)


def test_rows_of_an_epoch_hold_what_that_epoch_reads(tokenizer):
    read = epochs(tokenizer)
    rows = tokens.PackedRows(read, 512, 2, 1)
    packed = [one for index in range(len(rows)) for one in rows[index]]
    assert sorted(texts(tokenizer, packed)) == sorted(texts(tokenizer, read(0) + read(1)))


def test_of_an_epoch_that_is_not_read_whole_a_part_is_made(tokenizer):
    settings = {"rehearsal": 0.5, "opening_smoothing": 1.0, "opening_favourite": 0.5, "fact_weight": 4}
    read = epochs(tokenizer, unheard_values=0.0, **settings)
    first, part = read(0), read(1, 0.25)
    learned = [one for one in part if one in first[: len(ROWS)]]
    assert len(learned) == len(ROWS) / 4 and part[: len(learned)] == learned, "labels and weights are as in the first"
    assert learned == sorted(learned, key=first.index) and learned != first[: len(learned)]
    total = sum(len(one["input_ids"]) for one in learned)
    assert 0.5 * total <= sum(len(one["input_ids"]) for one in part[len(learned) :]) < 0.5 * total + 512


def test_the_last_epoch_is_made_as_far_as_its_rows_are_read(tokenizer):
    asked = []
    read = epochs(tokenizer, unheard_values=0.0)

    def conversations(epoch: int, share: float) -> list[tokens.Encoded]:
        asked.append(share)
        return read(epoch, share)

    once = tokens.PackedRows(conversations, 60, 1, 1)
    assert len(once) > 3 * tokens.OPEN_ROWS / 2
    longer = tokens.PackedRows(conversations, 60, 1, 1, least=len(once) + 2)
    assert asked == [1.0, 1.0, (2 + tokens.OPEN_ROWS) / len(once)]
    assert longer.rows[: len(once)] == once.rows and len(longer) == len(once) + 2
    assert {epoch for epoch, _ in longer.rows[len(once) :]} == {1} and len(longer[len(once)]) == len(once[0])
    assert len(longer.epochs[1]) == round(asked[-1] * len(ROWS))


def test_a_conversation_longer_than_the_base_reads_is_named(tokenizer):
    with pytest.raises(SubterraError, match="conversation talk 0 has"):
        epochs(tokenizer, longest=10)(0)
