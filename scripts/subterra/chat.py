"""Talk to a compiled agent in the terminal: `python -m subterra.chat MODEL.gguf`.

The agent greets first, unless it learned that the customer does. On a terminal answers stream; otherwise each line of
standard input is a customer turn and both sides are printed with their labels, so that a scripted conversation is a
pipe.
"""

import argparse
import contextlib
import json
import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import yaml

from subterra.config import check_section
from subterra.dialogue import dialogue_seed, messages
from subterra.errors import SubterraError, one_line
from subterra.export.quantize import preferred
from subterra.models import ContextFull
from subterra.models.gguf import GgufModel
from subterra.text import readable
from subterra.tools import DrawnStandIn, Tools, own_tools, split_call

CALL = "<tool_call>"
BARE = ("{", "[")  # what opens a call without tags; a turn that begins so is shown once it is whole
MOST_CALLS = 5  # of one answer
HELP = "/restart starts over, /quit or Ctrl-D leaves"


class Chat:
    """One conversation: turns so far and the settings of the agent's answers."""

    def __init__(
        self,
        model: GgufModel,
        system: str,
        *,
        temperature: float,
        seed: int,
        max_tokens: int,
        tools: Tools | None = None,
    ):
        self.model, self.system = model, system
        self.tools = tools or Tools({}, DrawnStandIn({}))
        self.temperature, self.seed, self.max_tokens = temperature, seed, max_tokens
        self.turns: list[dict] = []

    def hear(self, words: str) -> None:
        """Take in a customer turn."""
        self.turns.append({"role": "user", "content": words})

    def answer(self) -> Iterator[str]:
        """Yield the agent's turn as it is written, and keep it; what it asks of tools is answered on the way."""
        for _ in range(MOST_CALLS):
            yield from _without_call(self._turn())
            call = self.turns[-1]["call"]
            if not call:
                return
            result = self.tools.answer(call)
            self.turns.append({"role": "tool", "content": result})
            asked = json.loads(call)
            yield f"[{asked['name']} {readable(asked['arguments'])} -> {result}] "

    def _turn(self) -> Iterator[str]:
        said = []
        settings = {
            "temperature": self.temperature,
            "seed": self.seed + len(self.turns),
            "max_tokens": self.max_tokens,
        }
        for piece in self.model.stream(messages(self.system, self.turns), **settings):
            said.append(piece)
            yield piece
        words, call = split_call("".join(said))
        self.turns.append({"role": "assistant", "content": words, "call": call})

    def restart(self) -> None:
        """Forget everything that was said."""
        self.turns.clear()


def _without_call(pieces: Iterable[str]) -> Iterator[str]:
    """Yield the words of a turn, and nothing from where a call begins; all pieces are taken."""
    pieces, held = iter(pieces), ""
    for piece in pieces:
        held += piece
        while held and not held.lstrip().startswith(BARE):
            words = held.partition(CALL[0])[0]
            yield words
            held = held[len(words) :]
            if held.startswith(CALL):
                for _ in pieces:
                    pass
                return
            if CALL.startswith(held):
                break
            yield held[0]
            held = held[1:]
    if not split_call(held)[1]:
        yield held


def main(arguments: list[str] | None = None) -> None:
    """Run the chat; a user's mistake ends it with one line and status 1."""
    options = _parser().parse_args(arguments)
    with one_line(), GgufModel(best(options.model), n_ctx=options.context) as model:
        system = model.metadata("subterra.system") if options.system is None else options.system
        seed = dialogue_seed(options.seed, "chat", options.temperature)
        tools = Tools(_own_tools(options.tools), DrawnStandIn(json.loads(model.metadata("subterra.tools", "{}"))))
        settings = {"temperature": options.temperature, "seed": seed, "max_tokens": options.max_tokens}
        chat = Chat(model, system, tools=tools, **settings)
        try:
            talk(chat, terminal=sys.stdin.isatty())
            sys.stdout.flush()
        except KeyboardInterrupt:
            print()
        except BrokenPipeError:
            # Nobody reads what Python would still flush at its end.
            sys.stdout = open(os.devnull, "w")  # noqa: SIM115


def _own_tools(file: str | None) -> dict:
    if not file:
        return {}
    try:
        settings = yaml.safe_load(Path(file).read_text(encoding="utf-8"))["tools"]
        if not isinstance(settings, dict):
            raise TypeError(f"it is {settings!r}")
    except (OSError, ValueError, yaml.YAMLError, KeyError, TypeError) as problem:
        raise SubterraError(f"{file}: no file with a section `tools` ({' '.join(str(problem).split())})") from None
    check_section("tools", settings, file)
    return own_tools(settings)


def best(place: str) -> Path:
    """Return a GGUF file: the one that was named, or the best quantization of a folder."""
    folder = Path(place)
    if not folder.is_dir():
        return folder
    found = {file.stem: file for file in folder.glob("*.gguf")}
    if not found:
        raise SubterraError(f"{place}: no GGUF file in it; run `make run` first")
    return found.get(preferred(list(found)), min(found.values()))


def talk(chat: Chat, *, terminal: bool) -> None:
    """Greet, then answer each customer line until the input ends."""
    lines = _typed() if terminal else _piped()
    if terminal:
        print(f"{chat.model.metadata('general.name', 'agent')}: {HELP}\n")
    _open(chat, terminal)
    for words in lines:
        if words == "/quit":
            return
        if words == "/restart":
            chat.restart()
            print()
            _open(chat, terminal)
        elif words.startswith("/"):
            print(HELP)
        else:
            chat.hear(words)
            _say(chat, terminal)


def _open(chat: Chat, terminal: bool) -> None:
    """Let the agent greet, where it is the one who speaks first."""
    if chat.model.metadata("subterra.opens", "agent") == "agent":
        _say(chat, terminal)


def _say(chat: Chat, terminal: bool) -> None:
    """Print the agent's turn; on a terminal a conversation that grew too long starts over."""
    print("agent> ", end="", flush=True)
    try:
        for piece in chat.answer():
            print(piece, end="", flush=True)
    except ContextFull as mistake:
        if not terminal or not chat.turns:
            print()
            raise
        print(f"[{mistake}; starting over]\n")
        chat.restart()
        _open(chat, terminal)
    else:
        print()


def _typed() -> Iterator[str]:
    with contextlib.suppress(ImportError):
        import readline  # noqa: F401  (line editing and history for input())
    with contextlib.suppress(EOFError):
        while True:
            if words := input("you> ").strip():
                yield words
    print()


def _piped() -> Iterator[str]:
    for line in sys.stdin:
        if words := line.strip():
            print(f"customer> {words}")
            yield words


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m subterra.chat", description="Talk to a compiled agent.")
    parser.add_argument("model", help="GGUF file, or a folder of them: results/travel_booking/gguf")
    parser.add_argument("--temperature", type=float, default=0.0, help="0, the default, is greedy")
    parser.add_argument("--system", help="system prompt; the default is the one in the file")
    parser.add_argument("--tools", metavar="FILE", help="YAML with a section `tools`, as in the config: your own tools")
    parser.add_argument("--seed", type=int, default=0, help="for temperatures above 0")
    parser.add_argument("--max-tokens", type=int, default=200, help="longest answer")
    parser.add_argument("--context", type=int, default=2048, help="longest conversation, in tokens")
    return parser


if __name__ == "__main__":
    main()
