"""What an agent knows by heart and what it asks of tools: how it is declared, told in conversations, and scored."""

import asyncio
import json
import random
from collections.abc import Callable

import pytest
import yaml
from subterra import dataset, matcher, records
from subterra.checker import check_spec
from subterra.conditions.compiled import Compiled
from subterra.conformance import says, score_dialogue, score_dialogues
from subterra.demands import label
from subterra.draws import hold_out_values
from subterra.errors import SpecError
from subterra.evaluation import scripted_stage
from subterra.flowchart import Flowchart
from subterra.models import Reply
from subterra.plan import SPLITS
from subterra.routes import spoken_before
from test_converse import converse_toy
from test_converse import no_waiting_for_the_disk as no_waiting_for_the_disk
from test_soundness import mistakes
from test_spec import _holders, _inside, shuffled
from toy_spec import SHOP, changed, write


@pytest.fixture(scope="module")
def shop(tmp_path_factory) -> Flowchart:
    return check_spec(write(tmp_path_factory.mktemp("spec"), SHOP))


@pytest.fixture(scope="module")
def rows(tmp_path_factory) -> list[dict]:
    """Conversations of the shop, some of them interrupted."""
    settings = {"conversations": dict.fromkeys(SPLITS, 16) | {"train": 128}, "interruptions": {"rate": 0.3}}
    return list(converse_toy(tmp_path_factory.mktemp("rows"), SHOP, shards=1, **settings).values())


# -- how it is declared ----------------------------------------------------------------------------------------------


def test_the_shop_has_facts_tools_and_interruptions(shop):
    assert shop.knowledge["hours"].known({}) == "nine to five"
    assert [shop.knowledge["meaning"].known({"color": color}) for color in ("red", "grey")] == [
        "the bulb is broken",
        None,
    ]
    find = shop.nodes["find"]
    assert (find.role, find.speaker, find.prompt, find.says) == ("tool", "tool", "", ())
    assert find.call.name == "find_order" and find.asks == ("order",)
    assert [way.result for way in find.ways] == [{"error": "timeout"}, {"day": "{day}"}, {"error": "lost"}]
    assert "find" in shop.hubs and shop.nodes["send"].asks == ("name", "order")


FIND = '    call: {name: find_order, arguments: {order: "{order}"}}\n    next:\n'
THERE = "      - {to: found, when: the order is there, "
LOST = "when: there is no such order, result: {error: lost}"
SENT = '    result: {order: "{order}", sent: "true"}\n'
LOOK = "look: {role: agent, prompt: Say that you look., "

