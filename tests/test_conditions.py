"""What each condition sends to its model, and that each of them can follow a procedure to its end."""

import asyncio
import json
import os
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from players import Perfect, play, score
from subterra import plan, records
from subterra.checker import check_spec
from subterra.conditions.graph import LangGraphCondition, graph_steps
from subterra.conditions.in_context import InContext
from subterra.conditions.procedure import procedure_text
from subterra.conditions.steps import read_letter, read_object
from subterra.converse import write_shard
from subterra.customer import ScriptedCustomer
from subterra.dialogue import hold_dialogue
from subterra.flowchart import ANSWERED, HEARD, Flowchart
from subterra.models import ContextFull, Reply
from subterra.plan import SPLITS
from subterra.tools import StandIn
from test_converse import LONGER, converse_toy
from test_plan import DESK, SETTINGS, shards
from toy_spec import SHOP, TOY, write

SPECS = Path("specs")
REAL = sorted(path.stem for path in SPECS.glob("*.yaml"))

# A customer who opens the talk and speaks for two steps in a row, then a tool that is asked nothing.
TWICE = """\
title: Ticket counter
system: You sell tickets.
start: come
variables:
  place: [Bonn, Ulm, Kiel]
  day: [Monday, Friday, Sunday]
nodes:
  come:
    role: user
    next:
      - {to: where, when: a ticket is wanted, says: [Good day.]}
      - {to: left, when: nothing is wanted, says: [Never mind.]}
  where: {role: user, says: ["To {place}."], next: look}
  look:
    role: tool
    call: {name: trains, arguments: {all: "yes"}}
    next:
      - {to: sell, when: trains are running, result: {state: "{day}"}}
      - {to: regret, when: there is a strike, result: {state: "{day}", strike: "yes"}}
      - {to: closed, when: it is too late, result: {state: late}}
  sell: {role: end, outcome: sold, prompt: "Sell a ticket to {place} on {day}.", says: ["{place}, {day}!"]}
  regret: {role: agent, prompt: Regret the strike., says: [A strike. Another time?], next: again}
  again: {role: user, says: [Yes.], next: closed}
  closed: {role: end, outcome: closed, prompt: Say that the counter is closed., says: [We are closed.]}
  left: {role: end, outcome: left}
"""
TOYS = {"toy": TOY, "longer": LONGER, "desk": DESK, "shop": SHOP, "twice": TWICE}


@pytest.fixture(scope="module")
def talks(tmp_path_factory) -> Callable[[str], tuple[Flowchart, list[dict]]]:
    """Return (flowchart, conversations) of a spec by name; a fifth of a customer's turns are interruptions."""
    made = {}

    def of(name: str) -> tuple[Flowchart, list[dict]]:
        if name not in made:
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(os, "fsync", lambda _: None)
                folder = tmp_path_factory.mktemp(name)
                made[name] = real(folder, name) if name in REAL else toy(folder, TOYS[name])
        return made[name]

    return of


def toy(folder: Path, text: str) -> tuple[Flowchart, list[dict]]:
    settings = {"conversations": dict.fromkeys(SPLITS, 4) | {"train": 16}, "interruptions": {"rate": 0.2}}
    return check_spec(write(folder, text)), list(converse_toy(folder, text, shards=1, **settings).values())


def real(folder: Path, name: str) -> tuple[Flowchart, list[dict]]:
    few = {"conversations": dict.fromkeys(SPLITS, 0) | {"train": 24}, "interruptions": {"rate": 0.2}, "shards": 1}
    plan.plan_agent(SPECS / f"{name}.yaml", folder / name, SETTINGS | few)
    (work,) = shards(folder / name).values()
    write_shard(work, folder / "cache", folder / "rows.parquet", folder / "rows.json")
    rows = records.read_table(folder / "rows.parquet", records.CONVERSATION)
    return check_spec(SPECS / f"{name}.yaml"), rows[:24]


def chosen(rows: list[dict], *nodes: str) -> dict:
    """Return a conversation along these nodes."""
    return next(row for row in rows if row["nodes"] == list(nodes))


