"""What a procedure must hold as a whole: an end for everyone, branches that show, values that were said."""

import re
import time

import pytest
from subterra.checker import check_spec
from subterra.errors import SpecError
from subterra.flowchart import Flowchart
from subterra.routes import restrict, spoken_before
from toy_spec import TOY, changed, write

HUB = """\
title: Refunds
system: You refund.
start: ask
variables:
  tier: [basic, premium, gold]
  item: [lamp, chair, table, sofa, clock, mirror]
nodes:
  ask: {role: user, says: ["My {item} is broken, I have {tier}."], next: decide}
  decide:
    role: agent
    prompt: Say that the {item} was looked up.
    says: ["I looked up the {item}."]
    next:
      - {to: refund, when: the customer has premium or gold, where: {tier: [premium, gold]}}
      - {to: refuse, when: the customer has basic, where: {tier: [basic]}}
  refund: {role: user, says: [Thanks.], next: paid}
  refuse: {role: user, says: [Pity.], next: unpaid}
  paid: {role: end, outcome: paid}
  unpaid: {role: end, outcome: unpaid}
"""


def read(tmp_path, text: str) -> Flowchart:
    return check_spec(write(tmp_path, text))


def mistakes(tmp_path, text: str) -> list[str]:
    """Return the lines about a spec from the place on, once file and line are checked."""
    path = write(tmp_path, text)
    with pytest.raises(SpecError) as caught:
        check_spec(path)
    found = [re.fullmatch(rf"{re.escape(str(path))}:(\d+): (.*)", line) for line in caught.value.lines]
    assert all(found) and all(1 <= int(match[1]) <= text.count("\n") for match in found)
    return [match[2] for match in found]


def test_a_hub_of_the_agent_may_branch_on_a_value_that_was_said(tmp_path):
    flowchart = read(tmp_path, HUB)
    assert flowchart.hubs == ("decide",)
    assert flowchart.way("decide", "refund").where == {"tier": ("gold", "premium")}


def test_a_procedure_without_an_end_is_told_so_once(tmp_path):
    text = re.sub(r"  paid: .*\n  unpaid: .*\n", "", HUB).replace("next: paid", "next: ask")
    assert mistakes(tmp_path, text.replace("next: unpaid", "next: ask")) == [
        "nodes: no end among 4 nodes: give at least one node `role: end` and an outcome"
    ]


def test_a_node_that_nothing_leads_to_is_named(tmp_path):
    text = HUB + "  lost: {role: agent, prompt: Hm., says: [Hm.], next: island}\n  island: {role: end, outcome: o}\n"
    assert mistakes(tmp_path, text) == [
        f"nodes.{name}: '{name}': no way leads here from ask: add one, or take the node out"
        for name in ("lost", "island")
    ]


def test_where_a_way_was_lost_only_the_first_node_of_an_island_is_named(tmp_path):
    loop = "  loop: {role: agent, prompt: Hm., says: [Hm.], next: pool}\n"
    text = HUB + loop + "  pool: {role: user, says: [O], next: loop}\n"
    text = text.replace("says: [Pity.], next: unpaid", "says: [Pity.], next: [unpaid]")
    unreached = [line for line in mistakes(tmp_path, text) if "no way leads here" in line]
    assert [line.split(":")[0] for line in unreached] == ["nodes.unpaid", "nodes.loop"]


def test_a_node_that_reaches_no_end_is_named(tmp_path):
    text = HUB.replace("says: [Pity.], next: unpaid", "says: [Pity.], next: refuse")
    assert mistakes(tmp_path, text)[0] == "nodes.refuse: 'refuse': no way leads from here to an end: add one"


def test_a_conversation_does_not_start_at_its_end(tmp_path):
    found = mistakes(tmp_path, HUB.replace("start: ask", "start: paid"))
    assert found[0] == "start: 'paid' is an end: a conversation needs a turn before its end: start at another node"


def test_a_branch_of_the_agent_that_no_fact_explains_is_refused(tmp_path):
    (found,) = mistakes(tmp_path, HUB.replace(", where: {tier: [basic]}", ""))
    assert found.startswith(
        "nodes.decide.next[1].where: decide -> refuse: nothing in the dialogue explains this branch"
    )
    assert "add `where`" in found


def test_a_branch_on_a_value_that_nobody_said_is_refused(tmp_path):
    found = mistakes(tmp_path, HUB.replace(", I have {tier}", ""))
    assert [line.split(":")[0] for line in found] == [f"nodes.decide.next[{n}].where.tier" for n in (0, 1)]
    assert "decide -> refund: tier may not have been said by then" in found[0] and "let somebody" in found[0]


def test_branches_of_the_agent_that_can_both_hold_are_refused(tmp_path):
    (found,) = mistakes(tmp_path, HUB.replace("tier: [basic]}", "tier: [basic, gold]}"))
    assert found == (
        "nodes.decide.next[1].where: decide -> refuse and -> refund can both hold: "
        "make their `where` exclude each other"
    )
    (other,) = mistakes(tmp_path, HUB.replace("where: {tier: [basic]}", "where: {item: [lamp]}"))
    assert "can both hold" in other
    assert read(tmp_path, HUB.replace("tier: [basic]}", "tier: [basic], item: [lamp]}"))