# What is replaced, by what, the place, and what else the line has to hold: the value and the way out.
ONE_MISTAKE = {
    "a fact named like a variable": (
        ["  hours: nine to five\n", "  hours: nine to five\n  day: today\n"],
        "knowledge.day",
        ["'day' is a variable as well: give the fact another name"],
    ),
    "a fact with an odd name": (
        ["  hours: nine to five\n", "  hours: nine to five\n  open-at: nine\n"],
        "knowledge.open-at",
        ["'open-at' is no fact's name: letters, digits and _, a letter first"],
    ),
    "a fact of no variable": (
        ["{of: color, is:", "{of: colour, is:"],
        "knowledge.meaning.of",
        ["'colour': no such variable (did you mean 'color'?): declare it under variables"],
    ),
    "a fact that hangs on nothing": (
        ["{of: color, is:", "{is:"],
        "knowledge.meaning.of",
        ["missing: name the variable that it depends on"],
    ),
    "a value without a text": (
        ["blue: it is too cold, ", ""],
        "knowledge.meaning.is",
        ["nothing for color 'blue': write it"],
    ),
    "two values without a text": (
        ["blue: it is too cold, green: all is well", ""],
        "knowledge.meaning.is",
        ["nothing for color 'blue' and 1 more: write it"],
    ),
    "a text for no value": (
        ["{red: the bulb", "{rde: hm, red: the bulb"],
        "knowledge.meaning.is.rde",
        ["'rde' is no value of color (did you mean 'red'?): name one that is"],
    ),
    "an empty fact": (["hours: nine to five", "hours:"], "knowledge.hours", ["empty: write the fact or take it out"]),
    "a fact of a wrong type": (
        ["hours: nine to five", "hours: [nine, five]"],
        "knowledge.hours",
        ['a list ["nine", "five"] where a line of text belongs'],
    ),
    "braces in a fact": (
        ["hours: nine to five", "hours: '{day}'"],
        "knowledge.hours",
        ["'{day}': a fact has no braces: take them out"],
    ),
    "braces in a text for a value": (
        ["blue: it is too cold", "blue: 'it is {color}'"],
        "knowledge.meaning.is.blue",
        ["'it is {color}': a fact has no braces: take them out"],
    ),
    "an unknown key of a fact": (
        ["{of: color, is:", "{off: x, of: color, is:"],
        "knowledge.meaning.off",
        ["unknown key 'off' (did you mean 'of'?)"],
    ),
    "a fact in a customer's mouth": (
        ['"It is {color}."', '"It is {color}, {hours}."'],
        "nodes.light.says[1]",
        ["{hours}: is knowledge of the agent's, which customers and tools do not have: use a variable"],
    ),
    "a fact in a call": (
        ['customer: "{name}"', 'customer: "{hours}"'],
        "nodes.send.call.arguments.customer",
        ["{hours}: is knowledge of the agent's, which customers and tools do not have: use a variable"],
    ),
    "a fact in a result": (
        ['sent: "true"', 'sent: "{hours}"'],
        "nodes.send.result.sent",
        ["{hours}: is knowledge of the agent's, which customers and tools do not have: use a variable"],
    ),
    "a tool with a prompt": (
        ["  send:\n    role: tool\n", "  send:\n    role: tool\n    prompt: Send it.\n"],
        "nodes.send.prompt",
        ["a tool has no words, only a result: let an agent's node speak before or after it"],
    ),
    "a tool with words": (
        ["  send:\n    role: tool\n", "  send:\n    role: tool\n    says: [Sent.]\n"],
        "nodes.send.says",
        ["a tool has no words, only a result: let an agent's node speak before or after it"],
    ),
    "a tool with words on a way": (
        [LOST, LOST + ", says: [Lost.]"],
        "nodes.find.next[1].says",
        ["a tool has no words: write what it answers as `result`"],
    ),
    "a tool with an outcome": (
        [SENT, SENT + "    outcome: sent\n"],
        "nodes.send.outcome",
        ["'sent': only an end has an outcome: take it out"],
    ),
    "a tool without a call": (
        ['    call: {name: send_lamp, arguments: {order: "{order}", customer: "{name}"}}\n', ""],
        "nodes.send.call",
        ["missing: a tool is called with a name and arguments: {name: find_order,"],
    ),
    "a call of a wrong type": (
        ['call: {name: send_lamp, arguments: {order: "{order}", customer: "{name}"}}', "call: send_lamp"],
        "nodes.send.call",
        ["the word send_lamp where a mapping such as {name: find_order"],
    ),
    "a call without a name": (
        ["{name: send_lamp, ", "{"],
        "nodes.send.call.name",
        ["missing: name the tool"],
    ),
    "a tool with an odd name": (
        ["name: send_lamp", "name: send lamp"],
        "nodes.send.call.name",
        ["'send lamp' is no tool's name: at most 64 letters, digits, _ and -, a letter first"],
    ),
    "an unknown key of a call": (
        ["name: send_lamp,", "name: send_lamp, argument: x,"],
        "nodes.send.call.argument",
        ["unknown key 'argument' (did you mean 'arguments'?)"],
    ),
    "an argument of no variable": (
        ['customer: "{name}"', 'customer: "{nme}"'],
        "nodes.send.call.arguments.customer",
        ["{nme}: no such variable (did you mean 'name'?): declare it under variables"],
    ),
    "an empty argument": (
        ['customer: "{name}"', 'customer: ""'],
        "nodes.send.call.arguments.customer",
        ["empty: write a value or a {variable}"],
    ),
    "an argument that nobody has said": (
        [FIND, FIND.replace('"{order}"', '"{order}, {day}"')],
        "nodes.find.call.arguments",
        ["{day}: on some route to find nobody has said it yet: let the customer say it before"],
    ),
    "a tool without a result": (
        [SENT, ""],
        "nodes.send.result",
        ["send -> done: missing: say what the tool answers here, such as {status: active}"],
    ),
    "a way of a tool without a result": (
        [LOST, "when: there is no such order"],
        "nodes.find.next[1].result",
        ["find -> lost: missing: say what the tool answers here, such as {status: active}"],
    ),
    "a result of a wrong type": (
        ["result: {error: lost}", "result: lost"],
        "nodes.find.next[1].result",
        ["the word lost where a mapping such as {status: active} belongs"],
    ),
    "one result for several ways": (
        [FIND, '    result: {day: "{day}"}\n' + FIND],
        "nodes.find.result",
        ["each way has a result of its own: move it there"],
    ),
    "two equal results": (
        ["result: {error: timeout}", "result: {error: lost}"],
        "nodes.find.next[2].result",
        ['{"error": "lost"} is also the result on the way to lost: say what sets them apart'],
    ),
    "two ways of a tool for the same reason": (
        ["when: the system does not answer", "when: there is no such order"],
        "nodes.find.next[2].when",
        ["'there is no such order' is also the `when` of the way to lost: say what sets them apart"],
    ),
    "a way of a tool without a reason": (
        ["when: the system does not answer, ", ""],
        "nodes.find.next[2].when",
        ["missing: say what makes it find -> again and no other way"],
    ),
    "a tool that leads to a customer": (
        [SENT + "    next: done\n", SENT + "    next: answer\n"],
        "nodes.send.next",
        ["send -> answer: after a tool's answer the agent has to speak: let an agent's node come between"],
    ),
    "a tool that leads to an end without words": (
        [SENT + "    next: done\n", SENT + "    next: left\n"],
        "nodes.send.next",
        ["send -> left: after a tool's answer the agent has to speak: let an agent's node come between"],
    ),
    "a start at a tool": (
        ["start: greet", "start: again"],
        "start",
        ["'again' is a tool: somebody has to speak before a tool is called: start at another node"],
    ),
    "a call of an agent": (
        [LOOK, LOOK + "call: {name: look}, "],
        "nodes.look.call",
        ["only a tool has a call: give the node `role: tool`, or take it out"],
    ),
    "a result of an agent": (
        [LOOK, LOOK + "result: {found: this}, "],
        "nodes.look.result",
        ["only a tool has a result: give the node `role: tool`, or take it out"],
    ),
    "a call of a customer": (
        ["light: {role: user, ", "light: {role: user, call: {name: look}, "],
        "nodes.light.call",
        ["only a tool has a call"],
    ),
    "a result on a way of a customer": (
        ["{to: left, when: the customer leaves, ", "{to: left, when: the customer leaves, result: {x: 'y'}, "],
        "nodes.tell.next[1].result",
        ["only a tool answers with a result: take it out"],
    ),
    "an unknown role like tool": (
        ["  send:\n    role: tool\n", "  send:\n    role: tol\n"],
        "nodes.send.role",
        ["'tol': no role (did you mean 'tool'?): one of agent, user, tool, end"],
    ),
}