class Lines:
    """Says its lines one after the other, an exception is raised, and keeps what it was asked."""

    def __init__(self, *lines):
        self.lines, self.seen, self.seeds = iter(lines), [], []

    async def reply(self, messages, *, temperature, seed, max_tokens=120, as_json=False) -> Reply:
        self.seen.append(list(messages))
        self.seeds.append(seed)
        line = next(self.lines)
        if isinstance(line, Exception):
            raise line
        return Reply(line, 1, 1, 0.0)


def heard(words: str) -> dict:
    return {"role": "user", "content": words, "call": ""}


def said(words: str, call: str = "") -> dict:
    return {"role": "assistant", "content": words, "call": call}


def answered(result: dict) -> dict:
    return {"role": "tool", "content": json.dumps(result), "call": ""}


def graph(flowchart: Flowchart, chat, seed: int = 1):
    return LangGraphCondition(chat, flowchart, temperature=0.0).begin(seed)


def perfectly(flowchart: Flowchart, row: dict, condition=LangGraphCondition) -> tuple[Perfect, list[dict]]:
    chat = Perfect(flowchart, row, whole_turns=condition is InContext)
    agent = condition(chat, flowchart, temperature=0.0).begin(1)
    return chat, asyncio.run(play(agent, row))


# -- the whole flowchart as a text -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [*TOYS, *REAL])
def test_nothing_of_a_flowchart_is_missing_in_its_text(talks, name):
    flowchart, _ = talks(name)
    text = procedure_text(flowchart)
    blocks = {block.split(" ", 1)[0]: block for block in text.split("\n\n")}
    for node in flowchart.nodes.values():
        block = blocks[node.id]
        assert node.prompt in block and (node.role != "end" or f"outcome: {node.outcome}" in block)
        assert node.call is None or json.dumps({"name": node.call.name, "arguments": node.call.arguments}) in block
        for way in node.ways:
            (line,) = [line for line in block.splitlines() if line.endswith(f" go to {way.to}")]
            assert way.when in line and (not way.result or json.dumps(way.result) in line)
            assert all(f"{{{variable}}} is " in line for variable in way.where)
    for one in flowchart.interruptions.values():
        (line,) = [line for line in text.splitlines() if line.startswith(f"- {one.id}: if {one.when}")]
        assert one.prompt in line and (not one.to or line.endswith(f"go to {one.to}"))
        assert all(f"{{{variable}}}" in line for variable in one.corrects)
    for fact_name, fact in flowchart.knowledge.items():
        _, _, told = text.partition(f"- {{{fact_name}}}")
        for value, words in fact.texts.items():
            assert f"{value}: {words}" in told if value else told.startswith(f": {words}")


def test_values_that_decide_are_named_one_by_one_or_as_a_span(talks):
    lines = procedure_text(talks("desk")[0]).splitlines()
    assert "- if a high tier ({tier} is 10 or 11 or 12): go to lounge" in lines
    assert "- if a low tier ({tier} is 1 to 9): go to hall" in lines


def test_names_in_braces_are_explained_once(talks):
    assert procedure_text(talks("shop")[0]).count("A name in braces") == 1


# -- everyone can follow ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("condition", [InContext, LangGraphCondition])
@pytest.mark.parametrize("name", [*TOYS, *REAL])
def test_a_perfect_player_conforms_in_every_condition(talks, name, condition):
    flowchart, rows = talks(name)
    assert len(rows) >= 12
    for row in rows:
        _, turns = perfectly(flowchart, row, condition)
        judged = score(flowchart, row, turns)
        assert judged["conforming"] and judged["outcome_correct"], (row["nodes"], judged["justification"])
        assert [turn["content"] for turn in turns] == [turn["content"] for turn in row["turns"]]
        assert judged["interruptions_handled"] == judged["interruptions_total"]
        assert judged["arguments_correct"] == judged["arguments_total"]


def test_the_talks_above_hold_interruptions_calls_and_corrections(talks):
    found = Counter()
    for name in ["shop", *REAL]:
        for row in talks(name)[1]:
            found["interrupted"] += any(node.endswith(HEARD) for node in row["nodes"])
            found["corrected"] += bool(row["corrected"])
            found["called"] += any(turn["call"] for turn in row["turns"])
    assert min(found["interrupted"], found["corrected"], found["called"]) > 5, found


