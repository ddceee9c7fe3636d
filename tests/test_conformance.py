"""Whether an agent kept to its procedure: legal turns, ends, values, and the sentence that says so."""

import pytest
from subterra import records
from subterra.conformance import expected_runs, says, score_dialogue
from subterra.flowchart import Flowchart, Node, Way
from subterra.records import NOTHING


def node(name, role, *ways, prompt="", outcome=""):
    ways = tuple(way if isinstance(way, Way) else Way(way, f"to {way}", (), {}) for way in ways)
    return Node(name, role, prompt, (), ways, outcome)


def flowchart(start, *nodes, **variables):
    return Flowchart("toy", "Toy", "You help.", start, "trail", variables, {each.id: each for each in nodes})


SHOP = flowchart(
    "greet",
    node("greet", "agent", "request", prompt="Greet."),
    node("request", "user", "offer", "human"),
    node("offer", "agent", "choice", prompt="Offer {item} for {price}."),
    node("choice", "user", "booked", "offer"),
    node("booked", "end", prompt="Say that {item} is sold.", outcome="success"),
    node("human", "end", prompt="Hand over.", outcome="escalated"),
    item=("lamp", "table"),
    price=("5", "50"),
)
SALE = ["greet", "request", "offer", "choice", "booked"]
WORDS = ["Hello!", "A lamp please.", "A lamp for 5 dollars.", "Yes.", "The lamp is yours."]


def scenario(path, outcome, **values):
    facts = {"id": "s1", "split": "known", "nodes": path, "outcome": outcome, "values": values}
    return facts | {"corrected": {}, "turns": []}


def dialogue(*words, first="assistant", stopped="finished"):
    roles = ["assistant", "user"] if first == "assistant" else ["user", "assistant"]
    turns = [
        {"role": roles[index % 2], "content": text, "nodes": [], "values": {}, "call": ""}
        | NOTHING
        | {"tokens_in": 10, "tokens_out": 2, "seconds": 0.5, "calls": 1, "guessed": 1}
        for index, text in enumerate(words)
    ]
    return {
        "id": "s1",
        "split": "known",
        "condition": "toy",
        "temperature": 0.0,
        "trial": 0,
        "customer": "scripted",
        "turns": turns,
        "stopped": stopped,
    }


def heard(*labels):
    return [(label, 0.93) for label in labels]


def sale_score(*labels, words=WORDS, **facts):
    return score_dialogue(
        SHOP, scenario(SALE, "success", item="lamp", price="5"), dialogue(*words, **facts), heard(*labels)
    )


def test_a_talk_along_the_flowchart_conforms_and_reaches_its_outcome():
    score = sale_score("greet", "offer", "booked")
    assert score["conforming"] and score["outcome_correct"]
    assert (score["outcome_expected"], score["outcome_reached"]) == ("success", "success")
    assert (score["legal_steps"], score["steps_total"], score["first_wrong"]) == (3, 3, None)
    assert (score["values_correct"], score["values_total"]) == (3, 3)
    assert (score["turns"], score["tokens_in"], score["tokens_out"], score["seconds"]) == (5, 50, 10, 2.5)
    assert score["guessed"] == 5
    assert [step["after"] for step in score["steps"]] == ["", "request", "choice"]
    assert score["justification"] == (
        "All 3 agent turns were legal up to the end (success), and 3 of 3 values were said."
    )


def test_a_wrong_turn_is_named_and_the_walk_goes_on_with_the_customer():
    score = sale_score("greet", "booked", "booked")
    assert not score["conforming"]
    assert (score["legal_steps"], score["first_wrong"]) == (2, 2)
    assert score["outcome_correct"]
    assert score["justification"] == "Turn 2: expected offer after request, heard booked (0.93)."


def test_a_turn_that_matches_nothing_is_wrong():
    score = sale_score("?", "offer", "booked")
    assert score["first_wrong"] == 0
    assert score["justification"] == "Turn 0: expected greet at the start, heard nothing known (0.93)."


def test_another_end_than_the_scenarios_is_another_outcome():
    score = sale_score("greet", "offer", "human")
    assert (score["outcome_reached"], score["outcome_correct"], score["conforming"]) == (
        "escalated",
        False,
        False,
    )


def test_a_talk_that_never_comes_to_an_end_reaches_no_outcome():
    score = sale_score("greet", "offer", "offer")
    assert (score["outcome_reached"], score["outcome_correct"]) == (None, False)


def test_legal_turns_that_break_off_do_not_conform():
    score = sale_score("greet", "offer", words=WORDS[:3], stopped="turn_limit")
    assert (score["legal_steps"], score["steps_total"], score["conforming"]) == (2, 2, False)
    assert (score["values_correct"], score["values_total"]) == (2, 2)
    assert score["outcome_reached"] is None
    assert "broke off (turn_limit)" in score["justification"]


