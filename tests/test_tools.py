"""What an agent asks of tools is read out of its words, and answered by a stand-in or by the user's own tools."""

import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from subterra.checker import check_spec
from subterra.errors import SubterraError
from subterra.tools import DrawnStandIn, StandIn, Tools, own_tools, split_call
from toy_spec import SHOP, write

CALL = '{"name": "find_order", "arguments": {"order": "107"}}'
OTHER = '{"name": "send_lamp", "arguments": {"order": "107", "customer": "Ann"}}'


def call(name: str, /, **arguments) -> dict:
    return {"name": name, "arguments": arguments}


def asked(name: str, /, **arguments) -> str:
    return json.dumps(call(name, **arguments))


# -- a call in the agent's words -------------------------------------------------------------------------------------

# What the model wrote, and the words beside the call.
WRITTEN = {
    "tags": (f"<tool_call>\n{CALL}\n</tool_call>", ""),
    "tags with words before": (f"One moment. <tool_call>\n{CALL}\n</tool_call>", "One moment."),
    "tags in one line": (f"<tool_call>{CALL}</tool_call>", ""),
    "an unclosed tag": (f"Let me look.\n<tool_call>\n{CALL}", "Let me look."),
    "bare JSON": (f" {CALL}\n", ""),
    "parameters": (CALL.replace("arguments", "parameters"), ""),
    "parameters after a tag of Llama's": ("<|python_tag|>" + CALL.replace("arguments", "parameters"), ""),
    "a list": (f"[{CALL}]", ""),
    "a list of Mistral's": (f"[TOOL_CALLS] [{CALL}]", ""),
}


@pytest.mark.parametrize("what", WRITTEN)
def test_a_call_is_found_however_a_template_writes_it(what):
    text, words = WRITTEN[what]
    assert split_call(text) == (words, CALL)


NO_CALL = {
    "plain words": "Which order, please?",
    "broken JSON": '<tool_call>\n{"name": "find_order", "arguments"\n</tool_call>',
    "broken bare JSON": '{"name": "find_order", "arguments": {',
    "no name": '{"arguments": {}}',
    "a name that is no text": '{"name": 7, "arguments": {}}',
    "no arguments": '{"name": "find_order"}',
    "arguments that are no mapping": '{"name": "find_order", "arguments": ["107"]}',
    "an empty list": "[]",
    "words in braces": "{as you like it}",
    "a call amid words": f"I would call {CALL} now.",
}


@pytest.mark.parametrize("what", NO_CALL)
def test_what_is_no_call_stays_words(what):
    assert split_call(f" {NO_CALL[what]}\n") == (NO_CALL[what], "")


def test_a_call_keeps_its_letters_and_the_order_of_its_arguments():
    text = '{"name": "send", "arguments": {"to": "Jörg O\'Neil", "at": "Kyōto"}}'
    assert split_call(f"<tool_call>{text}</tool_call>") == ("", text)


def test_of_two_calls_the_second_is_not_taken_for_words():
    assert split_call(f"Well. <tool_call>{CALL}</tool_call>\n<tool_call>{OTHER}</tool_call>") == ("Well.", CALL)


# -- the stand-in of a scenario --------------------------------------------------------------------------------------


def scenario(*asked_and_told: tuple[dict, dict]) -> dict:
    """Return a scenario in which each call gets its answer."""
    turns = [{"role": "user", "content": "Help!", "call": ""}]
    for one, result in asked_and_told:
        turns.append({"role": "assistant", "content": "", "call": json.dumps(one)})
        turns.append({"role": "tool", "content": json.dumps(result), "call": ""})
    return {"turns": turns}


def test_equal_calls_get_the_scenarios_answers_in_their_turn_and_the_last_one_ever_after():
    find = call("find", order="7")
    stand_in = StandIn(scenario((find, {"error": "timeout"}), (call("send"), {"ok": "1"}), (find, {"day": "Friday"})))
    answers = [stand_in(find) for _ in range(3)]
    assert answers == [{"error": "timeout"}, {"day": "Friday"}, {"day": "Friday"}]


def test_a_call_is_answered_whatever_was_called_before_it():
    stand_in = StandIn(scenario((call("a"), {"x": "1"}), (call("b"), {"x": "2"})))
    assert stand_in(call("b")) == {"x": "2"} and stand_in(call("a")) == {"x": "1"}


