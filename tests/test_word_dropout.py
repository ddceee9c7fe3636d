"""Words that the customer leaves out: about the share asked for, never those of a value, and nobody else's."""

import copy

from subterra.training.word_dropout import with_dropped_words

SEED = 3
LINE = "Please get me one of the cheap flights to Cape Town, not Oslo, for 900 dollars."


def talk(number: int) -> dict:
    turns = [("user", LINE), ("assistant", LINE), ("tool", LINE), ("user", "Sure.")]
    return {
        "id": f"talk {number}",
        "values": {"town": "Cape Town", "money": "900"},
        "corrected": {"town": "Oslo"},
        "turns": [{"role": role, "content": content, "nodes": [], "values": {}, "call": ""} for role, content in turns],
    }


ROWS = [talk(number) for number in range(200)]


def test_about_the_share_is_left_out_in_the_order_of_the_rest():
    lines = [row["turns"][0]["content"].split() for row in with_dropped_words(ROWS, 0.2, SEED)]
    free = [word for word in LINE.split() if word not in ("Cape", "Town,", "Oslo,", "900")]
    left = sum(word in free for line in lines for word in line) / (len(free) * len(ROWS))
    assert abs(left - 0.8) < 0.03
    for line in lines:
        assert line == [word for word in LINE.split() if word in line]


def test_values_and_digits_stay_and_so_does_a_line_that_would_be_empty():
    for row in with_dropped_words(ROWS, 0.9, SEED):
        line, answer = row["turns"][0]["content"], row["turns"][-1]["content"]
        assert {"Cape", "Town,", "Oslo,", "900"} <= set(line.split()) and answer == "Sure."


def test_nobody_elses_words_are_touched():
    before = copy.deepcopy(ROWS)
    for row in with_dropped_words(ROWS, 0.9, SEED):
        assert [turn["content"] for turn in row["turns"][1:3]] == [LINE, LINE]
    assert before == ROWS


def test_a_seed_drops_the_same_words_and_another_one_others():
    assert with_dropped_words(ROWS, 0.2, SEED) == with_dropped_words(ROWS, 0.2, SEED)
    assert with_dropped_words(ROWS, 0.2, SEED) != with_dropped_words(ROWS, 0.2, SEED + 1)
    assert with_dropped_words(ROWS, 0, SEED) is ROWS