@pytest.mark.parametrize("case", ONE_MISTAKE)
def test_a_mistake_is_one_line_with_place_value_and_way_out(tmp_path, case):
    replaced, place, pieces = ONE_MISTAKE[case]
    found = [line for line in mistakes(tmp_path, changed(*replaced, SHOP)) if line.startswith(f"{place}: ")]
    assert len(found) == 1 and all(piece in found[0] for piece in pieces), found


SLIPS = [case for case in ONE_MISTAKE if case != "a start at a tool"]  # then nothing leads to what comes before


@pytest.mark.parametrize("case", SLIPS)
def test_one_slip_is_no_more_than_one_line(tmp_path, case):
    found = mistakes(tmp_path, changed(*ONE_MISTAKE[case][0], SHOP))
    assert len(found) == 1 or all("no way leads here" in line for line in found[1:]), found


def test_what_a_tool_answers_counts_as_said_from_then_on(tmp_path, shop):
    spoken = spoken_before(shop)
    assert "day" not in spoken["find"] | spoken["again"] | spoken["lost"] and "day" in spoken["found"]
    text = changed(THERE + 'result: {day: "{day}"}}', THERE + "result: {state: sold}}", SHOP)
    (found,) = mistakes(tmp_path, text)
    assert found.startswith("nodes.found.prompt: {day}: on some route to found nobody has said it yet")