def test_another_call_than_the_scenarios_is_an_error():
    stand_in = StandIn(scenario((call("find", order="7"), {"day": "Friday"})))
    for arguments in ({}, {"order": "8"}, {"order": "7", "day": "Friday"}, {"order": 7}):
        assert stand_in(call("find", **arguments)) == {"error": "not found"}
    assert stand_in(call("fetch", order="7")) == {"error": "no such tool"}
    assert stand_in(call("find", order="7")) == {"day": "Friday"}


# -- the stand-in that draws -----------------------------------------------------------------------------------------


@pytest.fixture
def tools(tmp_path) -> dict:
    return check_spec(write(tmp_path, SHOP)).tools()


def test_a_flowchart_tells_a_stand_in_all_that_it_has_to_know(tools):
    assert json.loads(json.dumps(tools)) == tools and len(tools) == 2
    for find in tools["find_order"]:
        assert find["arguments"] == {"order": "{order}"} and find["pools"] == {"day": ["Friday", "Monday", "Tuesday"]}
    results = {str(result) for find in tools["find_order"] for result in find["results"]}
    assert results == {"{'day': '{day}'}", "{'error': 'lost'}", "{'error': 'timeout'}"}
    (send,) = tools["send_lamp"]
    assert send["results"] == [{"order": "{order}", "sent": "true"}] and send["pools"] == {}


def test_drawn_answers_are_those_that_the_flowchart_allows_and_all_of_them(tools):
    stand_in = DrawnStandIn(tools)
    told = {json.dumps(stand_in(call("find_order", order=str(number)))) for number in range(200)}
    days = [{"day": day} for day in ("Monday", "Tuesday", "Friday")]
    assert told == {json.dumps(one) for one in [*days, {"error": "lost"}, {"error": "timeout"}]}


def test_the_same_call_gets_the_same_answer_in_any_stand_in_until_it_was_an_error(tools):
    calls = [call("find_order", order=str(number)) for number in range(40)]
    first = DrawnStandIn(tools)
    answers = [first(one) for one in calls]
    assert answers == [DrawnStandIn(tools)(one) for one in calls]
    again = [(before, first(one)) for one, before in zip(calls, answers, strict=True)]
    assert all(before == after for before, after in again if "error" not in before)
    assert any(before != after for before, after in again)


def test_what_an_argument_said_comes_back_in_the_answer(tools):
    for order in ("107", "no number", "{order}"):
        assert DrawnStandIn(tools)(call("send_lamp", order=order, customer="Ann"))["order"] == order


def test_a_drawn_stand_in_knows_only_the_flowcharts_tools_and_their_arguments(tools):
    stand_in = DrawnStandIn(tools)
    assert stand_in(call("fetch_order", order="107")) == {"error": "no such tool"}
    for arguments in ({}, {"order": "107"}, {"order": "107", "name": "Ann"}):
        assert stand_in(call("send_lamp", **arguments)) == {"error": "not found"}
    assert DrawnStandIn({})(call("send_lamp")) == {"error": "no such tool"}


def test_an_argument_that_is_no_text_is_answered_too(tools):
    assert DrawnStandIn(tools)(call("send_lamp", order=107, customer="Ann"))


def test_a_tool_that_two_nodes_call_with_other_arguments_answers_both(tmp_path):
    both = check_spec(write(tmp_path, SHOP.replace("name: send_lamp", "name: find_order"))).tools()
    for arguments in ({"order": "107"}, {"order": "107", "customer": "Ann"}):
        assert DrawnStandIn(both)(call("find_order", **arguments)) != {"error": "not found"}


def test_an_argument_with_words_around_its_variable_gives_back_the_variable(tmp_path):
    text = SHOP.replace('customer: "{name}"', 'customer: "Dear {name}"').replace('sent: "true"', 'to: "{name}"')
    stand_in = DrawnStandIn(check_spec(write(tmp_path, text)).tools())
    assert stand_in(call("send_lamp", order="107", customer="Dear Ann"))["to"] == "Ann"


# -- the user's own --------------------------------------------------------------------------------------------------

