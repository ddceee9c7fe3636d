"""A spec as written: every mistake of form is one line with file, place, value and way out."""

import json
import pickle
import random
import re
import time
from pathlib import Path

import pytest
import yaml
from subterra.checker import check_spec
from subterra.errors import SpecError
from subterra.flowchart import Flowchart
from toy_spec import TOY, changed, write

SHIPPED = Path(__file__).parent.parent / "specs" / "travel_booking.yaml"


def mistakes(tmp_path: Path, text: str, **options) -> list[str]:
    """Return the lines about a spec, without its folder; each has to be one line with file and place."""
    path = write(tmp_path, text)
    with pytest.raises(SpecError) as caught:
        check_spec(path, **options)
    for line in caught.value.lines:
        assert re.match(rf"{re.escape(str(path))}:\d+: \S", line) and line.isprintable(), line
    return [line.removeprefix(f"{tmp_path}/") for line in caught.value.lines]


def line_of(piece: str, text: str) -> int:
    return text[: text.index(piece)].count("\n") + 1


def test_the_shipped_spec_has_fourteen_nodes_three_hubs_and_three_ends():
    flowchart = check_spec(SHIPPED)
    assert (len(flowchart.nodes), len(flowchart.hubs), len(flowchart.ends)) == (14, 3, 3)


def test_the_toy_spec_is_valid_and_goes_back(tmp_path):
    flowchart = check_spec(write(tmp_path, TOY))
    assert (len(flowchart.nodes), len(flowchart.hubs), len(flowchart.ends)) == (8, 2, 3)
    assert flowchart.agent == "toy" and flowchart.variables["price"] == tuple("23456789")
    assert ("ask_size", "order") in flowchart.edges and ("answer", "order") in flowchart.edges