def test_a_fact_may_be_said_once_its_variable_was_said_on_every_route(tmp_path):
    text = changed("prompt: Tell {name} that it was sold", "prompt: Tell {name} that {meaning}, that it was sold", SHOP)
    text = changed('"{name}, you bought it', '"{name}, {meaning}, you bought it', text)
    text = changed('"On {day} then, {name}.', '"On {day} then, {name}, {meaning}.', text)
    assert mistakes(tmp_path, text) == [
        "nodes.found.prompt: {meaning} depends on {color}: on some route to found nobody has said it yet: "
        "let the customer say it before, or drop it"
    ]


def test_a_tool_may_follow_a_tool_and_call_without_arguments(tmp_path):
    text = changed('arguments: {order: "{order}", customer: "{name}"}', "arguments: {}", SHOP)
    assert check_spec(write(tmp_path, text)).nodes["send"].call.arguments == {}
    assert check_spec(write(tmp_path, changed("send_lamp, arguments: {}", "send_lamp", text)))


def test_a_way_of_a_tool_may_hang_on_a_value(tmp_path):
    text = changed(
        "corrects: [name, order]", "corrects: name", changed(THERE, THERE + "where: {order: ['107']}, ", SHOP)
    )
    assert check_spec(write(tmp_path, text)).way("find", "found").where == {"order": ("107",)}


def test_what_knowledge_hangs_on_decides_so_that_none_of_its_values_is_held_out(tmp_path):
    colors = [f"c{number}" for number in range(12)]
    texts = ", ".join(f"{color}: it is case {number}" for number, color in enumerate(colors))
    text = changed("[red, blue, green]", f"[{', '.join(colors)}]", SHOP)
    text = changed("{red: the bulb is broken, blue: it is too cold, green: all is well}", f"{{{texts}}}", text)
    flowchart = check_spec(write(tmp_path, text))
    assert flowchart.decisive == {"color"}
    assert all(hold_out_values(flowchart, 0.9, seed)["color"] == () for seed in range(5))


# -- the canonical form ----------------------------------------------------------------------------------------------


def test_the_canonical_form_can_be_read_back(shop):
    again = Flowchart.from_json(shop.to_json())
    assert again == shop and again.to_json() == shop.to_json() and again.digest == shop.digest


def other_key_orders(value, draw: random.Random):
    """Return the same data with the keys of every mapping in another order."""
    if isinstance(value, list):
        return [other_key_orders(inner, draw) for inner in value]
    if isinstance(value, dict):
        return dict(draw.sample([(key, other_key_orders(inner, draw)) for key, inner in value.items()], len(value)))
    return value


def test_key_order_and_layout_do_not_show_in_the_canonical_form(tmp_path, shop):
    data = yaml.load(SHOP, Loader=yaml.BaseLoader)
    for seed in range(5):
        text = yaml.safe_dump(other_key_orders(data, random.Random(seed)), sort_keys=False, default_flow_style=None)
        assert text != SHOP and check_spec(write(tmp_path, text)).to_json() == shop.to_json()


def test_no_order_that_says_nothing_shows_in_the_canonical_form(tmp_path, shop):
    data = yaml.load(SHOP, Loader=yaml.BaseLoader)
    for seed in range(5):
        text = yaml.safe_dump(shuffled(data, random.Random(seed)), sort_keys=False)
        assert check_spec(write(tmp_path, text)).to_json() == shop.to_json()


EVERY_WORD = [
    ("nine to five", "nine to six"),
    ("blue: it is too cold", "blue: it is cold"),
    ("name: send_lamp", "name: send_it"),
    ('customer: "{name}"', 'client: "{name}"'),
    ('customer: "{name}"', 'customer: "Dear {name}"'),
    ("result: {error: timeout}", "result: {error: busy}"),
    ('sent: "true"', 'sent: "yes"'),
    ("when: the customer needs a moment", "when: the customer waits"),
    ('"Wait a moment."', '"One moment."'),
    ("prompt: Say that there is time.", "prompt: Say there is time."),
    ('"I can wait."', '"I wait."'),
    ("corrects: [name, order]", "corrects: [name]"),
    ("to: lost}\n", "to: done}\n"),
]


