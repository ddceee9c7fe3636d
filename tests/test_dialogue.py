"""A dialogue is the scenario's customer and the model in turn, and depends on nothing else."""

import asyncio
import io
import json

import pytest
from subterra.conditions.compiled import Compiled
from subterra.customer import ScriptedCustomer
from subterra.dialogue import dialogue_seed, spread
from subterra.evaluation import hold_dialogues, scripted_stage
from subterra.models import ContextFull, Reply
from subterra.progress import track
from subterra.records import DIALOGUE, read_table, write_table


class Parrot:
    """Answers with a count of what it was told, remembers every call, and falls silent when asked to."""

    def __init__(self, silent_after=99):
        self.calls, self.silent_after = [], silent_after

    async def reply(self, messages, *, temperature, seed, max_tokens=120, as_json=False):
        self.calls.append({"messages": [dict(message) for message in messages], "seed": seed})
        said = "" if len(self.calls) > self.silent_after else f"answer {len(messages)} {seed if temperature else ''}"
        return Reply(said, tokens_in=10 * len(messages), tokens_out=3, seconds=0.25)


def turn(role, content, node):
    return {"role": role, "content": content, "nodes": [node], "values": {}, "call": ""}


def scenario(number=1, first="assistant", customer=("Lisbon, please.", "Book it.")):
    lines = [turn("user", words, f"ask{i}") for i, words in enumerate(customer)]
    agent = [turn("assistant", "the scenario's own words", "n") for _ in range(3)]
    turns = [one for pair in zip(agent, lines, strict=False) for one in pair] + [agent[-1]]
    turns = turns if first == "assistant" else turns[1:]
    return {"id": f"s{number}", "split": "known", "turns": turns}


def stage(model, **changes):
    """Return where a model talks with the customers of scenarios."""
    settings = {"name": "compiled-q8_0", "temperature": 0.0, "seed": 7, "max_turns": 40} | changes
    return scripted_stage(Compiled(model, "Be helpful.", settings["temperature"]), **settings)


def held(model, row, **changes):
    return asyncio.run(stage(model, **changes).hold(row, 0))


def test_the_customer_says_its_own_lines_in_order_and_then_nothing():
    customer = ScriptedCustomer(scenario())
    first, second, rest = (asyncio.run(customer.speak([])) for _ in range(3))
    assert [first["content"], second["content"], rest] == ["Lisbon, please.", "Book it.", None]


def test_the_agent_greets_answers_every_line_and_has_the_last_word():
    model = Parrot()
    row = held(model, scenario())
    assert [turn["role"] for turn in row["turns"]] == ["assistant", "user", "assistant", "user", "assistant"]
    assert row["stopped"] == "finished"
    assert [turn["nodes"] for turn in row["turns"]] == [[], ["ask0"], [], ["ask1"], []]
    assert model.calls[0]["messages"] == [{"role": "system", "content": "Be helpful."}]


def test_the_model_hears_its_own_words_and_never_the_scenarios_or_its_nodes():
    model = Parrot()
    held(model, scenario())
    heard = model.calls[-1]["messages"]
    assert [message["content"] for message in heard[1:]] == [
        "answer 1",
        "Lisbon, please.",
        "answer 3",
        "Book it.",
    ]
    assert all(message.keys() == {"role", "content"} for message in heard)


def test_the_customer_begins_where_the_scenario_has_it_so():
    row = held(Parrot(), scenario(first="user"))
    assert [turn["role"] for turn in row["turns"]] == ["user", "assistant", "user", "assistant"]


def test_a_dialogue_without_customer_lines_is_the_greeting():
    row = held(Parrot(), scenario(customer=()))
    assert [turn["role"] for turn in row["turns"]] == ["assistant"] and row["stopped"] == "finished"


def test_an_empty_agent_turn_ends_it():
    row = held(Parrot(silent_after=1), scenario())
    assert row["stopped"] == "empty_turn" and [turn["content"] for turn in row["turns"][2:]] == [""]


@pytest.mark.parametrize("limit", [1, 2, 3, 4])
def test_the_turn_limit_ends_it(limit):
    row = held(Parrot(), scenario(), max_turns=limit)
    assert row["stopped"] == "turn_limit" and len(row["turns"]) == limit