# What is replaced, by what, the place, and what else the line has to hold: the value and the way out.
ONE_MISTAKE = {
    "unknown target": (
        ["next: answer", "next: anser"],
        "nodes.quote.next",
        ["quote -> anser", "no such node", "did you mean 'answer'"],
    ),
    "unknown target of a way": (
        ["to: handed_over", "to: xyz"],
        "nodes.answer.next[2].to",
        ["answer -> xyz", "no such node", "name one that there is"],
    ),
    "unknown start": (
        ["start: greet", "start: gret"],
        "start",
        ["'gret': no such node (did you mean 'greet'?)"],
    ),
    "no start": (["start: greet\n", ""], "start", ["missing: name the node"]),
    "two ways to one node": (
        ["to: order, when", "to: served, when"],
        "nodes.answer.next[1].to",
        ["answer -> served", "second way", "join the two"],
    ),
    "end with a way out": (
        ["left: {role: end,", "left: {role: end, next: order,"],
        "nodes.left.next",
        ["order: an end has no way out: take `next` away"],
    ),
    "no way out": (
        ["    next: answer\n", ""],
        "nodes.quote.next",
        ["missing: say where it goes on, or make the node an end"],
    ),
    "empty list of ways": (
        ["next: answer", "next: []"],
        "nodes.quote.next",
        ["[] leads nowhere: say where it goes on"],
    ),
    "empty way": (["next: answer", "next:"], "nodes.quote.next", ["empty: say where it goes on"]),
    "blank way": (["next: answer", "next: '  '"], "nodes.quote.next", ["empty: say where it goes on"]),
    "missing when": (
        ["        when: only a drink is named\n", ""],
        "nodes.order.next[1].when",
        ["missing: say what makes it order -> ask_size"],
    ),
    "empty when": (
        ["when: only a drink is named", "when: ''"],
        "nodes.order.next[1].when",
        ["empty: say what makes it order -> ask_size"],
    ),
    "duplicate when": (
        ["when: only a drink is named", "when: The customer  wants nothing"],
        "nodes.order.next[2].when",
        [
            "'the customer wants nothing' is also the `when` of the way to ask_size",
            "say what sets them apart",
        ],
    ),
    "branch without words": (
        ['        says: ["One {drink}, please.", "Just a {drink}.", "Do you have {drink}?"]\n', ""],
        "nodes.order.next[1].says",
        ["order -> ask_size: nothing in the dialogue explains this branch: add `says`"],
    ),
    "same words on two ways": (
        ["Get the boss.", "YES."],
        "nodes.answer.next[2].says[1]",
        ["'YES.' is also said on the way to served", "nothing in the dialogue", "say what sets them apart"],
    ),
    "same words among the alternatives of two ways": (
        ["Get the boss.", "[Certainly|Yes]."],
        "nodes.answer.next[2].says[1]",
        ["'Yes.' is also said on the way to served", "say what sets them apart"],
    ),
    "alternatives that are not closed": (
        ["Just a {drink}.", "[Just|Only a {drink}."],
        "nodes.order.next[1].says[1]",
        ["'[Just|Only a {drink}.': close each bracket of [this|that]"],
    ),
    "alternatives that name other variables": (
        ["Just a {drink}.", "Just [a {drink}|that]."],
        "nodes.order.next[1].says[1]",
        ["[a {drink}|that]: name the same variables in each of the alternatives"],
    ),
    "undeclared variable": (
        ["Just a {drink}.", "Just a {drnk}."],
        "nodes.order.next[1].says[1]",
        ["{drnk}: no such variable (did you mean 'drink'?): declare it"],
    ),
    "undeclared variable in a prompt": (
        ["Hand over the {drink}", "Hand over the {bill}"],
        "nodes.served.prompt",
        ["{bill}: no such variable: declare it under variables"],
    ),
    "variable in the system prompt": (
        ["You sell coffee.", "You sell {drink}."],
        "system",
        ["'You sell {drink}.'", "has no braces"],
    ),
    "empty pool": (
        ["[tiny, small, medium, large, huge, giant]", "[]"],
        "variables.size",
        ["[] is an empty pool: write at least one value"],
    ),
    "empty range": (
        ["from: 2", "from: 10"],
        "variables.price",
        ['"from": "10"', "an empty pool: `to` has to be at least `from`"],
    ),
    "range without an end": (
        ["{from: 2, to: 9}", "{from: 2}"],
        "variables.price.to",
        ["missing: write a whole number"],
    ),
    "range that is no number": (
        ["from: 2", "from: two"],
        "variables.price.from",
        ["the word two where a whole number belongs"],
    ),
    "vast range": (
        ["to: 9}", "to: 999999999}"],
        "variables.price",
        ["more than 100,000 values: take a larger step"],
    ),
    "value twice": (
        ["huge, giant", "huge,  tiny"],
        "variables.size[5]",
        ["'tiny' stands twice: take one out"],
    ),
    "value with braces": (
        ["huge, giant", "huge, '{drink}'"],
        "variables.size[5]",
        ["'{drink}'", "no braces"],
    ),
    "pool of a wrong type": (
        ["[tiny, small, medium, large, huge, giant]", "big"],
        "variables.size",
        ["the word big where a list of values or {from, to, step} belongs"],
    ),
    "agent without prompt": (
        ["    prompt: Greet the customer and ask what they would like.\n", ""],
        "nodes.greet.prompt",
        ["missing: tell the agent in a sentence"],
    ),
    "empty prompt": (
        ["prompt: Greet the customer and ask what they would like.", "prompt:"],
        "nodes.greet.prompt",
        ["empty: write a line of text"],
    ),
    "prompt of a wrong type": (
        ["prompt: Greet the customer and ask what they would like.", "prompt: [a, b]"],
        "nodes.greet.prompt",
        ['a list ["a", "b"] where a line of text belongs'],
    ),
    "says of a wrong type": (
        ['["Yes.", "That is right.", "Exactly, thank you."]', "{yes: no}"],
        "nodes.answer.next[0].says",
        ['a mapping {"yes": "no"} where a list of lines belongs'],
    ),
    "no phrasings": (
        ['    says: ["Here is your {drink}. Goodbye!", "Your {drink}, enjoy it!"]\n', ""],
        "nodes.served.says",
        ["missing: the built-in teacher needs phrasings here"],
    ),
    "phrasing twice": (
        ["Just a {drink}.", "One  {drink}, please."],
        "nodes.order.next[1].says[1]",
        ["twice"],
    ),
    "way of a wrong type": (
        ["next: answer", "next: [answer]"],
        "nodes.quote.next[0]",
        ["the word answer where a way such as {to: node, when: why} belongs"],
    ),
    "ways of a wrong type": (
        ["next: answer", "next: {to: answer}"],
        "nodes.quote.next",
        ['a mapping {"to": "answer"} where a node\'s name or a list of ways belongs'],
    ),
    "node of a wrong type": (
        ["left: {role: end, outcome: left}", "left: end"],
        "nodes.left",
        ["the word end where a mapping with role and next belongs"],
    ),
    "unknown role": (
        ["left: {role: end,", "left: {role: ende,"],
        "nodes.left.role",
        ["'ende': no role (did you mean 'end'?): one of agent, user, tool, end"],
    ),
    "no role": (["left: {role: end,", "left: {"], "nodes.left.role", ["missing: one of agent, user, tool, end"]),
    "no outcome": (
        ["left: {role: end, outcome: left}", "left: {role: end}"],
        "nodes.left.outcome",
        ["missing: name what was achieved"],
    ),
    "outcome before an end": (
        ["    next: answer\n", "    next: answer\n    outcome: fine\n"],
        "nodes.quote.outcome",
        ["'fine': only an end has an outcome: take it out"],
    ),
    "unknown key": (
        ["system: You sell coffee.", "system: You sell coffee.\nsystm: x"],
        "systm",
        ["unknown key 'systm' (did you mean 'system'?)"],
    ),
    "unknown key of a node": (
        ["left: {role: end,", "left: {role: end, outcom: x,"],
        "nodes.left.outcom",
        ["unknown key 'outcom' (did you mean 'outcome'?)"],
    ),
    "unknown key of a way": (
        ["{to: served,", "{to: served, whem: x,"],
        "nodes.answer.next[0].whem",
        ["unknown key 'whem' (did you mean 'when'?)"],
    ),
    "unknown key like no other": (
        ["title: Coffee", "zzz: 1\ntitle: Coffee"],
        "zzz",
        ["unknown key 'zzz' (known: title, system, start"],
    ),
    "no title": (["title: Coffee counter\n", ""], "title", ["missing: write a name"]),
    "unknown path rule": (
        ["rule: trail", "rule: trial"],
        "paths.rule",
        ["'trial': no path rule (did you mean 'trail'?): one of simple, trail, visits: k"],
    ),
    "node with an odd name": (
        ["  left: {role", '  "le ft": {role'],
        "nodes.le ft",
        ["'le ft' is no node's name: use letters"],
    ),
    "where of no variable": (
        ["to: served,", "to: served, where: {siz: [tiny]},"],
        "nodes.answer.next[0].where.siz",
        ["'siz': no such variable (did you mean 'size'?)"],
    ),
    "where of no value": (
        ["to: served,", "to: served, where: {size: [tinny]},"],
        "nodes.answer.next[0].where.size[0]",
        ["'tinny' is no value of size (did you mean 'tiny'?)"],
    ),
    "empty where": (
        ["to: served,", "to: served, where: {size: []},"],
        "nodes.answer.next[0].where.size",
        ["[] allows no draw at all: name the values"],
    ),
    "where of a wrong type": (
        ["to: served,", "to: served, where: size,"],
        "nodes.answer.next[0].where",
        ["the word size where a mapping such as {tier: [premium]} belongs"],
    ),
}


