"""Which step an agent turn was: known turns are heard, nonsense is refused, and how well is measured."""

import random

import pytest
from subterra import matcher
from subterra.errors import SubterraError
from subterra.text import whole_words

CITIES = ["Lisbon", "Kyoto", "New York", "Cairo", "Lima", "Oslo"]
SAYS = {
    "greet": [
        "Hello and welcome, where would you like to travel?",
        "Good day! What trip do you have in mind?",
    ],
    "ask": [
        "Nice idea, {}! When would you leave and who comes along?",
        "For {} I need the date and your party.",
    ],
    "offer": [
        "I have a quiet inn or a large hotel in {}. Which one?",
        "In {} there is a flat or a farm. Any good?",
    ],
    "ask+booked": [
        "All set, {} is booked. Have a lovely journey!",
        "Your stay in {} is paid for. Safe travels!",
    ],
}
CUSTOMER = [
    "I want to go to Lima.",
    "Two of us, please, on the fourth of May.",
    "Yes, book it.",
    "Anything else?",
]


def labelled(cities=CITIES, times=6):
    return [
        (line.format(city), label)
        for label, lines in SAYS.items()
        for line in lines
        for city in cities
        for _ in range(times)
    ]


@pytest.fixture(scope="module")
def fitted():
    return matcher.fit(labelled(), CITIES, CUSTOMER)


def test_a_known_phrasing_is_heard_with_a_value_never_seen(fitted):
    assert fitted.match("In Zanzibar there is a flat or a farm. Any good?")[0] == "offer"
    assert fitted.match("All set, 17 is booked. Have a lovely journey!")[0] == "ask+booked"


def test_shuffled_words_glued_halves_and_customers_are_not_heard_as_a_step(fitted):
    assert fitted.match("hotel a Lisbon or Which inn a quiet have large I one? in")[0] == "?"
    assert fitted.match("Hello and welcome, where would you is booked. Have a lovely journey!")[0] == "?"
    assert fitted.match("I want to go to Lima.")[0] == "?"


def test_silence_and_words_from_elsewhere_are_refused_with_no_confidence(fitted):
    assert fitted.match_all(["", "xyzzy plugh"]) == [("?", 0.0), ("?", 0.0)]
    assert fitted.match_all([]) == []


def test_the_order_of_the_turns_changes_nothing(fitted):
    turns = labelled()
    random.Random(0).shuffle(turns)
    again = matcher.fit(turns, reversed(CITIES), reversed(CUSTOMER))
    texts = [text for text, _ in labelled(["Quito"], 1)] + CUSTOMER
    assert again.threshold == fitted.threshold
    assert again.match_all(texts) == fitted.match_all(texts)


def test_a_batch_hears_what_single_turns_hear(fitted):
    texts = [text for text, _ in labelled(["Cairo"], 1)]
    assert fitted.match_all(texts) == [fitted.match(text) for text in texts]


def test_a_saved_matcher_hears_the_same(fitted, tmp_path):
    texts = [text for text, _ in labelled(["Cairo"], 1)] + CUSTOMER
    path = matcher.save(fitted, tmp_path / "evaluation" / "matcher.joblib")
    assert matcher.load(path).match_all(texts) == fitted.match_all(texts)


def test_the_accuracy_counts_turns_that_are_heard_as_another_step(fitted):
    right = ("Good day! What trip do you have in mind?", "greet")
    wrong = ("Good day! What trip do you have in mind?", "offer")
    measured = matcher.accuracy(fitted, [right, right, right, wrong])
    assert (measured["turns"], measured["correct"], measured["accuracy"]) == (4, 3, 0.75)
    assert measured["labels"] == 4
    assert measured["threshold"] == fitted.threshold


def test_the_accuracy_says_how_much_of_each_kind_of_noise_is_refused(fitted):
    measured = matcher.accuracy(fitted, labelled(["Porto"], 1), CUSTOMER)
    assert measured["accuracy"] == 1.0
    assert set(measured["noise"]) == {"shuffled", "glued", "customer"}
    assert measured["noise"]["customer"] == {"turns": 4, "refused": 4}
    assert measured["noise"]["shuffled"]["turns"] == 8


def test_an_accuracy_without_turns_is_no_number(fitted):
    assert matcher.accuracy(fitted, [])["accuracy"] is None


def test_a_procedure_with_one_step_still_refuses_what_is_not_that_step():
    only = matcher.fit([(text, label) for text, label in labelled() if label == "offer"], CITIES, CUSTOMER)
    assert only.match("I have a quiet inn or a large hotel in Bali. Which one?")[0] == "offer"
    assert only.match("Yes, book it.")[0] == "?"


@pytest.mark.parametrize("turns", [[], [("", "greet")], [("?!", "greet"), ("...", "offer")]])
def test_turns_without_a_word_are_a_mistake_told_in_one_line(turns):
    with pytest.raises(SubterraError) as mistake:
        matcher.fit(turns)
    assert "\n" not in str(mistake.value)


def test_masking_takes_the_longest_value_and_whole_words_only():
    pattern = whole_words(["York", "New York", "one"])
    assert matcher.masked("New York, one stone, 1,250 dollars", pattern) == "zzvalue, zzvalue stone, zzvalue dollars"
    assert matcher.masked("Plain", whole_words([])) == "plain"
