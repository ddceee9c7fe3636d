"""Tools: what an agent's turn asks of them, and who answers: a stand-in with a scenario's answers, or the user's own.

A call is {"name": ..., "arguments": {...}}. In a model's text it stands as its chat template writes it: between
`<tool_call>` tags (Qwen, Hermes and the embedded base), or as bare JSON (Llama's `parameters`, Mistral's list).
"""

import importlib.util
import json
import re
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from subterra.errors import SubterraError
from subterra.text import PLACEHOLDER, filled, fraction, readable

TAGGED = re.compile(r"<tool_call>(.*?)(?:</tool_call>|\Z)", re.DOTALL)
BARE = re.compile(r"(?:\[TOOL_CALLS\]|<\|python_tag\|>)?\s*([\[{].*[\]}])\s*", re.DOTALL)
UNKNOWN_TOOL, NOT_FOUND = {"error": "no such tool"}, {"error": "not found"}
SECONDS = 30  # that an HTTP tool may take

Answerer = Callable[[dict], Any]


def split_call(text: str) -> tuple[str, str]:
    """Return the words of an agent's turn and its call as JSON, "" for none.

    >>> split_call('One moment. <tool_call> {"name": "find", "arguments": {"order": "7"}} </tool_call>')
    ('One moment.', '{"name": "find", "arguments": {"order": "7"}}')
    >>> split_call("How can I help?")
    ('How can I help?', '')
    """
    found = TAGGED.search(text)
    words = TAGGED.sub("", text).strip() if found else ""
    found = found or BARE.fullmatch(text.strip())
    call = _call(found[1]) if found else None
    return (words, readable(call)) if call else (text.strip(), "")


def _call(text: str) -> dict | None:
    try:
        data = json.loads(text)
    except ValueError:
        return None
    data = data[0] if isinstance(data, list) and data else data
    if not isinstance(data, dict) or not isinstance(data.get("name"), str):
        return None
    arguments = data.get("arguments", data.get("parameters"))
    return {"name": data["name"], "arguments": arguments} if isinstance(arguments, dict) else None


class StandIn:
    """Answers what a scenario's tools answered, for the same call; each of equal calls in its turn."""

    def __init__(self, scenario: Mapping):
        turns = scenario["turns"]
        self._answers = [
            (json.loads(turn["call"]), json.loads(turns[number + 1]["content"]))
            for number, turn in enumerate(turns)
            if turn["call"]
        ]
        self._given: set[int] = set()

    def __call__(self, call: dict) -> dict:
        """Return the result of a call; an error where the scenario has no such call."""
        same = [number for number, (asked, _) in enumerate(self._answers) if asked == call]
        if not same:
            known = any(asked["name"] == call["name"] for asked, _ in self._answers)
            return NOT_FOUND if known else UNKNOWN_TOOL
        number = next((number for number in same if number not in self._given), same[-1])
        self._given.add(number)
        return self._answers[number][1]


class DrawnStandIn:
    """Answers as the flowchart's tools may, by lot; the same call gets the same answer, unless that was an error.

    `tools` is what `Flowchart.tools` returns.
    """

    def __init__(self, tools: Mapping[str, Sequence[Mapping]]):
        self.tools = tools
        self._failed: Counter = Counter()

    def __call__(self, call: dict) -> dict:
        """Return the result of a call; an error for a tool or for arguments that the flowchart does not know."""
        result = self._result(call, self._failed[readable(call)])
        self._failed[readable(call)] += "error" in result
        return result

    def _result(self, call: dict, failed: int) -> dict:
        if call["name"] not in self.tools:
            return UNKNOWN_TOOL
        told = {key: str(value) for key, value in call["arguments"].items()}
        open_to_lot = []
        for use in self.tools[call["name"]]:
            heard = unfilled(use["arguments"], told)
            if heard is not None:
                drawn = {name: pool[int(fraction(told, name) * len(pool))] for name, pool in use["pools"].items()}
                open_to_lot += [filled(result, drawn | heard) for result in use["results"]]
        return open_to_lot[int(fraction(told, failed) * len(open_to_lot))] if open_to_lot else NOT_FOUND


def unfilled(templates: Mapping[str, str], texts: Mapping[str, str]) -> dict[str, str] | None:
    """Return the values with which the templates give these texts; None where none do."""
    if templates.keys() != texts.keys():
        return None
    values: dict[str, str] = {}
    for key, template in templates.items():
        parts = PLACEHOLDER.split(template)  # words and names in turn
        pattern = "".join("(.+)" if index % 2 else re.escape(part) for index, part in enumerate(parts))
        found = re.fullmatch(pattern, texts[key], re.DOTALL)
        if not found:
            return None
        values |= dict(zip(parts[1::2], found.groups(), strict=True))
    return values


class Tools:
    """Answers calls by the user's own tools where the config names one, else by a stand-in."""

    def __init__(self, own: Mapping[str, Answerer], stand_in: Answerer):
        self.own, self.stand_in = own, stand_in

    def answer(self, call: str) -> str:
        """Return the result of a call as JSON; what goes wrong in a tool is a result with an `error`."""
        asked = json.loads(call)
        if asked["name"] not in self.own:
            return readable(self.stand_in(asked))
        try:
            return readable(self.own[asked["name"]](asked["arguments"]))
        except Exception as problem:  # whatever the user's tool raises, the agent has to deal with it
            return readable({"error": f"{type(problem).__name__}: {problem}"})


def own_tools(settings: Mapping[str, Mapping[str, str]]) -> dict[str, Answerer]:
    """Return the tools that the config's section `tools` names: {tool: {python: file.py:function} or {http: URL}}.

    Raises SubterraError for a function that is not there.
    """
    return {
        name: _python(name, one["python"]) if "python" in one else _http(one["http"]) for name, one in settings.items()
    }


def _python(tool: str, place: str) -> Answerer:
    """Return a function of a file as a tool; it is called with the arguments by name."""
    file, _, function = place.rpartition(":")
    if not Path(file).is_file():
        raise SubterraError(f"tools.{tool}.python: '{place}': no such file: write it as file.py:function")
    spec = importlib.util.spec_from_file_location(f"subterra_tool_{Path(file).stem}", file)
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as problem:
        raise SubterraError(f"tools.{tool}.python: '{place}': {type(problem).__name__}: {problem}") from None
    found = getattr(module, function, None)
    if not callable(found):
        raise SubterraError(f"tools.{tool}.python: '{place}': no such function: write it as file.py:function")
    return lambda arguments: found(**arguments)


def _http(url: str) -> Answerer:
    """Return an endpoint as a tool: it gets the arguments as JSON by POST and answers with JSON."""

    def ask(arguments: dict) -> Any:
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(url, json.dumps(arguments).encode(), headers)
        try:
            with urllib.request.urlopen(request, timeout=SECONDS) as response:
                return json.load(response)
        except urllib.error.HTTPError as problem:
            return {"error": f"HTTP {problem.code}"}

    return ask