PYTHON = """\
import datetime

def find_order(order):
    if order == "999":
        raise LookupError("no such order")
    if order == "000":
        return {"day": datetime.date(2026, 1, 1)}
    return {"day": "Möntag", "order": order}
"""


def answer(tools: Tools, name: str, /, **arguments) -> dict:
    return json.loads(tools.answer(asked(name, **arguments)))


@pytest.fixture
def python(tmp_path) -> Tools:
    (tmp_path / "shop.py").write_text(PYTHON, encoding="utf-8")
    return Tools(own_tools({"find_order": {"python": f"{tmp_path}/shop.py:find_order"}}), lambda _: {"by": "stand-in"})


def test_a_function_of_the_users_gets_the_arguments_by_name_and_its_answer_is_json(python):
    assert python.answer(asked("find_order", order="107")) == '{"day": "Möntag", "order": "107"}'


def test_a_tool_that_the_user_did_not_name_is_answered_by_the_stand_in(python):
    assert answer(python, "send_lamp", order="107") == {"by": "stand-in"}


FAILING = {
    "an exception": ({"order": "999"}, "LookupError: no such order"),
    "an answer that is no JSON": ({"order": "000"}, "TypeError"),
    "other arguments": ({"number": "107"}, "TypeError"),
    "no arguments": ({}, "TypeError"),
}


@pytest.mark.parametrize("what", FAILING)
def test_whatever_goes_wrong_in_a_function_is_an_error_that_the_agent_hears(python, what):
    arguments, message = FAILING[what]
    told = answer(python, "find_order", **arguments)
    assert list(told) == ["error"] and message in told["error"]


class Desk(BaseHTTPRequestHandler):
    """Answers what it was sent, with its method and path; some paths fail."""

    def do_POST(self):
        sent = self.rfile.read(int(self.headers["Content-Length"]))
        status = int(self.path.strip("/")) if self.path.strip("/").isdecimal() else 200
        told = {"sent": json.loads(sent), "type": self.headers["Content-Type"]}
        self.send_response(status)
        self.end_headers()
        self.wfile.write(b"<p>busy</p>" if self.path == "/html" else json.dumps(told).encode())

    def log_message(self, *_):
        """Keep the terminal clean."""


@pytest.fixture(scope="module")
def address():
    with HTTPServer(("127.0.0.1", 0), Desk) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


def over_http(url: str) -> dict:
    return answer(Tools(own_tools({"find_order": {"http": url}}), lambda _: {}), "find_order", order="Kyōto")


def test_an_endpoint_gets_the_arguments_as_json_by_post(address):
    assert over_http(address) == {"sent": {"order": "Kyōto"}, "type": "application/json"}


@pytest.mark.parametrize("status", [400, 404, 500])
def test_an_http_error_is_an_error_that_the_agent_hears(address, status):
    assert over_http(f"{address}/{status}") == {"error": f"HTTP {status}"}


def test_an_endpoint_that_answers_no_json_or_not_at_all_is_an_error_too(address):
    assert "JSONDecodeError" in over_http(f"{address}/html")["error"]
    assert "URLError" in over_http("http://127.0.0.1:1/")["error"]


BROKEN = {
    "no file": ("none.py:find_order", "no such file: write it as file.py:function"),
    "no function in the place": ("shop.py", "no such file: write it as file.py:function"),
    "no such function": ("shop.py:find", "no such function: write it as file.py:function"),
    "a file that is no Python": ("torn.py:find_order", "SyntaxError"),
    "a file that fails": ("fails.py:find_order", "ZeroDivisionError"),
}


@pytest.mark.parametrize("what", BROKEN)
def test_a_function_that_is_not_there_is_one_line_with_its_place(tmp_path, what):
    (tmp_path / "shop.py").write_text(PYTHON, encoding="utf-8")
    (tmp_path / "torn.py").write_text("def find_order(:\n")
    (tmp_path / "fails.py").write_text("1 / 0\n")
    place, message = BROKEN[what]
    with pytest.raises(SubterraError) as caught:
        own_tools({"find_order": {"python": f"{tmp_path}/{place}"}})
    line = str(caught.value)
    assert line.startswith(f"tools.find_order.python: '{tmp_path}/{place}': ") and message in line
    assert line.isprintable()
