"""A customer that a model plays: it is told its scenario and the talk, and nothing of the flowchart."""

import asyncio

import pytest
from subterra.customer import END, ModelCustomer, scenario_card
from subterra.flowchart import Flowchart
from subterra.models import Reply
from subterra.prompts import Prompts
from test_converse import converse_toy
from test_converse import no_waiting_for_the_disk as no_waiting_for_the_disk
from toy_spec import SHOP, TOY

PROMPTS = Prompts("customer")


class Player:
    """Says its lines one after the other and remembers what it was told."""

    def __init__(self, *lines):
        self.lines, self.heard = iter(lines), []

    async def reply(self, messages, *, temperature, seed, max_tokens, as_json=False):
        self.heard.append({"messages": messages, "seed": seed, "temperature": temperature})
        return Reply(next(self.lines), 1, 1, 0.0)


@pytest.fixture(scope="module")
def toys(tmp_path_factory):
    """Return {name: (flowchart, conversations)} of the toy specs."""
    found = {}
    for name, text in (("counter", TOY), ("shop", SHOP)):
        folder = tmp_path_factory.mktemp(name)
        rows = list(converse_toy(folder, text).values())
        found[name] = Flowchart.read(folder / "toy" / "flowchart.json"), rows
    return found


def customer(player: Player, flowchart: Flowchart, row: dict, seed: int = 1) -> ModelCustomer:
    card = scenario_card(flowchart, row, PROMPTS)
    return ModelCustomer(player, PROMPTS, card, temperature=0.7, seed=seed, max_tokens=50)


def said(role: str, content: str) -> dict:
    return {"role": role, "content": content, "nodes": [], "call": ""}


def test_a_card_tells_what_the_customer_knows_and_means_and_nothing_of_the_agents(toys):
    for flowchart, rows in toys.values():
        for row in rows:
            card = scenario_card(flowchart, row, PROMPTS)
            taken = {words for node in row["nodes"] if node in flowchart.nodes for words in _whens(flowchart, node)}
            assert set(card["course"]) <= taken | {one.when for one in flowchart.interruptions.values()}
            assert not card["knows"].keys() & flowchart.knowledge.keys()
            assert all(row["values"][name] == value for name, value in card["knows"].items())
            prompt = PROMPTS.write("system", end=END, **card)
            agents = [node.prompt for node in flowchart.nodes.values() if node.speaker == "agent" and node.prompt]
            assert not any(words in prompt for words in agents)
            assert not any(name in prompt.split() for name in flowchart.nodes if "_" in name)


def _whens(flowchart: Flowchart, name: str) -> list[str]:
    node = flowchart.nodes[name]
    return [way.when for way in node.ways] + [node.prompt]


def test_a_correction_is_told_with_both_values(toys):
    flowchart, rows = toys["shop"]
    row = next(row for row in rows if row["corrected"])
    ((name, new),) = row["corrected"].items()
    prompt = PROMPTS.write("system", end=END, **scenario_card(flowchart, row, PROMPTS))
    assert row["values"][name] in prompt and new in prompt and "take it back" in prompt


def test_styles_and_moods_are_spread_over_scenarios(toys):
    cards = [scenario_card(flowchart, row, PROMPTS) for flowchart, rows in toys.values() for row in rows]
    for key, kind in (("style", "styles"), ("mood", "moods")):
        assert {card[key] for card in cards} == set(PROMPTS.lines(kind))


def test_the_model_hears_the_talk_from_its_side_and_no_tool(toys):
    flowchart, rows = toys["counter"]
    player = Player("One latte.")
    turns = [said("assistant", "Hello!"), said("user", "Hm."), said("assistant", ""), said("tool", "{}")]
    row = asyncio.run(customer(player, flowchart, rows[0]).speak([*turns, said("assistant", "Yes?")]))
    assert row == {"role": "user", "content": "One latte.", "nodes": []}
    heard = player.heard[0]["messages"]
    assert [(one["role"], one["content"]) for one in heard[1:]] == [
        ("user", "Hello!"),
        ("assistant", "Hm."),
        ("user", "Yes?"),
    ]


def test_a_customer_who_opens_is_told_to_begin(toys):
    flowchart, rows = toys["counter"]
    player = Player("Good day!")
    assert asyncio.run(customer(player, flowchart, rows[0]).speak([]))["content"] == "Good day!"
    assert [one["role"] for one in player.heard[0]["messages"]] == ["system", "user"]


@pytest.mark.parametrize(
    ("lines", "heard"),
    [
        ([f"Thanks, bye. {END}"], ["Thanks, bye.", None]),
        ([END], [None, None]),
        (["", " ", ""], [None]),
        (["", "Well."], ["Well."]),
    ],
    ids=["words and the end", "the end alone", "silence", "a second try"],
)
def test_the_talk_is_over_when_the_customer_says_so_or_nothing(toys, lines, heard):
    flowchart, rows = toys["counter"]
    one = customer(Player(*lines), flowchart, rows[0])

    async def speak():
        return [await one.speak([said("assistant", "Hello!")]) for _ in heard]

    assert [turn and turn["content"] for turn in asyncio.run(speak())] == heard


def test_every_turn_and_every_try_draws_anew(toys):
    flowchart, rows = toys["counter"]
    player = Player("", "Well.", "Yes.")
    one = customer(player, flowchart, rows[0])
    asyncio.run(one.speak([said("assistant", "Hello!")]))
    asyncio.run(one.speak([said("assistant", "Hello!"), said("user", "Well."), said("assistant", "So?")]))
    assert len({call["seed"] for call in player.heard}) == 3
