"""Agreement against figures worked by hand, and the dialogues of which judge and machine think otherwise."""

import pytest
from subterra.agreement import agreement, between_judges, disagreements, weighted_kappa, with_machine
from subterra.verdicts import CRITERIA


def judged(name="s1", success=5, judge="a", condition="compiled-q8_0", temperature=0.0, trial=0, **scores):
    given = dict.fromkeys(CRITERIA, 4) | {"task_success": success} | scores
    criteria = [
        {"criterion": key, "score": score, "reason": f"{key} is {score}", "turn": 0, "quote": "Hi"}
        for key, score in given.items()
    ]
    row = {"id": name, "split": "known", "condition": condition, "temperature": temperature, "trial": trial}
    return row | {"judge": judge, "criteria": criteria, "failed": success <= 3, "problem": ""}


def unjudged(name="s1", judge="a"):
    return judged(name, judge=judge) | {"criteria": [], "failed": None, "problem": "no answer: too long"}


def scored(name="s1", legal=4, of=4, condition="compiled-q8_0", temperature=0.0, trial=0):
    row = {"id": name, "split": "known", "condition": condition, "temperature": temperature, "trial": trial}
    why = f"{legal} of {of} turns were legal."
    return row | {"conforming": legal == of, "legal_steps": legal, "steps_total": of, "justification": why}


def test_weighted_kappa_of_a_table_worked_by_hand():
    # Rows: the first judge's 1, 2, 3, of 12, 9, 9 talks; columns: the second's, of 12, 10, 8.
    table = [[8, 3, 1], [4, 5, 0], [0, 2, 7]]
    seen = 3 + 4 * 1 + 4 + 2
    chance = (12 * 10 + 4 * 12 * 8 + 9 * 12 + 9 * 8 + 4 * 9 * 12 + 9 * 10) / 30
    pairs = [(i + 1, j + 1) for i, row in enumerate(table) for j, count in enumerate(row) for _ in range(count)]
    assert (seen, chance) == (13, 40.2)
    assert weighted_kappa(*zip(*pairs, strict=True)) == pytest.approx(1 - 13 / 40.2)


def test_weighted_kappa_is_that_of_scikit_learn():
    from sklearn.metrics import cohen_kappa_score

    left = [1, 5, 4, 4, 3, 5, 2, 5, 5, 1, 3, 4]
    right = [2, 5, 3, 4, 3, 4, 2, 5, 4, 3, 3, 5]
    assert weighted_kappa(left, right) == pytest.approx(cohen_kappa_score(left, right, weights="quadratic"))


@pytest.mark.parametrize(
    ("left", "right", "kappa"),
    [
        ([1, 3, 5], [1, 3, 5], 1.0),
        ([1, 5], [5, 1], -1.0),
        ([5, 5, 5], [5, 5, 5], None),
        ([5, 5, 5], [5, 4, 3], 0.0),
        ([], [], None),
    ],
)
def test_weighted_kappa_at_its_ends_and_where_it_has_no_value(left, right, kappa):
    assert weighted_kappa(left, right) == kappa


def test_judges_are_compared_over_what_both_have_judged_of_the_same_run():
    first = [judged(f"s{number}", success=score) for number, score in enumerate([1, 2, 2, 1])]
    second = [judged(f"s{number}", success=score, judge="b") for number, score in enumerate([1, 2, 1, 1])]
    lone = [judged("s0", 5, trial=1), judged("s1", 5, condition="in_context"), unjudged("s9")]
    found = between_judges(
        [*first, *lone], [*reversed(second), judged("s9", 1, judge="b"), judged("s1", 1, temperature=0.7)]
    )
    assert [row["criterion"] for row in found] == list(CRITERIA)
    assert found[0] == {"criterion": "task_success", "conversations": 4, "kappa": pytest.approx(0.5)}
    assert found[1] == {"criterion": "information_accuracy", "conversations": 4, "kappa": None}


def test_judge_and_machine_are_set_side_by_side_by_id_condition_temperature_and_trial():
    rows = [
        judged("s1", 5),
        judged("s2", 2),
        judged("s3", 4),
        judged("s4", 3),
        judged("s1", 1, trial=1),
        unjudged("s5"),
    ]
    machine = [scored("s1"), scored("s2", 1), scored("s3", 3), scored("s4"), scored("s1", 0, trial=1), scored("s5")]
    assert with_machine(rows, machine) == {"both_good": 1, "both_bad": 2, "judge_good": 1, "machine_good": 1}


def test_disagreements_come_with_both_reasons_and_the_farthest_apart_first():
    rows = [
        judged("near", 4),
        judged("same", 5),
        judged("far", 1),
        judged("half", 5),
        judged("lost", 5),
        unjudged("none"),
    ]
    machine = [
        scored("near", 3),
        scored("same"),
        scored("far"),
        scored("half", 2),
        scored("lost", 1),
        scored("none", 0),
    ]
    found = disagreements(rows, machine)
    assert [(row["id"], row["good"], row["apart"]) for row in found] == [
        ("far", "machine", 1.0),
        ("lost", "judge", 0.75),
        ("half", "judge", 0.5),
        ("near", "judge", 0.0),
    ]
    assert found[0]["reason"] == "task_success is 1" and found[0]["justification"] == "4 of 4 turns were legal."
    assert (found[0]["condition"], found[0]["temperature"], found[0]["trial"]) == ("compiled-q8_0", 0.0, 0)


def test_a_dialogue_without_agent_turns_is_as_far_off_as_can_be():
    assert disagreements([judged(success=5)], [scored(legal=0, of=0) | {"conforming": False}])[0]["apart"] == 1.0


def test_the_whole_agreement_is_of_the_first_two_judges_and_of_the_first_with_the_machine():
    assert agreement([], [scored()]) is None
    rows = [judged("s1", 5), judged("s2", 1)]
    alone = agreement(rows, [scored("s1"), scored("s2", 1)])
    assert alone == {"judges": ["a"], "criteria": [], "machine": with_machine(rows, [scored("s1"), scored("s2", 1)])}
    both = agreement([*rows, judged("s1", 4, judge="b"), judged("s2", 1, judge="b")], [scored("s1")])
    assert both["judges"] == ["a", "b"] and both["machine"]["both_good"] == 1 == sum(both["machine"].values())
    assert both["criteria"][0]["kappa"] == pytest.approx(1 - 1 * 2 / (1 + 16 + 9 + 0))
