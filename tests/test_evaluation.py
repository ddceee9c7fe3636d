"""Scenarios are played many at once, each dialogue is kept when it is over, and what stops one is told at the end."""

import asyncio

import pytest
from subterra.cache import Cache
from subterra.conditions.compiled import Compiled
from subterra.errors import SubterraError
from subterra.evaluation import BROKEN, hold_dialogues, scripted_stage
from subterra.models import Reply
from subterra.models.asking import NoUse, Unanswered
from test_dialogue import scenario

ROWS = [scenario(number) for number in range(6)]


class Slow:
    """Answers after others had their turn; fails to order, and counts how many it answers at once."""

    def __init__(self, fail=None):
        self.asked = self.at_once = self.most = 0
        self.fail = fail or (lambda asked: None)

    async def reply(self, messages, *, temperature, seed, max_tokens=120, as_json=False):
        self.asked += 1
        if problem := self.fail(self.asked):
            raise problem
        self.at_once += 1
        self.most = max(self.most, self.at_once)
        await asyncio.sleep(0)
        self.at_once -= 1
        return Reply(f"{len(messages)} {seed}", 10, 3, 0.5, dollars=0.25, busy=0.1, tokens_cached=2)


def stage(model, **changes):
    settings = {"name": "c", "temperature": 0.7, "seed": 7, "max_turns": 40, "identity": "one"} | changes
    return scripted_stage(Compiled(model, "Be helpful.", settings["temperature"]), **settings)


def play(model, rows=ROWS, folder=None, trials=1, parallel=3, **changes):
    async def held():
        if folder is None:
            return await hold_dialogues(stage(model, **changes), rows, trials=trials, parallel=parallel)
        with Cache(folder, paid=False) as kept:
            return await hold_dialogues(stage(model, **changes), rows, trials=trials, parallel=parallel, kept=kept)

    return asyncio.run(held())


def test_as_many_dialogues_as_wanted_are_held_at_once():
    one, three = Slow(), Slow()
    assert play(one, parallel=1) == play(three, parallel=3)
    assert (one.most, three.most) == (1, 3)


def test_trials_of_a_scenario_differ_and_have_numbers():
    rows = play(Slow(), rows=ROWS[:2], trials=3)
    assert [(row["id"], row["trial"]) for row in rows] == [(f"s{n}", trial) for n in range(2) for trial in range(3)]
    assert len({row["turns"][0]["content"] for row in rows}) == 6


def test_a_turn_has_the_counts_of_its_answers():
    row = play(Slow())[0]
    counts = {"tokens_in": 10, "tokens_out": 3, "tokens_cached": 2, "calls": 1, "dollars": 0.25, "seconds": 0.5}
    assert {key: row["turns"][0][key] for key in counts} == counts and row["turns"][0]["busy"] == 0.1
    assert all(not row["turns"][1][key] for key in counts)


def test_what_is_over_is_never_played_again(tmp_path):
    first, again, more = Slow(), Slow(), Slow()
    rows = play(first, ROWS[:4], tmp_path)
    assert play(again, ROWS[:4], tmp_path) == rows and again.asked == 0
    assert play(more, ROWS, tmp_path)[:4] == rows and more.asked == 2 * 3


@pytest.mark.parametrize(
    "change",
    [{"identity": "two"}, {"seed": 8}, {"temperature": 0.5}, {"max_turns": 39}],
    ids=lambda one: next(iter(one)),
)
def test_whatever_shapes_a_dialogue_asks_anew(tmp_path, change):
    model = Slow()
    play(Slow(), ROWS[:1], tmp_path)
    play(model, ROWS[:1], tmp_path, **change)
    assert model.asked == 3


def test_a_scenario_with_other_words_is_played_anew(tmp_path):
    play(Slow(), ROWS[:1], tmp_path)
    other, model = scenario(0, customer=("Oslo, please.", "Book it.")), Slow()
    play(model, [other], tmp_path)
    assert model.asked == 3


def test_a_dialogue_that_an_endpoint_breaks_off_is_told_and_asked_again_next_time(tmp_path):
    broken = play(Slow(lambda asked: Unanswered("gone") if asked == 2 else None), ROWS[:2], tmp_path, parallel=1)
    assert [row["stopped"] for row in broken] == [BROKEN, "finished"] and broken[0]["turns"] == []
    whole = Slow()
    assert [row["stopped"] for row in play(whole, ROWS[:2], tmp_path)] == ["finished"] * 2 and whole.asked == 3


def test_what_makes_asking_useless_stops_the_play_and_keeps_what_is_over(tmp_path):
    with pytest.raises(SubterraError, match="wrong key"):
        play(Slow(lambda asked: NoUse("wrong key") if asked > 7 else None), ROWS, tmp_path, parallel=1)
    left = Slow()
    play(left, ROWS, tmp_path)
    assert left.asked == 3 * 4