def test_every_word_of_it_shows_in_the_canonical_form(tmp_path, shop):
    digests = {check_spec(write(tmp_path, changed(old, new, SHOP))).digest for old, new in EVERY_WORD}
    assert len(digests | {shop.digest}) == len(EVERY_WORD) + 1


def test_whatever_is_written_gives_a_flowchart_or_lines_and_never_a_traceback(tmp_path):
    data = json.dumps(yaml.load(SHOP, Loader=yaml.BaseLoader))
    outcomes = {"flowchart": 0, "lines": 0}
    for seed in range(400):
        draw, twisted = random.Random(seed), json.loads(data)
        for _ in range(draw.randint(1, 2)):
            holder = draw.choice(list(_holders(twisted)))
            key = draw.choice(list(holder) if isinstance(holder, dict) else range(len(holder)))
            others = [inner for other in _holders(twisted) for inner in _inside(other)]
            if draw.random() < 0.3:
                del holder[key]
            else:
                holder[key] = json.loads(
                    json.dumps(draw.choice([*others, "{old}", "{hours}", "tool", [], {}, 1, None]))
                )
        path = write(tmp_path, json.dumps(twisted))
        try:
            flowchart = check_spec(path)
        except SpecError as error:
            assert error.lines and all(line.startswith(f"{path}:") and line.isprintable() for line in error.lines)
            outcomes["lines"] += 1
        else:
            assert Flowchart.from_json(flowchart.to_json()) == flowchart
            outcomes["flowchart"] += 1
    assert min(outcomes.values()) > 5, outcomes


# -- conversations ---------------------------------------------------------------------------------------------------


def test_a_fact_is_told_as_the_draw_has_it_and_stands_among_the_values(shop, rows):
    texts = {"red": "the bulb is broken", "blue": "it is too cold", "green": "all is well"}
    told = [turn for row in rows for turn in row["turns"] if turn["nodes"] == ["explain"]]
    assert {turn["values"]["meaning"] for turn in told} == set(texts.values())
    for row in rows:
        assert row["values"].get("meaning") == texts.get(row["values"].get("color"))
        for turn in row["turns"]:
            assert all(says(turn["content"], value) for value in turn["values"].values())


def test_a_fact_stands_only_in_conversations_that_tell_it(rows):
    for row in rows:
        told = any("explain" in turn["nodes"] for turn in row["turns"])
        assert ("hours" in row["values"]) >= told
        assert "hours" not in row["values"] or row["split"] in ("train", "valid", "interruptions") or told


def test_a_call_belongs_to_the_agents_turn_and_its_result_is_the_next_one(rows):
    calls = 0
    for row in rows:
        for turn, following in zip(row["turns"], [*row["turns"][1:], None], strict=True):
            assert bool(turn["call"]) == bool(following and following["role"] == "tool")
            if turn["call"]:
                calls += 1
                assert turn["role"] == "assistant" and following["values"] == {} and following["call"] == ""
                assert isinstance(json.loads(following["content"]), dict)
    assert calls > 50


def test_a_call_carries_the_values_of_the_talk(rows):
    names = {"find": "find_order", "again": "find_order", "send": "send_lamp"}
    for row in rows:
        now = row["values"] | row["corrected"]
        for turn, following in zip(row["turns"], row["turns"][1:], strict=False):
            if turn["call"]:
                call = json.loads(turn["call"])
                assert call["name"] == names[following["nodes"][0]]
                assert call["arguments"]["order"] in (row["values"]["order"], now["order"])
                assert call["arguments"].keys() == (
                    {"order"} if call["name"] == "find_order" else {"order", "customer"}
                )