@pytest.mark.parametrize("case", ONE_MISTAKE)
def test_a_mistake_is_one_line_with_place_value_and_way_out(tmp_path, case):
    replaced, place, pieces = ONE_MISTAKE[case]
    found = [line for line in mistakes(tmp_path, changed(*replaced)) if f": {place}: " in line]
    assert len(found) == 1 and all(piece in found[0] for piece in pieces), found


# After these the file holds no way to some node.
LOSES_A_WAY = {
    "unknown target of a way",
    "two ways to one node",
    "no way out",
    "empty list of ways",
    "empty way",
}
LOSES_A_WAY |= {"blank way", "way of a wrong type", "ways of a wrong type", "node with an odd name"}


@pytest.mark.parametrize("case", ONE_MISTAKE)
def test_one_mistake_of_form_is_one_line_but_for_what_nothing_leads_to(tmp_path, case):
    found = mistakes(tmp_path, changed(*ONE_MISTAKE[case][0]))
    others = [line for line in found if "no way leads here" not in line]
    assert len(others) == (2 if case == "node with an odd name" else 1), found
    assert len(found) == len(others) or case in LOSES_A_WAY, found


def test_many_mistakes_are_reported_together_in_the_order_of_the_file(tmp_path):
    text = changed("start: greet", "start: greet\nstrat: x")
    text = changed("[tiny, small, medium, large, huge, giant]", "[]", text)
    text = changed("    prompt: Greet the customer and ask what they would like.\n", "", text)
    text = changed("        when: only a drink is named\n", "", text)
    text = changed("next: answer", "next: anser", text)
    text = changed("left: {role: end,", "left: {role: end, next: order,", text)
    text += "  island: {role: agent, prompt: Hm., says: Hm., next: trap}\n"
    text += "  trap: {role: user, says: Help!, next: trap}\n"
    found = mistakes(tmp_path, text)
    wanted = ["strat", "empty pool", "prompt: missing", "when: missing", "anser", "an end has no way out"]
    assert [piece in line for piece, line in zip(wanted, found, strict=False)] == [True] * 6, found
    assert [line.split(": ", 1)[1] for line in found[6:]] == [
        "nodes.island: 'island': no way leads from here to an end: add one",
        "nodes.island: 'island': no way leads here from greet: add one, or take the node out",
        "nodes.trap: 'trap': no way leads from here to an end: add one",
        "nodes.trap: 'trap': no way leads here from greet: add one, or take the node out",
    ]
    lines = [int(line.split(":")[1]) for line in found]
    assert lines == sorted(lines) and lines[4] == line_of("next: anser", text)