def test_a_conversation_that_the_model_cannot_read_any_more_ends_and_keeps_what_was_said():
    class Forgetful(Parrot):
        async def reply(self, messages, **settings):
            if len(messages) > 3:
                raise ContextFull("too long")
            return await super().reply(messages, **settings)

    row = held(Forgetful(), scenario())
    assert row["stopped"] == "context_full" and [turn["role"] for turn in row["turns"]][-1] == "user"


def test_a_dialogue_that_just_fits_the_limit_is_finished():
    assert held(Parrot(), scenario(), max_turns=5)["stopped"] == "finished"


def test_the_order_of_scenarios_changes_no_dialogue(capfd):
    rows = [scenario(number) for number in range(4)]
    talking = {"name": "c", "temperature": 0.7, "max_turns": 9}
    forward = asyncio.run(hold_dialogues(stage(Parrot(), **talking), rows))
    backward = asyncio.run(hold_dialogues(stage(Parrot(), **talking), rows[::-1]))
    assert forward == backward[::-1]
    assert len({row["turns"][0]["content"] for row in forward}) == 4
    assert "c at temperature 0.7: 4 of 4 (100 %)" in capfd.readouterr().err


def test_every_turn_draws_anew_and_every_setting_changes_the_draw():
    model = Parrot()
    held(model, scenario(), temperature=0.7)
    assert len({call["seed"] for call in model.calls}) == 3
    assert len({dialogue_seed(*key) for key in [(7, "a", 0.7), (8, "a", 0.7), (7, "b", 0.7), (7, "a", 0.5)]}) == 4
    assert dialogue_seed(7, "a", 1) == dialogue_seed(7, "a", 1.0) < 2**32
    assert dialogue_seed(7, "a", 1) == dialogue_seed(7, "a", 1, trial=0) != dialogue_seed(7, "a", 1, trial=1)


def test_a_dialogue_is_a_row_of_the_documented_table(tmp_path):
    row = held(Parrot(), scenario())
    write_table([row], DIALOGUE, tmp_path / "dialogues.parquet")
    assert read_table(tmp_path / "dialogues.parquet", DIALOGUE) == [row]
    assert row["turns"][2]["tokens_in"] == 30 and row["turns"][1]["tokens_in"] == 0


def test_every_beginning_of_the_scenarios_is_spread_over_paths_and_ways():
    nodes = {"p": ["a", "b", "d"], "q": ["a", "c", "d"], "r": ["a", "b", "e"]}
    rows = [{"id": f"{path}{n}", "path": path, "nodes": nodes[path]} for path in nodes for n in range(5)]
    order = [row["path"] for row in spread(rows)]
    assert sorted(order) == sorted(row["path"] for row in rows)
    assert all(len(set(order[at : at + 3])) == 3 for at in range(0, 15, 3))
    assert [row["id"] for row in spread(rows)] == [row["id"] for row in spread(rows[::-1])]


# -- tools -----------------------------------------------------------------------------------------------------------

FIND = {"name": "find", "arguments": {"order": "7"}}
FOUND = {"day": "Friday", "state": "sold"}


def calling(*results: dict) -> dict:
    """Return a scenario in which the agent finds the same order, once for each result, and then tells of it."""
    turns = [turn("assistant", "Which order?", "greet"), turn("user", "7.", "tell")]
    for result in results:
        turns.append(turn("assistant", "", "find") | {"call": json.dumps(FIND)})
        turns.append(turn("tool", json.dumps(result), "find"))
    turns += [turn("assistant", "On Friday.", "told"), turn("user", "Bye.", "bye"), turn("assistant", "Bye!", "done")]
    return {"id": "s1", "split": "known", "turns": turns}


class Caller(Parrot):
    """Says its lines one after the other; a mapping is a call."""

    def __init__(self, *lines):
        super().__init__()
        self.lines = iter(lines)

    async def reply(self, messages, **settings):
        reply, line = await super().reply(messages, **settings), next(self.lines)
        said = f"<tool_call>{json.dumps(line)}</tool_call>" if isinstance(line, dict) else line
        return Reply(said, reply.tokens_in, reply.tokens_out, reply.seconds)