def test_a_value_not_said_is_named_but_the_turn_stays_legal():
    words = [*WORDS[:2], "A table for 50 dollars.", *WORDS[3:]]
    score = sale_score("greet", "offer", "booked", words=words)
    assert score["conforming"]
    assert (score["values_correct"], score["values_total"]) == (1, 3)
    assert score["steps"][1]["values_missing"] == ["item=lamp", "price=5"]
    assert "1 of 3 values were said (first missing: item=lamp in turn 2)" in score["justification"]


def test_values_are_those_of_the_expected_turn_even_where_another_was_heard():
    score = sale_score("greet", "human", "booked", words=[*WORDS[:2], "One moment.", *WORDS[3:]])
    assert (score["values_correct"], score["values_total"]) == (1, 3)


@pytest.mark.parametrize(
    ("text", "value", "said"),
    [
        ("for 50 dollars", "5", False),
        ("for 5 dollars", "5", True),
        ("for $5.", "5", True),
        ("for 5.50", "5", False),
        ("for 1,500 dollars", "1500", True),
        ("for 1,500 dollars", "500", False),
        ("on 12 May", "2 May", False),
        ("to NEW  york!", "New York", True),
        ("a lampshade", "lamp", False),
        ("5, 6 and 7", "5", True),
        ("a (dot) in c++", "c++", True),
    ],
)
def test_a_value_counts_as_a_whole_word_or_number(text, value, said):
    assert says(text, value) is said


TIERS = flowchart(
    "ask",
    node("ask", "user", "look"),
    node(
        "look",
        "agent",
        Way("gold", "premium", (), {"tier": ("premium",)}),
        Way("plain", "basic", (), {"tier": ("basic", "free")}),
        prompt="Look up {tier}.",
    ),
    node("gold", "agent", "thanks", prompt="Praise."),
    node("plain", "agent", "thanks", prompt="Explain."),
    node("thanks", "user", "done"),
    node("done", "end", outcome="success"),
    tier=("basic", "free", "premium"),
)


def test_an_agent_hub_demands_the_run_that_the_draw_allows():
    demands = expected_runs(TIERS, scenario(["ask", "look", "gold", "thanks", "done"], "success", tier="premium"))
    assert [(demand.after, demand.runs) for demand in demands] == [
        ("", ((),)),
        ("ask", (("look", "gold"),)),
        ("thanks", (("done",),)),
    ]


def test_a_customer_may_open_and_an_end_without_words_needs_none():
    lead = scenario(["ask", "look", "gold", "thanks", "done"], "success", tier="premium")
    talk = dialogue("My tier?", "You are premium. Bravo!", "Thanks.", "Whatever.", first="user")
    score = score_dialogue(TIERS, lead, talk, heard("look+gold", "?"))
    assert score["conforming"] and score["outcome_correct"]
    assert (score["steps_total"], score["values_correct"]) == (1, 1)
    assert score["steps"][0] | {"confidence": 0} == {
        "turn": 1, "after": "ask", "expected": "look+gold", "heard": "look+gold",
        "confidence": 0, "legal": True, "values_missing": [], "call_expected": "", "call_made": "",
    }  # fmt: skip


def test_half_a_run_and_the_run_of_another_draw_are_wrong():
    lead = scenario(["ask", "look", "gold", "thanks", "done"], "success", tier="premium")
    talk = dialogue("My tier?", "You are premium.", "Thanks.", "Whatever.", first="user")
    for label in ("look", "look+plain"):
        score = score_dialogue(TIERS, lead, talk, heard(label, "?"))
        assert score["first_wrong"] == 1
        assert score["steps"][0]["expected"] == "look+gold"


def test_any_run_that_the_draw_allows_is_legal_where_several_are():
    both = flowchart(
        "ask",
        node("ask", "user", "a"),
        node("a", "agent", "b", "c", prompt="A."),
        node("b", "agent", "end", prompt="Say {item}."),
        node("c", "agent", "end", prompt="C."),
        node("end", "end", outcome="done"),
        item=("lamp",),
    )
    lead = scenario(["ask", "a", "b", "end"], "done", item="lamp")
    score = score_dialogue(both, lead, dialogue("Hi.", "A, C.", first="user"), heard("a+c"))
    assert score["conforming"]
    assert (score["values_total"], score["outcome_reached"]) == (0, "done")


def test_customer_nodes_in_a_row_are_one_turn_and_agent_loops_come_to_an_end():
    loop = flowchart(
        "say",
        node("say", "user", "add"),
        node("add", "user", "think"),
        node("think", "agent", "think", "end", prompt="Think."),
        node("end", "end", prompt="Bye.", outcome="done"),
    )
    demands = expected_runs(loop, scenario(["say", "add", "think", "end"], "done"))
    assert [demand.after for demand in demands] == ["", "add"]
    assert set(demands[1].runs) == {("think", "end"), ("think", "think", "end")}


def test_a_score_fits_the_table_of_scores(tmp_path):
    score = sale_score("greet", "booked", "booked")
    path = records.write_table([score], records.SCORE, tmp_path / "scores.parquet")
    assert records.read_table(path, records.SCORE) == [score]


def test_hearing_fewer_turns_than_were_spoken_is_refused():
    with pytest.raises(ValueError):
        sale_score("greet", "offer")