@pytest.mark.parametrize(
    ("text", "place"),
    [
        (TOY + "title: Again\n", "title: duplicate key 'title', first on line 2: rename or join them"),
        (TOY + "  left: {a: [b, {c: d}]}\n", "nodes.left: duplicate key 'left', first on line 56: rename"),
        (changed("{from: 2, to: 9}", "{from: 2, to: 9, to: 8}"), "variables.price.to: duplicate key 'to'"),
    ],
)
def test_a_duplicate_key_names_the_first_one(tmp_path, text, place):
    (found,) = mistakes(tmp_path, text)
    assert place in found


@pytest.mark.parametrize(
    "template",
    [
        "{drink.__class__}",
        "{0}",
        "{drink!r}",
        "{drink:>10}",
        "{{drink}}",
        "{}",
        "{drink",
        "drink}",
        "{ drink }",
    ],
)
@pytest.mark.parametrize("old", ["Just a {drink}.", "Repeat the {size} {drink}"])
def test_a_hostile_template_is_refused(tmp_path, template, old):
    found = mistakes(tmp_path, changed(old, f"For {{drink}} {template}"))
    stray = template.removeprefix("drink")
    assert any(f"'{stray}" in line and "a template fills in {name} of a declared" in line for line in found)
    assert not any("does not say" in line for line in found if "Just" in old)


def test_a_dunder_name_is_no_variable(tmp_path):
    found = mistakes(tmp_path, changed("Just a {drink}.", "Just a {__class__} of {drink}."))
    assert found[0].endswith("{__class__}: no such variable: declare it under variables")


@pytest.mark.parametrize("name", ["yes", "no", "1", "null", "1.5", "true", "~x", "é", "12:30:45", "=", "<<"])
def test_what_yaml_would_turn_into_something_else_is_an_ordinary_word(tmp_path, name):
    text = changed("  quote:", f"  '{name}':", changed("to: quote", f"to: {name}"))
    path = write(tmp_path, text)
    if re.fullmatch(r"[\w.-]+", name):
        flowchart = check_spec(path)
        assert ("order", name) in flowchart.edges and flowchart.nodes[name].role == "agent"
    else:
        assert any("is no node's name" in line for line in mistakes(tmp_path, text))


def test_bare_words_as_keys_targets_and_start_stay_what_was_written(tmp_path):
    text = changed("  quote:", "  yes:", changed("to: quote", "to: yes"))
    text = changed("next: answer", "next: no", changed("  answer:", "  no:", text))
    text = changed("start: greet", "start: 1", changed("  greet:", "  1:", text))
    flowchart = check_spec(write(tmp_path, text))
    assert flowchart.start == "1" and ("yes", "no") in flowchart.edges and flowchart.hubs == ("no", "order")