def test_what_a_tool_answered_decides_how_the_talk_goes_on(rows):
    results = {"found": {"day"}, "again": {"error": "timeout"}, "lost": {"error": "lost"}}
    seen = set()
    for row in rows:
        for node, following in zip(row["nodes"], row["nodes"][1:], strict=False):
            if node == "find":
                (content, *_) = [turn["content"] for turn in row["turns"] if turn["role"] == "tool"]
                told = json.loads(content)
                assert told == ({"day": row["values"]["day"]} if following == "found" else results[following])
                seen.add(following)
    assert seen == results.keys()


def test_conversations_with_tools_facts_and_interruptions_have_no_fault(rows):
    assert [line for row in rows for line in dataset.faults(row)] == []


def test_an_agents_turn_has_the_name_under_which_it_is_demanded(shop, rows):
    for row in rows:
        for turn in row["turns"]:
            if turn["role"] == "assistant":
                heard = [name for _, name in dataset.agent_turns([{"turns": [turn]}])]
                assert heard == [name for name in [label(shop, tuple(turn["nodes"]))] if name]


# -- scores ----------------------------------------------------------------------------------------------------------


class Actor:
    """Says its lines one after the other, then nothing that is known."""

    def __init__(self, lines: list[str]):
        self.lines = iter(lines)

    async def reply(self, messages, **settings) -> Reply:
        return Reply(next(self.lines, "Hm."), 1, 1, 0.0)


def written(turn: dict) -> str:
    """Return an agent's turn as a model writes it."""
    call = f"<tool_call>\n{turn['call']}\n</tool_call>" if turn["call"] else ""
    return f"{turn['content']}\n{call}".strip()


def lines_of(row: dict) -> list[str]:
    return [written(turn) for turn in row["turns"] if turn["role"] == "assistant"]


def dialogue(row: dict, lines: list[str]) -> dict:
    actor = Compiled(Actor(lines), "You look after lamps.", 0.0)
    stage = scripted_stage(actor, name="toy", temperature=0.0, seed=1, max_turns=60)
    return asyncio.run(stage.hold(row, 0))


def played(shop: Flowchart, row: dict, change: Callable[[list[str]], None] = lambda lines: None) -> dict:
    """Return the score of an agent that says a conversation's lines, some of them changed.

    Its turns are heard as those whose place in the conversation they take.
    """
    lines = lines_of(row)
    change(lines)
    talk = dialogue(row, lines)
    names = [label(shop, tuple(turn["nodes"])) for turn in row["turns"] if turn["role"] == "assistant"]
    spoken = sum(turn["role"] == "assistant" for turn in talk["turns"])
    return score_dialogue(shop, row, talk, [(name, 1.0) for name in [*names, *["?"] * spoken][:spoken]])


def one(rows: list[dict], *nodes: str) -> dict:
    """Return a conversation along these nodes."""
    return next(row for row in rows if row["nodes"] == list(nodes))


SENDING = ("greet", "tell", "look", "find", "found", "light", "explain", "answer", "send", "done")
KINDS = ("values", "facts", "arguments")


def marks(score: dict) -> dict[str, tuple[int, int]]:
    found = {kind: (score[f"{kind}_correct"], score[f"{kind}_total"]) for kind in KINDS}
    return found | {"interruptions": (score["interruptions_handled"], score["interruptions_total"])}


def replaced(old: str, new: str, place: int) -> Callable[[list[str]], None]:
    """Return a change of one of the agent's lines."""

    def change(lines: list[str]) -> None:
        assert old in lines[place], lines[place]
        lines[place] = lines[place].replace(old, new)

    return change


def test_a_talk_that_follows_the_procedure_scores_full_marks(shop, rows):
    total = dict.fromkeys((*KINDS, "interruptions"), 0)
    for row in rows:
        score = played(shop, row)
        assert score["conforming"] and score["outcome_correct"], (score["justification"], row["nodes"])
        for kind, (right, every) in marks(score).items():
            assert right == every, (kind, row["nodes"])
            total[kind] += every
    assert min(total.values()) > 30, total


def test_a_score_with_calls_fits_the_table_of_scores(tmp_path, shop, rows):
    scores = [played(shop, row) for row in rows[:20]]
    path = records.write_table(scores, records.SCORE, tmp_path / "scores.parquet")
    assert records.read_table(path, records.SCORE) == scores