# -- the conditions differ -------------------------------------------------------------------------------------------


def test_in_context_sends_the_whole_procedure_once_a_turn(talks):
    flowchart, rows = talks("shop")
    for row in rows[:8]:
        chat, turns = perfectly(flowchart, row, InContext)
        assert len(chat.seen) == sum(turn["role"] == "assistant" for turn in turns)
        for messages in chat.seen:
            assert messages[0]["role"] == "system" and messages[0]["content"].startswith(flowchart.system)
            assert procedure_text(flowchart) in messages[0]["content"]


def test_in_context_tells_calls_and_answers_as_plain_text_and_roles_take_turns(talks):
    flowchart, rows = talks("shop")
    row = next(row for row in rows if "send" in row["nodes"])
    chat, _ = perfectly(flowchart, row, InContext)
    last = chat.seen[-1][1:]
    assert [one["role"] for one in last] == (["user", "assistant"] * len(last))[: len(last)] and len(last) % 2
    assert all(one.keys() == {"role", "content"} for one in last)
    calls = [turn["call"] for turn in row["turns"] if turn["call"]]
    assert re.findall("<tool_call>(.*)</tool_call>", "\n".join(one["content"] for one in last)) == calls
    results = [turn["content"] for turn in row["turns"] if turn["role"] == "tool"]
    assert [one["content"][15:-16] for one in last if one["content"].startswith("<tool_response>")] == results


def test_a_tool_is_explained_only_where_there_is_one(talks):
    systems = [InContext(None, talks(name)[0], temperature=0.0).system for name in ("shop", "toy")]
    assert ["<tool_call>" in system for system in systems] == [True, False]


@pytest.mark.parametrize("name", ["shop", *REAL])
def test_langgraph_shows_the_model_its_own_step_and_nothing_of_the_others(talks, name):
    flowchart, rows = talks(name)
    instructions = {step: flowchart.step(step).prompt for step in graph_steps(flowchart)}
    for row in rows[:12]:
        chat, _ = perfectly(flowchart, row)
        spoken = [step for turn in row["turns"] if turn["role"] == "assistant" for step in turn["nodes"]]
        assert [step for step, _ in chat.spoken_by] == [s for s in spoken if flowchart.speaks(s) == "agent"]
        for step, system in chat.spoken_by:
            assert flowchart.system in system and instructions[step] in system
            foreign = {words for other, words in instructions.items() if words and words not in instructions[step]}
            assert not [words for words in foreign if words in system]
        asked = [messages for messages in chat.seen if len(messages) == 1]
        assert asked and not [
            w for messages in asked for w in instructions.values() if w and w in messages[0]["content"]
        ]


def test_langgraph_gives_a_step_the_facts_it_needs_and_no_others(talks):
    flowchart, rows = talks("shop")
    for row in rows:
        for step, system in perfectly(flowchart, row)[0].spoken_by:
            assert ("the bulb is broken" in system) == ("nine to five" in system) == (step == "explain")


def test_langgraph_asks_once_more_where_the_ways_part_and_nowhere_else(talks):
    flowchart, rows = talks("toy")
    for row in rows:
        chat, _ = perfectly(flowchart, row)
        last = max(place for place, node in enumerate(row["nodes"]) if flowchart.speaks(node) == "agent")
        hubs = [node for node in row["nodes"][:last] if node in flowchart.hubs]
        assert len(chat.seen) == len(chat.spoken_by) + len(hubs)


def test_with_interruptions_every_turn_of_the_customer_may_mean_one(talks):
    flowchart, rows = talks("shop")
    row = next(row for row in rows if "light" in row["nodes"])
    chat, _ = perfectly(flowchart, row)
    asked = [messages[0]["content"] for messages in chat.seen if "Answer with the letter" in messages[-1]["content"]]
    assert len(asked) == sum(turn["role"] == "user" for turn in row["turns"])
    for text in asked:
        assert all(one.when in text for one in flowchart.interruptions.values())


# -- a graph step by step --------------------------------------------------------------------------------------------


@pytest.fixture
def shop(talks) -> Flowchart:
    return talks("shop")[0]