@pytest.mark.parametrize("name", ["Toy.yaml", "1toy.yaml", "to-y.yaml", "toy.yml", "tö.yaml", "toy", "a b.yaml"])
def test_a_file_name_that_is_no_agents_name_is_refused_with_one_that_is(tmp_path, name):
    with pytest.raises(SpecError) as caught:
        check_spec(write(tmp_path, TOY, name))
    (line,) = caught.value.lines
    assert line.startswith(f"{tmp_path}/{name}:1: '{name}' is no agent's name")
    better = re.search(r"such as (\S+)$", line)[1]
    assert check_spec(write(tmp_path, TOY, better)).agent == better.removesuffix(".yaml")


@pytest.mark.parametrize(
    ("content", "place", "piece"),
    [
        (b"title: T\nsystem: caf\xe9\n", ":2: ", "not UTF-8: byte 0xe9 at 20: save the file as UTF-8"),
        (TOY.encode("utf-16"), ":1: ", "not UTF-8: byte 0xff at 0: save"),
        (b"title: a\x00b", ":1:9: ", r"unprintable character '\x00': take it out"),
        (b"title: T\nnodes: {a: [b}\n", ":2:14: ", "not YAML"),
        (b"title: T: x\n", ":1:9: ", "mapping values are not allowed in this context: check the"),
        (b"title: T\n\tstart: x\n", ":2:1: ", "not YAML"),
        (
            b"title: 'T\nstart: x\n",
            ":3:1: ",
            "while scanning a quoted scalar begun on line 1, found unexpected",
        ),
        (b"start: @x\n", ":1:8: ", "cannot start any token"),
        (b"a: &x [b]\nc: *x\n", ":2: ", "*x: aliases are not read here: write the text out"),
        (b"", ":1: ", "the file is empty: a spec needs"),
        (b"# nothing\n", ":1: ", "the file is empty: a spec needs"),
        (b"- a\n- b\n", ":1: ", '\'["a", "b"]\': a spec is a mapping of title'),
        (b"word", ":1: ", "'word': a spec is a mapping of title"),
        (b"title: a\n---\ntitle: b\n", ":2: ", "a second document (---)"),
        (b"a: " + b"[" * 100_000 + b"]" * 100_000, ":1: ", "nested too deeply"),
        (b"a: " + b"{b: " * 5_000, ":1: ", "nested too deeply"),
        (b"\n".join(b" " * n + b"a:" for n in range(1_000)), ":18: ", "nested too deeply"),
    ],
)
def test_what_is_no_spec_at_all_is_one_line(tmp_path, content, place, piece):
    path = tmp_path / "toy.yaml"
    path.write_bytes(content)
    with pytest.raises(SpecError) as caught:
        check_spec(path)
    (line,) = caught.value.lines
    assert line.startswith(f"{path}{place}") and piece in line, line


def test_a_file_that_is_not_there_or_cannot_be_read_is_one_line(tmp_path):
    (tmp_path / "folder.yaml").mkdir()
    for name, piece in [
        ("none.yaml", "no such file"),
        ("folder.yaml", "Is a directory"),
        ("a\0.yaml", "null"),
    ]:
        with pytest.raises(SpecError) as caught:
            check_spec(tmp_path / name)
        assert piece in caught.value.lines[-1]


def test_nothing_in_a_spec_is_executed(tmp_path):
    text = changed("title: Coffee counter", f"title: !!python/object/apply:os.mkdir ['{tmp_path}/made']")
    found = mistakes(tmp_path, text)
    assert "title: tag:yaml.org,2002:python/object/apply:os.mkdir: tags (!) are not read here" in found[0]
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize("escape", [r"\0", r"\e", r"\uFEFF"])
def test_an_unprintable_character_is_refused_and_shown_escaped(tmp_path, escape):
    (found,) = mistakes(tmp_path, changed("Coffee counter", f'"Cof{escape}fee"'))
    assert ": title: unprintable character '\\" in found


def test_a_message_stays_one_short_line_whatever_the_spec_holds(tmp_path):
    found = mistakes(tmp_path, changed("title: Coffee", f'? "k\\n{"x" * 5000}"\n: "a\\nb"\ntitle: Coffee'))
    assert len(found) == 1 and len(found[0]) < 400