def test_a_matcher_that_learned_from_the_conversations_hears_a_talk_with_calls_as_it_is(shop, rows):
    values = {value for pool in shop.variables.values() for value in pool}
    ear = matcher.fit(dataset.agent_turns(rows), values, dataset.customer_words(rows))
    talks = [row for row in rows if row["nodes"] == list(SENDING)]
    scores = score_dialogues(shop, talks, [dialogue(row, lines_of(row)) for row in talks], ear)
    assert scores and all(score["conforming"] for score in scores), scores[0]["justification"]


def test_the_steps_of_a_score_show_the_calls(shop, rows):
    row = one(rows, *SENDING)
    steps = played(shop, row)["steps"]
    order = row["values"]["order"]
    assert [step["expected"] for step in steps] == ["greet", "look", "found", "explain", "", "done"]
    assert [step["after"] for step in steps] == ["", "tell", "find", "light", "answer", "send"]
    assert (
        steps[1]["call_expected"]
        == steps[1]["call_made"]
        == (f'{{"name": "find_order", "arguments": {{"order": "{order}"}}}}')
    )
    assert [bool(step["call_expected"]) for step in steps] == [False, True, False, False, True, False]


# What is changed in the agent's second line, and how many of the arguments are right then.
WRONG_CALLS = {
    "a wrong value": (lambda text, order: text.replace(order, "99"), 2),
    "a missing argument": (lambda text, order: text.replace(f'"order": "{order}"', ""), 2),
    "another argument": (lambda text, order: text.replace('"order"', '"number"'), 2),
    "one argument too many": (lambda text, order: text.replace('{"order"', '{"day": "Friday", "order"'), 3),
    "a number for a text": (lambda text, order: text.replace(f'"{order}"', order), 2),
    "another tool": (lambda text, order: text.replace("find_order", "send_lamp"), 2),
    "no call": (lambda text, order: text.partition("\n")[0], 2),
}


@pytest.mark.parametrize("what", WRONG_CALLS)
def test_a_wrong_call_is_a_wrong_step_and_its_arguments_count_exactly(shop, rows, what):
    row, (change, right) = one(rows, *SENDING), WRONG_CALLS[what]
    order = row["values"]["order"]

    def act(lines: list[str]) -> None:
        lines[1] = change(lines[1], order)

    score = played(shop, row, act)
    step = score["steps"][1]
    assert not score["conforming"] and not step["legal"] and score["first_wrong"] == 2
    assert step["heard"] == step["expected"] == "look" and step["call_made"] != step["call_expected"]
    if what == "no call":
        assert (step["call_made"], score["arguments_correct"]) == ("", 0)
        assert score["justification"].endswith("after tell, got no call.")
    else:
        assert (score["arguments_correct"], score["arguments_total"]) == (right, 3)
        assert (
            score["justification"] == f"Turn 2: expected {step['call_expected']} after tell, got {step['call_made']}."
        )


def test_of_two_arguments_the_one_that_is_right_counts(shop, rows):
    score = played(shop, one(rows, *SENDING), replaced('"customer": "', '"customer": "Zoe ', 4))
    assert marks(score)["arguments"] == (2, 3) and not score["steps"][4]["legal"]


def test_a_call_that_nobody_needs_is_a_wrong_step_though_all_arguments_are_right(shop, rows):
    row = one(rows, *SENDING)
    call = '\n<tool_call>\n{"name": "send_lamp", "arguments": {}}\n</tool_call>'
    lines = lines_of(row)
    lines[0] += call
    talk = dialogue(row, [lines[0], "Hm.", *lines[1:]])
    score = score_dialogue(
        shop, row, talk, [(name, 1.0) for name in ("greet", "?", "look", "found", "explain", "", "done")]
    )
    assert talk["turns"][1]["content"] == '{"error": "not found"}'
    assert [step["legal"] for step in score["steps"]] == [False] + [True] * 5
    assert marks(score)["arguments"] == (3, 3) and not score["conforming"] and score["first_wrong"] == 0
    assert score["steps"][0]["call_expected"] == "" and "expected no call at the start" in score["justification"]