async def turns_of(agent, *customers: dict) -> list[str]:
    """Return what an agent says between the turns of others."""
    held, texts = [], []
    for other in (*customers, None):
        text = (await agent.turn(held)).text
        texts.append(text)
        words, _, call = text.partition("<tool_call>")
        held.append(said(words.strip(), call.removesuffix("</tool_call>")))
        held += [other] if other else []
    return texts


def letter_of(flowchart: Flowchart, step: str, to: str) -> str:
    return {target: key for key, target in graph_steps(flowchart)[step].options}[to]


def test_a_tool_gets_its_arguments_from_the_model_and_its_answer_finds_the_way_by_its_form(shop):
    chat = Lines("Which?", letter_of(shop, "tell", "look"), "Let me see.", 'So: {"order": "120"}', "On Friday.")
    texts = asyncio.run(turns_of(graph(shop, chat), heard("120, Ann."), answered({"day": "Friday"})))
    call = '<tool_call>{"name": "find_order", "arguments": {"order": "120"}}</tool_call>'
    assert texts == ["Which?", f"Let me see.\n{call}", "On Friday."]
    assert "sold on {day}" in chat.seen[-1][0]["content"]
    assert chat.seen[-1][-1] == {"role": "user", "content": '<tool_response>{"day": "Friday"}</tool_response>'}


@pytest.mark.parametrize("result", [{"error": "burning"}, {"days": 7}, ["Friday"], "no JSON at all"])
def test_an_answer_of_no_known_form_is_read_by_the_model(shop, result):
    chat = Lines("Which?", letter_of(shop, "tell", "look"), "Let me see.", '{"order": "120"}',
                 letter_of(shop, "find", "lost"), "Sorry.")  # fmt: skip
    texts = asyncio.run(turns_of(graph(shop, chat), heard("120, Ann."), answered(result)))
    assert texts[-1] == "Sorry." and "the system does not answer" in chat.seen[-2][0]["content"]


def test_a_tool_whose_arguments_are_constant_is_called_without_the_model(talks):
    flowchart, _ = talks("twice")
    chat = Lines(letter_of(flowchart, "come", "where"), "Bonn on Friday!")

    async def talk():
        agent, held = graph(flowchart, chat), [heard("Good day. To Bonn.")]
        first = await agent.turn(held)
        second = await agent.turn([*held, said("", "{}"), answered({"state": "Friday"})])
        return first, second

    first, second = asyncio.run(talk())
    assert first.text == '<tool_call>{"name": "trains", "arguments": {"all": "yes"}}</tool_call>'
    assert [len(one.replies) for one in (first, second)] == [1, 1] and second.text == "Bonn on Friday!"


def test_after_an_interruption_the_graph_is_where_it_was(shop):
    wait, look = (letter_of(shop, "tell", to) for to in ("wait" + ANSWERED, "look"))
    chat = Lines("Which?", wait, "No hurry.", wait, "Sure.", look, "Let me see.", '{"order": "120"}')
    texts = asyncio.run(turns_of(graph(shop, chat), heard("Hm."), heard("Hm!"), heard("120, Ann.")))
    assert texts[1:3] == ["No hurry.", "Sure."] and texts[3].startswith("Let me see.")
    assert "Say that there is time." in chat.seen[2][0]["content"]


def test_an_interruption_with_an_end_ends_the_talk_and_nothing_more_is_said(shop):
    chat = Lines("Which?", letter_of(shop, "tell", "lost"), "Sorry, we will call.")
    texts = asyncio.run(turns_of(graph(shop, chat), heard("A human!"), heard("Hello?"), heard("Hello?")))
    assert texts == ["Which?", "Sorry, we will call.", "", ""] and len(chat.seen) == 3


def test_a_correction_is_answered_with_what_old_and_new_stand_for(shop):
    chat = Lines("Which?", letter_of(shop, "tell", "fix" + ANSWERED), "120 then.")
    asyncio.run(turns_of(graph(shop, chat), heard("Not 119, 120!")))
    assert "{old} is what the customer takes back" in chat.seen[-1][0]["content"]