def test_a_call_is_answered_before_the_customer_speaks_again():
    model = Caller("Which order?", FIND, FIND, "On Friday.", "Bye!")
    row = held(model, calling({"error": "timeout"}, FOUND))
    assert [one["role"] for one in row["turns"]] == [
        "assistant", "user", "assistant", "tool", "assistant", "tool", "assistant", "user", "assistant",
    ]  # fmt: skip
    assert [one["content"] for one in row["turns"] if one["role"] == "tool"] == [
        '{"error": "timeout"}',
        json.dumps(FOUND),
    ]
    assert row["stopped"] == "finished" and row["turns"][2]["call"] == json.dumps(FIND)
    assert row["turns"][3]["tokens_in"] == 0 and row["turns"][2]["content"] == ""


def test_the_model_hears_what_it_called_and_what_came_of_it():
    model = Caller("Which order?", FIND, "On Friday.", "Bye!")
    held(model, calling(FOUND))
    called = {"role": "assistant", "content": "", "tool_calls": [{"type": "function", "function": FIND}]}
    assert model.calls[-1]["messages"][3:5] == [called, {"role": "tool", "content": json.dumps(FOUND)}]


def test_another_call_than_the_scenarios_is_told_so_and_the_talk_goes_on():
    other = {"name": "find", "arguments": {"order": "8"}}
    row = held(Caller("Which order?", other, "On Friday.", "Bye!"), calling(FOUND))
    assert row["turns"][3]["content"] == '{"error": "not found"}' and row["stopped"] == "finished"


@pytest.mark.parametrize("limit", [8, 9])
def test_an_agent_that_calls_without_end_comes_to_the_turn_limit(limit):
    row = held(Caller("Which order?", *[FIND] * 20), calling(FOUND), max_turns=limit)
    assert row["stopped"] == "turn_limit" and len(row["turns"]) == limit


def test_a_tool_of_the_users_is_asked_instead_of_the_stand_in():
    asked = []
    own = {"find": lambda arguments: (asked.append(arguments), FOUND)[1]}
    row = held(Caller("Which order?", FIND, "On Friday.", "Bye!"), calling(FOUND), own=own)
    assert asked == [{"order": "7"}] and row["stopped"] == "finished"


def test_a_tool_of_the_users_that_answers_otherwise_than_the_scenario_ends_the_talk():
    row = held(Caller("Which order?", FIND), calling(FOUND), own={"find": lambda _: FOUND | {"day": "Monday"}})
    assert row["stopped"] == "other_result"
    assert json.loads(row["turns"][-1]["content"]) == {"day": "Monday", "state": "sold"}


def test_the_order_of_keys_in_a_tools_answer_does_not_matter():
    own = {"find": lambda _: dict(reversed(FOUND.items()))}
    assert held(Caller("Which order?", FIND, "On Friday.", "Bye!"), calling(FOUND), own=own)["stopped"] == "finished"


def test_a_dialogue_with_calls_is_a_row_of_the_documented_table(tmp_path):
    row = held(Caller("Which order?", FIND, "On Friday.", "Bye!"), calling(FOUND))
    write_table([row], DIALOGUE, tmp_path / "dialogues.parquet")
    assert read_table(tmp_path / "dialogues.parquet", DIALOGUE) == [row]


def test_a_log_gets_one_line_a_minute_and_a_last_one():
    log, seconds = io.StringIO(), iter(range(0, 10_000, 25))
    assert list(track(range(6), 6, "work", stream=log, clock=lambda: next(seconds))) == list(range(6))
    lines = log.getvalue().splitlines()
    assert 2 <= len(lines) < 6
    assert lines[0].startswith("work: ") and "left" in lines[0] and "took" in lines[-1]


def test_a_terminal_gets_a_bar_with_rate_and_total():
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    screen = Terminal()
    assert list(track("abc", 3, "work", stream=screen)) == list("abc")
    assert "3/3" in screen.getvalue() and "/s" in screen.getvalue()


def test_work_on_nothing_is_no_mistake():
    log = io.StringIO()
    assert list(track([], 0, "work", stream=log)) == []
    assert "0 of 0" in log.getvalue()