def test_a_long_value_is_cut_in_a_message(tmp_path):
    (found,) = mistakes(tmp_path, changed("to: served,", f"to: served, where: {{size: ['{'q ' * 500}']}},"))
    assert "'q q q" in found and "…' is no value of size: name one that is" in found and len(found) < 200


def test_without_a_built_in_teacher_phrasings_may_be_left_out(tmp_path):
    blocks = r"\n +says: \[.*|\n +- \".*|\n +says:$"
    text = re.sub(r'(,)? says: \[.*?"\]', "", re.sub(blocks, "", TOY, flags=re.M))
    assert "says" not in text
    flowchart = check_spec(write(tmp_path, text), phrasings=False)
    assert len(flowchart.nodes) == 8
    assert any("needs phrasings" in line for line in mistakes(tmp_path, text))


def test_the_path_rule_of_the_config_holds_where_the_spec_names_none(tmp_path):
    silent = changed("paths: {rule: trail}\n", "")
    assert check_spec(write(tmp_path, silent), rule="simple").rule == "simple"
    assert check_spec(write(tmp_path, TOY), rule="simple").rule == "trail"
    for written in ("visits:2", "'visits: 2'"):
        text = changed("rule: trail", f"rule: {written}")
        assert check_spec(write(tmp_path, text)).rule == "visits: 2"


# -- the canonical form ----------------------------------------------------------------------------------


def shuffled(value, draw: random.Random):
    """Return the same spec with other key orders and, where order says nothing, other orders of lists."""
    if isinstance(value, dict):
        items = [(key, shuffled(inner, draw)) for key, inner in value.items()]
        return dict(draw.sample(items, len(items)))
    if isinstance(value, list):
        return draw.sample([shuffled(inner, draw) for inner in value], len(value))
    return value


def test_comments_key_order_and_layout_do_not_show_in_the_canonical_form(tmp_path):
    canonical = check_spec(write(tmp_path, TOY)).to_json()
    data = yaml.load(TOY, Loader=yaml.BaseLoader)
    for seed in range(5):
        for flow in (True, False):
            text = "# another comment\n" + yaml.safe_dump(
                shuffled(data, random.Random(seed)),
                default_flow_style=flow,
                sort_keys=False,
                width=30 + seed * 20,
            )
            assert text != TOY and check_spec(write(tmp_path, text)).to_json() == canonical
    assert check_spec(write(tmp_path, json.dumps(data))).to_json() == canonical
    assert check_spec(write(tmp_path, "\ufeff" + TOY.replace("\n", "\r\n"))).to_json() == canonical


def test_every_word_of_a_spec_shows_in_the_canonical_form(tmp_path):
    digests = {check_spec(write(tmp_path, TOY)).digest}
    for old, new in [
        ("Coffee counter", "Tea counter"),
        ("You sell coffee.", "You sell tea."),
        ("rule: trail", "rule: simple"),
        ("chai, matcha", "chai, water"),
        ("to: 9", "to: 8"),
        ("Just a {drink}.", "Only {drink}."),
        ("only a drink is named", "a drink alone is named"),
        ("outcome: left", "outcome: gone"),
        ("Ask for the size", "Ask kindly for the size"),
        ("to: served,", "to: served, where: {size: [tiny]},"),
        ("next: order\n  order", "next: order\n  orders"),
    ]:
        try:
            digests.add(check_spec(write(tmp_path, changed(old, new))).digest)
        except SpecError:
            assert new.endswith("orders")
    assert len(digests) == 11


def test_the_canonical_form_can_be_read_back(tmp_path):
    for path in (
        SHIPPED,
        write(tmp_path, changed("to: served,", "to: served, where: {size: [tiny, giant]},")),
    ):
        flowchart = check_spec(path)
        again = Flowchart.from_json(flowchart.to_json())
        assert again == flowchart and again.to_json() == flowchart.to_json() and again.digest == flowchart.digest


def test_the_error_can_travel_between_processes():
    error = SpecError(["a.yaml:1: one", "a.yaml:2: two"])
    assert pickle.loads(pickle.dumps(error)).lines == error.lines and str(error).count("\n") == 1


# -- size ------------------------------------------------------------------------------------------------