def test_an_agents_hub_is_decided_by_the_model_from_what_was_said(talks):
    flowchart, _ = talks("desk")
    chat = Lines("Who is it?", "Ada of 11.", letter_of(flowchart, "decide", "lounge"), "It is open.")
    texts = asyncio.run(turns_of(graph(flowchart, chat), heard("Ada, of tier 11.")))
    assert texts == ["Who is it?", "Ada of 11. It is open."]
    asked = chat.seen[2][0]["content"]
    assert "Customer: Ada, of tier 11." in asked and "a high tier ({tier} is 10 or 11 or 12)" in asked


def test_of_two_agent_nodes_in_a_row_the_second_knows_what_the_first_said(talks):
    flowchart, _ = talks("longer")
    chat = Lines("Hello!", letter_of(flowchart, "order", "quote"), "A tiny latte.", "A biscuit?")
    texts = asyncio.run(turns_of(graph(flowchart, chat), heard("A tiny latte for 3 dollars.")))
    assert texts[-1] == "A tiny latte. A biscuit?"
    assert chat.seen[-1][-2] == {"role": "assistant", "content": "A tiny latte."}
    assert chat.seen[-1][-1]["role"] == "user"


def test_a_customers_turn_may_stand_for_two_steps_in_a_row(talks):
    flowchart, rows = talks("twice")
    row = next(row for row in rows if row["nodes"][:3] == ["come", "where", "look"])
    _, turns = perfectly(flowchart, row)
    assert [turn["role"] for turn in turns][:3] == ["user", "assistant", "tool"]


def test_an_end_without_words_says_nothing(talks):
    flowchart, _ = talks("toy")
    chat = Lines("Hello!", letter_of(flowchart, "order", "left"))
    assert asyncio.run(turns_of(graph(flowchart, chat), heard("Nothing."), heard("Hm?"))) == ["Hello!", "", ""]
    assert len(chat.seen) == 2


def test_an_unreadable_choice_is_asked_once_more_by_another_draw_then_the_first_way_is_taken(talks):
    flowchart, _ = talks("toy")
    chat = Lines("Hello!", "Perhaps.", "I cannot say.", "Which size?")
    agent = graph(flowchart, chat)
    asyncio.run(turns_of(agent, heard("One latte.")))
    assert graph_steps(flowchart)["order"].options[0][1] == "ask_size"
    assert "Ask for the size" in chat.seen[-1][0]["content"] and agent.asker.guessed == 1
    assert [one["role"] for one in chat.seen[2]] == ["user", "assistant", "user"] and len(set(chat.seeds)) == 4
    assert chat.seen[2][:2] == [*chat.seen[1], {"role": "assistant", "content": "Perhaps."}]


def test_a_turn_keeps_what_was_guessed_for_it_alone(talks):
    flowchart, rows = talks("toy")
    row = next(row for row in rows if row["nodes"][1:3] == ["order", "ask_size"])
    agent = graph(flowchart, Lines("Hello!", "Perhaps.", "I cannot say.", "Which size?"))
    turns, _ = asyncio.run(hold_dialogue(agent, ScriptedCustomer(row), row, StandIn(row), max_turns=3))
    assert [turn["guessed"] for turn in turns] == [0, 0, 1]


def test_a_choice_that_is_readable_at_the_second_try_is_no_guess(talks):
    flowchart, _ = talks("toy")
    chat = Lines("Hello!", "Hm.", letter_of(flowchart, "order", "quote"), "A latte?")
    agent = graph(flowchart, chat)
    asyncio.run(turns_of(agent, heard("A tiny latte for 2 dollars.")))
    assert "Repeat the {size}" in chat.seen[-1][0]["content"] and agent.asker.guessed == 0


def test_arguments_that_cannot_be_read_are_none_and_counted(shop):
    chat = Lines("Which?", letter_of(shop, "tell", "look"), "Let me see.", "120", '{"number": "120"}')
    agent = graph(shop, chat)
    texts = asyncio.run(turns_of(agent, heard("120, Ann.")))
    assert texts[-1].endswith('{"name": "find_order", "arguments": {}}</tool_call>') and agent.asker.guessed == 1


