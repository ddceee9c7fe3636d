"""Values that nobody has heard: put wherever the old ones were said, and only where they decide nothing."""

import copy
import random
import re

import pytest
from subterra.conformance import says
from subterra.pretraining.words import common
from subterra.training.unheard import unheard, with_unheard

TOWNS = ["Lisbon", "Cape Town", "New Orleans", "Oslo", "Kyoto", "Quito"]
SEED = 3


def talk(number: int) -> dict:
    """A conversation with a name, a name that is corrected, a number, a decisive word and a call."""
    town, other = TOWNS[number % 6], TOWNS[(number + 1) % 6]
    values = {"town": town, "money": f"{600 + number}", "plan": "gold"}

    def turn(role: str, content: str, said: dict, call: str = "") -> dict:
        return {"role": role, "content": content, "nodes": [], "values": said, "call": call}

    return {
        "id": f"talk {number}",
        "values": values,
        "corrected": {"town": other},
        "turns": [
            turn("user", f"{town} for {600 + number} dollars, I have gold.", {}),
            turn(
                "assistant", f"To {town}, for {600 + number} dollars.", values, f'{{"arguments": {{"to": "{town}"}}}}'
            ),
            turn("tool", f'{{"in": "{town}"}}', {}),
            turn("user", f"Not {town}, {other}.", {}),
            turn("assistant", f"{other} instead of {town}.", {"old": town, "new": other}),
        ],
    }


ROWS = [talk(number) for number in range(60)]


def test_new_values_stand_wherever_the_old_ones_did():
    before = copy.deepcopy(ROWS)
    for row, new in zip(ROWS, with_unheard(ROWS, {"town": TOWNS, "money": ()}, 1.0, SEED), strict=True):
        opening, answer, heard, correction, changed = new["turns"]
        town, other = changed["values"]["old"], changed["values"]["new"]
        assert opening["content"] == f"{town} for {row['values']['money']} dollars, I have gold."
        assert answer["values"] == {**row["values"], "town": town} and says(answer["content"], town)
        assert answer["call"] == f'{{"arguments": {{"to": "{town}"}}}}' and heard["content"] == f'{{"in": "{town}"}}'
        assert correction["content"] == f"Not {town}, {other}." and says(changed["content"], other)
    assert before == ROWS


def test_they_are_no_values_of_the_variable_and_look_like_them():
    found = [row["turns"][-1]["values"]["old"] for row in with_unheard(ROWS, {"town": TOWNS}, 1.0, SEED)]
    assert not set(found) & set(TOWNS) and len(set(found)) > 50
    assert all(
        re.fullmatch(r"[A-Z][a-z]+(( [a-z]{1,3})* [A-Z][a-z]+)?", re.sub("(?<=[a-z])[A-Z]", "x", value))
        for value in found
    )
    assert 0 < sum(value.count(" ") > 1 for value in found) < 15, "a few have a small word more"


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_the_share_says_how_many_change(share):
    changed = [old != new for old, new in zip(ROWS, with_unheard(ROWS, {"town": TOWNS}, share, SEED), strict=True)]
    assert abs(sum(changed) / len(ROWS) - share) < 0.15 * (share not in (0, 1)) + 1e-9


def test_what_decides_something_stays():
    for row in with_unheard(ROWS, {}, 1.0, SEED):
        assert row in ROWS


def test_equal_rows_and_seeds_give_equal_values():
    assert with_unheard(ROWS, {"town": TOWNS}, 0.5, SEED) == with_unheard(ROWS, {"town": TOWNS}, 0.5, SEED)
    assert with_unheard(ROWS, {"town": TOWNS}, 0.5, SEED) != with_unheard(ROWS, {"town": TOWNS}, 0.5, SEED + 1)


def test_what_the_agent_never_repeats_is_replaced_more_seldom():
    moods = ["glad", "weary", "furious"]
    rows = copy.deepcopy(ROWS)
    for number, row in enumerate(rows):
        mood = moods[number % 3]
        row["values"] = {**row["values"], "mood": mood}
        row["turns"][0]["content"] += f" I am {mood}."
    changed = 0
    for row, new in zip(rows, with_unheard(rows, {"town": TOWNS, "mood": moods}, 1.0, SEED), strict=True):
        changed += not new["turns"][0]["content"].endswith(f" I am {row['values']['mood']}.")
        assert new["turns"][-1] != row["turns"][-1]
    assert 0.2 < changed / len(rows) < 0.5


def made(pool: list[str]) -> list[str]:
    return [unheard(pool, pool, random.Random(number)) for number in range(600)]


def test_some_go_on_with_another_value_after_a_small_word():
    found = made(["the list of exclusions", "the waiting period", "the next premium"])
    assert 20 < sum(bool(re.search(r" of the ", value)) for value in found) < 120


def test_some_have_a_word_twice():
    found = [value.split() for value in made(["work laptop", "kitchen computer", "old desktop"])]
    assert 5 < sum(words[0] == words[-1] for words in found) < 60


def test_names_may_be_known_words_and_have_any_letters_in_a_row():
    found = made(TOWNS)
    assert {known.capitalize() for known in common()} & set(found)
    assert any(re.search("pp|tt|ff|mm|gh", value) for value in found)  # which syllables never put together


def test_some_names_have_a_capital_inside():
    found = made(["Excel sheet", "Photoshop window"])
    assert 10 < sum(bool(re.match("[A-Z][a-z]+[A-Z][a-z]+ ", value)) for value in found) < 90


def test_a_value_of_small_words_alone_stays():
    assert unheard(["at ten", "by six"], ["at ten"], random.Random(1)) == "by six"


def test_a_name_of_two_words_in_one_stays_such_a_name():
    rng, files = random.Random(SEED), ["PowerPoint deck", "OneNote page"]
    made = [unheard(files, files, rng) for _ in range(60)]
    strange = [value for value in made if value[0].isupper() and not re.match("PowerPoint|OneNote", value)]
    assert len(strange) > 20 and all(re.match("[A-Z][a-z]+[A-Z][a-z]+ ", value) for value in strange)


def test_a_long_number_is_made_anew_with_digits_in_a_row_and_its_noughts():
    rng, numbers = random.Random(SEED), ["4003", "9120", "7700"]
    made = [unheard(numbers, numbers, rng) for _ in range(200)]
    assert all(re.fullmatch(r"[1-9]\d{3}", value) and value not in numbers for value in made)
    assert sum(bool(re.search(r"([1-9])\1", value)) for value in made) > 80
    assert any(value.endswith("00") for value in made) and any(not value.endswith("0") for value in made)