def test_a_restriction_that_contradicts_those_before_it_is_refused(tmp_path):
    text = HUB.replace("next: paid", "next: [{to: paid, where: {tier: [basic]}}]")
    found = mistakes(tmp_path, text)
    assert [line.split(": ")[1] for line in found] == ["decide -> refund", "refund -> paid"]
    assert 'contradictory `where` {tier: ["basic"]}: no draw allows it' in found[1] and "widen" in found[1]
    assert read(tmp_path, text.replace("{tier: [basic]}}]", "{tier: [basic, gold]}}]"))


def test_a_contradiction_is_found_beside_other_mistakes(tmp_path):
    text = HUB.replace("next: paid", "next: [{to: paid, where: {tier: [basic]}}]") + "  far: {role: end, outcome: o}\n"
    found = mistakes(tmp_path, text.replace("outcome: unpaid", "outcom: unpaid"))
    for piece in ("contradictory", "no way leads here", "unknown key", "missing: name what"):
        assert any(piece in line for line in found), found


def test_a_contradiction_of_one_variable_is_found_where_the_states_are_too_many(tmp_path):
    width = 18
    pools = "".join(f"  v{n}: [a, b]\n" for n in range(width))
    hubs = "".join(
        f"  h{n}:\n    role: user\n    next:\n"
        f"      - {{to: a{n}, when: a, says: [A], where: {{v{n}: [a]}}}}\n"
        f"      - {{to: b{n}, when: b, says: [B], where: {{v{n}: [b]}}}}\n"
        f"  a{n}: {{role: agent, prompt: Ah., says: [Ah.], next: h{n + 1}}}\n"
        f"  b{n}: {{role: agent, prompt: Oh., says: [Oh.], next: h{n + 1}}}\n"
        for n in range(width)
    )
    end = "  h18: {role: user, says: [X], next: [{to: e, where: {v0: [a]}}]}\n  e: {role: end, outcome: o}\n"
    text = f"title: T\nsystem: S\nstart: h0\nvariables:\n{pools}nodes:\n{hubs}{end}"
    begun = time.perf_counter()
    (found,) = mistakes(tmp_path, text)
    assert "h0 -> b0: contradictory `where`" in found and time.perf_counter() - begun < 15


def test_the_agent_never_has_to_say_what_nobody_told_it(tmp_path):
    prompt = "Ask for the size of the {drink} and what it may cost."
    text = re.sub(r'says: \["Which size.*', "says: ['{price} for {drink}?']", TOY)
    assert mistakes(tmp_path, changed(prompt, "Ask about {price} and {drink}.", text)) == [
        "nodes.ask_size.prompt: {price}: on some route to ask_size nobody has said it yet: "
        "let the customer say it before, or drop it"
    ]


def test_a_phrasing_of_the_agent_names_what_its_prompt_names(tmp_path):
    (less,) = mistakes(tmp_path, HUB.replace("I looked up the {item}.", "I looked it up."))
    assert less == ("nodes.decide.says[0]: 'I looked it up.' does not say {item}, which the prompt names: add it")
    (more,) = mistakes(tmp_path, HUB.replace("I looked up the {item}.", "I looked up the {item}, {tier}."))
    assert "says {tier}, which the prompt does not name: name it there or drop it" in more


def test_phrasings_of_one_way_name_the_same(tmp_path):
    (found,) = mistakes(tmp_path, changed("Just a {drink}.", "Just a drink."))
    assert found.startswith("nodes.order.next[1].says[1]: 'Just a drink.' does not say {drink}, as the other")


def test_an_agent_has_no_words_after_its_ways_part(tmp_path):
    (found,) = mistakes(tmp_path, HUB.replace("where: {tier: [basic]}", "where: {tier: [basic]}, says: [No]"))
    assert found.startswith("nodes.decide.next[1].says: 'No': an agent speaks before the ways part")


def test_what_was_said_is_what_every_route_says(tmp_path):
    spoken = spoken_before(read(tmp_path, TOY))
    assert spoken["greet"] == spoken["order"] == frozenset()
    assert spoken["ask_size"] == {"drink"} and spoken["served"] == {"drink", "size", "price"}


def test_a_restriction_narrows_a_draw_until_nothing_is_left():
    once = restrict({}, {"tier": ("basic", "gold")})
    assert once == {"tier": frozenset({"basic", "gold"})}
    assert restrict(once, {"tier": ("gold", "premium")}) == {"tier": frozenset({"gold"})}
    assert restrict(once, {"tier": ("premium",)}) is None and restrict(once, {}) is once


def test_a_hub_of_a_thousand_facts_is_checked_in_seconds(tmp_path):
    values = [f"v{n}" for n in range(1_500)]
    ways = "".join(f"      - {{to: e{v}, when: it is {v}, where: {{tier: [{v}]}}}}\n" for v in values)
    ends = "".join(f"  e{v}: {{role: end, outcome: o}}\n" for v in values)
    text = (
        f"title: T\nsystem: S\nstart: ask\nvariables: {{tier: [{', '.join(values)}]}}\nnodes:\n"
        "  ask: {role: user, says: ['{tier}'], next: decide}\n"
        f"  decide:\n    role: agent\n    prompt: Decide.\n    says: Well.\n    next:\n{ways}{ends}"
    )
    begun = time.perf_counter()
    assert len(read(tmp_path, text).ends) == 1_500
    assert len(mistakes(tmp_path, re.sub(r"tier: \[v\d+\]}", "tier: [v1]}", text))) >= 1_499
    assert time.perf_counter() - begun < 10