def circling(desk: Flowchart) -> Flowchart:
    """Return the desk with a way back from the hall to where it is decided, so that a model may never come out."""
    data = json.loads(desk.to_json())
    data["nodes"]["hall"] |= {"role": "agent", "outcome": ""}
    data["nodes"]["hall"]["next"] = [{"to": "decide", "when": "", "says": [], "where": {}, "result": {}}]
    return Flowchart.from_json(json.dumps(data))


def test_a_model_that_goes_round_in_circles_is_stopped_and_nothing_breaks(talks):
    circle = circling(talks("desk")[0])
    chat = Lines("Who?", *["It is.", letter_of(circle, "decide", "hall"), "It is open."] * 20)
    assert asyncio.run(turns_of(graph(circle, chat), heard("Ada."), heard("Hm?"))) == ["Who?", "", ""]


def test_the_state_of_a_graph_is_plain_data(shop, talks):
    row = next(row for row in talks("shop")[1] if "send" in row["nodes"])
    agent = graph(shop, Perfect(shop, row))
    asyncio.run(play(agent, row))
    state = agent.state()
    assert json.loads(json.dumps(state)) == state and len(state["the talk"]) > 5


def test_words_that_look_like_a_call_are_none_where_nothing_is_called(talks):
    flowchart, _ = talks("toy")
    chat = Lines('Hello! <tool_call>{"name": "x", "arguments": {}}</tool_call>')
    assert asyncio.run(turns_of(graph(flowchart, chat))) == ["Hello!"]


def test_what_a_chat_raises_comes_through(talks):
    flowchart, _ = talks("toy")
    for condition in (InContext, LangGraphCondition):
        agent = condition(Lines(ContextFull("too long")), flowchart, temperature=0.0).begin(1)
        with pytest.raises(ContextFull):
            asyncio.run(agent.turn([]))


@pytest.mark.parametrize("condition", [InContext, LangGraphCondition])
def test_equal_seeds_draw_alike_and_each_question_anew(talks, condition):
    flowchart, rows = talks("toy")
    row = max(rows, key=lambda row: len(row["turns"]))
    drawn = {}
    for seed in (1, 1, 2):
        chat = Perfect(flowchart, row, whole_turns=condition is InContext)
        asyncio.run(play(condition(chat, flowchart, temperature=0.7).begin(seed), row))
        assert len(set(chat.seeds)) == len(chat.seeds) and max(chat.seeds) < 2**32
        assert drawn.setdefault(seed, chat.seeds) == chat.seeds
    assert not set(drawn[1]) & set(drawn[2])


def test_many_talks_at_once_keep_apart(talks):
    flowchart, rows = talks("shop")

    class Slow(Perfect):
        async def reply(self, messages, **settings):
            await asyncio.sleep(0)
            return await super().reply(messages, **settings)

    async def all_of_them():
        condition = LangGraphCondition(None, flowchart, temperature=0.0)
        agents = []
        for row in rows[:10]:
            agents.append(condition.begin(1))
            agents[-1].asker.chat = Slow(flowchart, row)
        return await asyncio.gather(*[play(agent, row) for agent, row in zip(agents, rows, strict=False)])

    for row, turns in zip(rows, asyncio.run(all_of_them()), strict=False):
        assert score(flowchart, row, turns)["conforming"]


# -- answers ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "letter"),
    [("B", "B"), ("b", "B"), (" (B) ", "B"), ("B: they agree", "B"), ("**B**", "B"), ("Answer: B", "B"), ("B.", "B"),
     ("The letter is B.", "B"), ("<think>A or B?</think>\nB", "B"), ("A or B", None), ("A customer agrees", None),
     ("", None), ("Z", None), ("They agree.", None), ("Because", None)],
)  # fmt: skip
def test_a_letter_is_read_as_models_write_it_and_no_other_word_is_one(answer, letter):
    assert read_letter(answer, ["A", "B", "C"]) == letter


@pytest.mark.parametrize(
    ("answer", "found"),
    [('{"a": "1"}', {"a": "1"}), ('```json\n{"a": 1}\n```', {"a": 1}), ("none", None), ('{"a": ', None), ("[1]", None)],
)
def test_an_object_is_read_out_of_what_stands_around_it(answer, found):
    assert read_object(answer) == found