def test_a_fact_that_is_told_wrongly_is_missing_and_no_value_is(shop, rows):
    row = one(rows, *SENDING)
    score = played(shop, row, replaced(row["values"]["meaning"], "I do not know", 3))
    assert marks(score)["facts"] == (1, 2) and score["values_correct"] == score["values_total"] == 3
    assert score["steps"][3]["values_missing"] == [f"meaning={row['values']['meaning']}"] and score["conforming"]


def test_a_value_that_a_tool_told_has_to_be_passed_on(shop, rows):
    row = one(rows, *SENDING)
    score = played(shop, row, replaced(row["values"]["day"], "some day", 2))
    assert marks(score)["values"] == (2, 3) and marks(score)["facts"] == (2, 2)


@pytest.fixture
def corrected(rows) -> Callable[[str], dict]:
    """Return a conversation in which a variable is corrected before the lamp is sent, and nothing else interrupts."""
    found = {}
    for row in rows:
        others = [name for name in row["nodes"] if name not in ("fix?", "fix!")]
        if row["corrected"] and others == list(SENDING):
            found |= dict.fromkeys(row["corrected"], row)
    return found.__getitem__


def place_of(row: dict, node: str) -> int:
    """Return which of the agent's turns speaks a node."""
    return [node in turn["nodes"] for turn in row["turns"] if turn["role"] == "assistant"].index(True)


def test_a_correction_that_is_heeded_to_the_end_is_handled(shop, corrected):
    for name in ("name", "order"):
        score = played(shop, corrected(name))
        assert marks(score)["interruptions"] == (1, 1) and score["conforming"]


def test_a_correction_whose_answer_has_the_old_value_is_not_handled(shop, corrected):
    row = corrected("name")
    old, new, place = row["values"]["name"], row["corrected"]["name"], place_of(row, "fix!")
    score = played(shop, row, replaced(new, old, place))
    assert marks(score)["interruptions"] == (0, 1) and score["steps"][place]["values_missing"] == [f"new={new}"]


def test_a_correction_that_is_not_heeded_in_later_words_is_not_handled(shop, corrected):
    row = corrected("name")
    score = played(shop, row, replaced(row["corrected"]["name"], row["values"]["name"], -1))
    assert marks(score)["interruptions"] == (0, 1) and score["conforming"]
    assert score["steps"][-1]["values_missing"] == [f"name={row['corrected']['name']}"]


def test_a_correction_that_is_not_heeded_in_a_later_call_is_not_handled(shop, corrected):
    row = corrected("order")
    score = played(shop, row, replaced(row["corrected"]["order"], row["values"]["order"], -2))
    assert marks(score)["interruptions"] == (0, 1) and marks(score)["arguments"] == (2, 3)


def test_a_value_that_was_wrong_before_it_was_corrected_does_not_count_against_the_correction(shop, corrected):
    row = corrected("name")
    score = played(shop, row, replaced(row["values"]["name"], "friend", 2))
    assert marks(score)["interruptions"] == (1, 1) and score["values_correct"] == score["values_total"] - 1


def test_an_interruption_is_handled_by_its_own_answer_alone(shop, rows):
    row = next(
        row for row in rows if row["nodes"].count("wait?") == 1 == sum(name.endswith("?") for name in row["nodes"])
    )
    talk = dialogue(row, lines_of(row))
    names = [label(shop, tuple(turn["nodes"])) for turn in row["turns"] if turn["role"] == "assistant"]
    names += ["?"] * (sum(turn["role"] == "assistant" for turn in talk["turns"]) - len(names))
    for heard, handled in (("wait!", 1), ("greet", 0), ("?", 0)):
        matched = [(heard if name == "wait!" else name, 1.0) for name in names]
        assert score_dialogue(shop, row, talk, matched)["interruptions_handled"] == handled


def test_an_interruption_that_ends_the_talk_has_its_own_outcome(shop, rows):
    row = next(row for row in rows if row["nodes"] == ["greet", "human?", "lost"])
    score = played(shop, row)
    assert (score["outcome_expected"], score["outcome_reached"], score["conforming"]) == ("lost", "lost", True)
    assert marks(score)["interruptions"] == (1, 1)