def chain(length: int, link: str = "n{}") -> str:
    """Return a spec in which agent and customer take turns, one node after the other."""
    roles = ("agent, prompt: Go on.", "user")
    nodes = [f"  n{n}: {{role: {roles[n % 2]}, says: Well., next: {link.format(n + 1)}}}\n" for n in range(length)]
    end = f"  n{length}: {{role: end, outcome: o}}\n"
    return f"title: T\nsystem: S\nstart: n0\nnodes:\n{''.join(nodes)}{end}"


def hub(width: int) -> str:
    """Return a spec with one hub of many ways."""
    ways = [f"      - {{to: e{n}, when: w{n}, says: 'Say {n}.'}}\n" for n in range(width)]
    ends = [f"  e{n}: {{role: end, outcome: o}}\n" for n in range(width)]
    return f"title: T\nsystem: S\nstart: h\nnodes:\n  h:\n    role: user\n    next:\n{''.join(ways + ends)}"


def test_thousands_of_nodes_are_checked_in_seconds(tmp_path):
    begun = time.perf_counter()
    assert len(check_spec(write(tmp_path, chain(5_000))).nodes) == 5_001
    assert len(check_spec(write(tmp_path, hub(2_000))).hubs) == 1
    assert time.perf_counter() - begun < 10


def test_thousands_of_mistakes_are_told_in_seconds(tmp_path):
    begun = time.perf_counter()
    assert len(mistakes(tmp_path, chain(2_000, "m{}"))) >= 2_000
    assert len(mistakes(tmp_path, hub(1_500).replace("Say ", "Say { ").replace("to: e1", "to: f1"))) >= 2_000
    assert time.perf_counter() - begun < 10


# -- whatever one writes ---------------------------------------------------------------------------------

PIECES = [*" \n:[]{}'\"#|>\t\\é", "", "- ", "&a ", "*a", "!!int ", "---\n", "null", "{x.__class__}", "{0}"]
PIECES += ["{size}", "order", "end", "next: ", "role: user", "where: {size: [tiny]}"]
TOY_DATA = json.dumps(yaml.load(TOY, Loader=yaml.BaseLoader))


def garbled(draw: random.Random) -> str:
    """Return the toy spec with a few pieces of its text cut, doubled, moved or replaced."""
    text = TOY
    for _ in range(draw.randint(1, 4)):
        begin = draw.randrange(len(text))
        end = min(len(text), begin + draw.choice([0, 1, 3, 10, 60]))
        text = text[:begin] + draw.choice([*PIECES, text[begin:end] * 2, text[end : end + 40]]) + text[end:]
    return text


def twisted(draw: random.Random) -> str:
    """Return the toy spec with a few of its values replaced by others, taken from anywhere or made up."""
    data = json.loads(TOY_DATA)
    for _ in range(draw.randint(1, 4)):
        holder = draw.choice(list(_holders(data)))
        key = draw.choice(list(holder) if isinstance(holder, dict) else range(len(holder)))
        others = [inner for other in _holders(data) for inner in _inside(other)]
        new = json.loads(json.dumps(draw.choice([*others, *PIECES, [], {}, [[]], {"": ""}, 1, None])))
        action = draw.randrange(3)
        if action == 0:
            holder[key] = new
        elif action == 1 and isinstance(holder, dict):
            other_key = draw.choice(["next", "where", "says", "role", "to", "nodes", "zzz", ""])
            holder[other_key] = holder.pop(key)
        else:
            del holder[key]
    return json.dumps(data)


def _holders(value):
    if isinstance(value, dict | list) and value:
        yield value
        for inner in _inside(value):
            yield from _holders(inner)


def _inside(holder):
    return holder.values() if isinstance(holder, dict) else holder


@pytest.mark.parametrize("mutate", [garbled, twisted])
def test_whatever_is_written_gives_a_flowchart_or_lines_and_never_a_traceback(tmp_path, mutate):
    outcomes = {"flowchart": 0, "lines": 0}
    for seed in range(400):
        path = write(tmp_path, mutate(random.Random(seed)))
        try:
            flowchart = check_spec(path, phrasings=bool(seed % 3))
        except SpecError as error:
            assert error.lines and all(line.startswith(f"{path}:") and line.isprintable() for line in error.lines)
            outcomes["lines"] += 1
        else:
            assert Flowchart.from_json(flowchart.to_json()) == flowchart
            outcomes["flowchart"] += 1
    assert min(outcomes.values()) > 5, outcomes
