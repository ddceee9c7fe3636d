"""A real GGUF answers through llama.cpp, in a dialogue and at the terminal."""

import io
import json
import subprocess
import sys
from pathlib import Path

import pytest
from subterra import chat
from subterra.checker import check_spec
from subterra.errors import SubterraError
from subterra.export.gguf_writer import export_f16
from subterra.models.gguf import GgufModel
from subterra.tools import DrawnStandIn, Tools
from toy_model import SYSTEM, write_toy
from toy_spec import SHOP, write

OPENING = [{"role": "system", "content": SYSTEM}]
LATER = [
    *OPENING,
    {"role": "assistant", "content": "Where to?"},
    {"role": "user", "content": "Kyoto, 9 days."},
]
GREEDY = {"temperature": 0, "seed": 0, "max_tokens": 20}


@pytest.fixture(scope="module")
def f16(tmp_path_factory):
    folder = write_toy(tmp_path_factory.mktemp("toy"))
    facts = {"agent": "toy", "spec_digest": "abc", "version": "0.1.0", "system": SYSTEM}
    return export_f16(folder, folder / "f16.gguf", **facts)


@pytest.fixture
def model(f16):
    with GgufModel(f16) as loaded:
        yield loaded


def evaluated(model, messages, monkeypatch) -> int:
    """Return how many prompt tokens llama.cpp reads for one more turn."""
    lengths = []
    real = model._llama.eval
    monkeypatch.setattr(model._llama, "eval", lambda tokens: (lengths.append(len(tokens)), real(tokens)))
    model.reply(messages, temperature=0, seed=0, max_tokens=1)
    monkeypatch.setattr(model._llama, "eval", real)
    return lengths[0]


def test_a_turn_is_told_with_its_tokens_and_time(model):
    reply = model.reply(LATER, **GREEDY)
    assert reply.text and 0 < reply.tokens_out <= 20
    assert reply.tokens_in == len(model.tokenize(model.render(LATER)))
    assert reply.seconds > 0


def test_the_stream_says_what_the_reply_says(model):
    for settings in (GREEDY, {"temperature": 0.7, "seed": 5, "max_tokens": 30}):
        assert "".join(model.stream(LATER, **settings)).strip() == model.reply(LATER, **settings).text


def test_the_same_seed_gives_the_same_turn_whatever_was_asked_before(model, f16):
    drawn = {seed: model.reply(LATER, temperature=0.7, seed=seed, max_tokens=20).text for seed in range(4)}
    assert len(set(drawn.values())) > 1
    model.reply([*OPENING, {"role": "user", "content": "something else"}], **GREEDY)
    with GgufModel(f16) as fresh:
        for seed in reversed(range(4)):
            assert model.reply(LATER, temperature=0.7, seed=seed, max_tokens=20).text == drawn[seed]
            assert fresh.reply(LATER, temperature=0.7, seed=seed, max_tokens=20).text == drawn[seed]


def test_greedy_needs_no_seed(model):
    assert len({model.reply(LATER, temperature=0, seed=seed, max_tokens=20).text for seed in range(3)}) == 1


def test_the_next_turn_of_a_dialogue_reads_only_what_is_new(model, monkeypatch):
    whole = evaluated(model, LATER, monkeypatch)
    said = model.reply(LATER, **GREEDY).text
    longer = [*LATER, {"role": "assistant", "content": said}, {"role": "user", "content": "Yes."}]
    total = model.reply(longer, **GREEDY).tokens_in
    model.reply(LATER, **GREEDY)
    assert evaluated(model, longer, monkeypatch) <= total - whole < total


def test_another_dialogue_starts_from_an_empty_cache(model, monkeypatch):
    model.reply(LATER, **GREEDY)
    other = [*OPENING, {"role": "user", "content": "Hello"}]
    assert evaluated(model, other, monkeypatch) == len(model.tokenize(model.render(other)))


def test_the_turn_ends_at_the_end_of_turn_token(model, monkeypatch):
    first = model._llama.generate
    monkeypatch.setattr(model._llama, "generate", lambda *a, **k: iter([*"", *model.tokenize("Hi"), 2, 99, 99]))
    assert model.reply(OPENING, **GREEDY).text == "Hi"
    monkeypatch.setattr(model._llama, "generate", first)


def test_letters_of_several_tokens_come_whole(model, monkeypatch):
    tokens = model.tokenize("한국어🎵")
    assert len(tokens) > 4
    monkeypatch.setattr(model._llama, "generate", lambda *a, **k: iter([*tokens, 2]))
    pieces = list(model.stream(OPENING, **GREEDY))
    assert "".join(pieces) == "한국어🎵" and all("\ufffd" not in piece for piece in pieces)


def test_a_conversation_longer_than_the_context_is_refused_in_one_line(model):
    endless = [*OPENING, {"role": "user", "content": "on and on " * 400}]
    with pytest.raises(SubterraError, match="does not fit the context of 512") as raised:
        model.reply(endless, **GREEDY)
    assert "\n" not in str(raised.value)


def test_a_turn_never_runs_over_the_end_of_the_context(model):
    filled = [*OPENING, {"role": "user", "content": "to " * 120}]
    prompt = len(model.tokenize(model.render(filled)))
    assert 212 < prompt < 512
    assert model.reply(filled, temperature=0, seed=0, max_tokens=10_000).tokens_out <= 512 - prompt


def test_at_the_terminal_a_conversation_that_grew_too_long_starts_over(f16, capsys, monkeypatch):
    typed = iter(["on and on " * 400])
    monkeypatch.setattr("builtins.input", lambda _prompt: next(typed, "/quit"))
    with GgufModel(f16) as loaded:
        session = chat.Chat(loaded, SYSTEM, temperature=0, seed=0, max_tokens=8)
        chat.talk(session, terminal=True)
    assert "starting over" in capsys.readouterr().out
    assert [turn["role"] for turn in session.turns] == ["assistant"]


def test_a_script_that_grew_too_long_ends_with_status_1(f16, capsys, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.StringIO("on and on " * 400))
    with pytest.raises(SystemExit) as left:
        chat.main([str(f16)])
    assert left.value.code == 1 and "does not fit" in capsys.readouterr().err


def scripted(f16, monkeypatch, capsys, script, *options) -> str:
    monkeypatch.setattr(sys, "stdin", io.StringIO(script))
    chat.main([str(f16), "--max-tokens", "8", *options])
    return capsys.readouterr().out


def test_a_scripted_conversation_shows_both_sides_with_their_labels(f16, monkeypatch, capsys):
    out = scripted(f16, monkeypatch, capsys, "Kyoto, please.\n\nBook it.\n")
    labels = [line.split(">")[0] for line in out.splitlines() if line.startswith(("agent>", "customer>"))]
    assert labels == ["agent", "customer", "agent", "customer", "agent"]
    assert "customer> Book it." in out


def test_an_agent_that_learned_to_be_spoken_to_waits_for_the_customer(tmp_path, monkeypatch, capsys):
    folder = write_toy(tmp_path)
    facts = {"agent": "toy", "spec_digest": "abc", "version": "0.1.0", "system": SYSTEM, "opens": "user"}
    out = scripted(export_f16(folder, folder / "f16.gguf", **facts), monkeypatch, capsys, "Kyoto.\n/restart\nBali.\n")
    labels = [line.split(">")[0] for line in out.splitlines() if line.startswith(("agent>", "customer>"))]
    assert labels == ["customer", "agent", "customer", "customer", "agent"]


def test_a_folder_stands_for_its_best_quantization(tmp_path):
    for name in ("f16", "q4_k_m", "q8_0"):
        (tmp_path / f"{name}.gguf").touch()
    assert chat.best(str(tmp_path)) == tmp_path / "q8_0.gguf"


def test_quit_leaves_and_restart_greets_again(f16, monkeypatch, capsys):
    once = scripted(f16, monkeypatch, capsys, "/quit\nnever heard\n")
    twice = scripted(f16, monkeypatch, capsys, "/restart\n")
    assert "never heard" not in once
    greeting = once.split("customer>")[0].strip()
    assert twice.count(greeting) == 2


def test_the_prompt_comes_from_the_file_unless_another_is_given(f16, monkeypatch, capsys):
    from_file = scripted(f16, monkeypatch, capsys, "")
    assert from_file == scripted(f16, monkeypatch, capsys, "", "--system", SYSTEM)
    assert from_file != scripted(f16, monkeypatch, capsys, "", "--system", "Something else entirely, in 2026.")


def test_a_missing_model_is_one_line_and_status_1_without_a_traceback(tmp_path):
    scripts = Path(chat.__file__).parents[1]
    command = [sys.executable, "-m", "subterra.chat", str(tmp_path / "none.gguf")]
    done = subprocess.run(command, env={"PYTHONPATH": str(scripts)}, capture_output=True, text=True)
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr.splitlines() == [f"{tmp_path / 'none.gguf'}: not found; run `make run` first"]


# -- tools -----------------------------------------------------------------------------------------------------------

CALL = '{"name": "find_order", "arguments": {"order": "Kyōto\'s 107"}}'
TAGGED = f"Let me look.\n<tool_call>\n{CALL}\n</tool_call>"
SHOWN = '[find_order {"order": "Kyōto\'s 107"} -> {"day": "Friday"}] '


class Talker:
    """Speaks its answers one after the other, in pieces of a set length, and remembers what it was told."""

    def __init__(self, *answers: str, length: int = 4):
        self.answers, self.length, self.heard = iter(answers), length, []

    def stream(self, messages, **_):
        self.heard.append(messages)
        text = next(self.answers)
        yield from (text[place : place + self.length] for place in range(0, len(text), self.length))

    def metadata(self, key, default=""):
        return {"subterra.opens": "user"}.get(key, default)


def session(model: Talker, *answers: dict) -> chat.Chat:
    """Return a chat whose tools give these answers, each once."""
    told = iter(answers)
    tools = Tools({}, lambda call: next(told))
    begun = chat.Chat(model, SYSTEM, temperature=0, seed=0, max_tokens=99, tools=tools)
    begun.hear("Where is it?")
    return begun


@pytest.mark.parametrize("length", [1, 2, 5, 13, 1_000])
def test_a_call_is_answered_and_shown_but_not_as_it_was_written_and_the_talk_goes_on(length):
    model = Talker(TAGGED, "It comes on Friday.", length=length)
    begun = session(model, {"day": "Friday"})
    assert "".join(begun.answer()) == f"Let me look.\n{SHOWN}It comes on Friday."
    assert [turn["role"] for turn in begun.turns] == ["user", "assistant", "tool", "assistant"]
    assert [turn["content"] for turn in begun.turns[1:]] == ["Let me look.", '{"day": "Friday"}', "It comes on Friday."]


def test_the_model_is_told_what_it_called_and_what_came_of_it():
    model = Talker(TAGGED, "It comes on Friday.", "Bye.")
    begun = session(model, {"day": "Friday"})
    list(begun.answer())
    begun.hear("Thanks.")
    list(begun.answer())
    called = {"type": "function", "function": json.loads(CALL)}
    assert model.heard[1][2:] == [
        {"role": "assistant", "content": "Let me look.", "tool_calls": [called]},
        {"role": "tool", "content": '{"day": "Friday"}'},
    ]
    assert [message["role"] for message in model.heard[2][-3:]] == ["tool", "assistant", "user"]


def test_calls_in_a_row_are_each_answered():
    model = Talker(TAGGED, TAGGED.partition("\n")[2], "It comes on Friday.")
    begun = session(model, {"error": "timeout"}, {"day": "Friday"})
    shown = "".join(begun.answer())
    assert shown.count("[find_order") == 2 and '-> {"error": "timeout"}]' in shown and "tool_call" not in shown
    assert [turn["role"] for turn in begun.turns[1:]] == ["assistant", "tool"] * 2 + ["assistant"]


def test_an_agent_that_calls_without_end_is_heard_no_longer():
    model = Talker(*[TAGGED] * 99)
    list(session(model, *[{"error": "timeout"}] * 99).answer())
    assert len(model.heard) == chat.MOST_CALLS


@pytest.mark.parametrize("words", ["1 < 2", "<tool", "<tool_cal> is no tag", "<<tool_", "a <b> c <"])
@pytest.mark.parametrize("length", [1, 3, 1_000])
def test_words_that_only_look_like_a_call_are_shown(words, length):
    begun = session(Talker(words, length=length))
    assert "".join(begun.answer()) == words and begun.turns[-1]["call"] == ""


@pytest.mark.parametrize("written", [CALL, CALL.replace("arguments", "parameters"), f"[{CALL}]"])
def test_a_call_without_tags_is_not_shown_as_it_was_written_either(written):
    begun = session(Talker(written, "It comes on Friday."), {"day": "Friday"})
    assert "".join(begun.answer()) == f"{SHOWN}It comes on Friday."


@pytest.fixture(scope="module")
def with_tools(tmp_path_factory):
    """A GGUF that knows the shop's tools."""
    folder = write_toy(tmp_path_factory.mktemp("tools"))
    tools = check_spec(write(folder, SHOP)).tools()
    facts = {"agent": "shop", "spec_digest": "abc", "version": "0.1.0", "system": SYSTEM, "opens": "user"}
    return export_f16(folder, folder / "f16.gguf", tools=tools, **facts), tools


def asked_for(order: str) -> str:
    return f'<tool_call>\n{{"name": "find_order", "arguments": {{"order": "{order}"}}}}\n</tool_call>'


def test_at_the_terminal_a_call_is_answered_by_the_stand_in_of_the_file(with_tools, monkeypatch, capsys):
    file, tools = with_tools
    talker = Talker(asked_for("107"), "It was sold.", asked_for("107"), "As I said.")
    monkeypatch.setattr(GgufModel, "stream", lambda self, messages, **settings: talker.stream(messages))
    out = scripted(file, monkeypatch, capsys, "107, please.\nOnce more.\n")
    answer = json.dumps(DrawnStandIn(tools)({"name": "find_order", "arguments": {"order": "107"}}))
    shown = f'agent> [find_order {{"order": "107"}} -> {answer}] '
    lines = [line for line in out.splitlines() if line.startswith("agent>")]
    assert lines == [f"{shown}It was sold.", f"{shown}As I said."] and "tool_call" not in out


def test_at_the_terminal_a_call_is_answered_by_the_users_own_tool(with_tools, tmp_path, monkeypatch, capsys):
    (tmp_path / "shop.py").write_text("def find(order):\n    return {'day': 'Tuesday', 'order': int(order)}\n")
    (tmp_path / "tools.yaml").write_text(f"tools: {{find_order: {{python: '{tmp_path}/shop.py:find'}}}}\n")
    talker = Talker(asked_for("107"), "There.", asked_for("x"), "Hm.")
    monkeypatch.setattr(GgufModel, "stream", lambda self, messages, **settings: talker.stream(messages))
    out = scripted(with_tools[0], monkeypatch, capsys, "107\nx\n", "--tools", str(tmp_path / "tools.yaml"))
    assert '-> {"day": "Tuesday", "order": 107}] There.' in out
    assert '-> {"error": "ValueError: invalid literal' in out and out.rstrip().endswith("Hm.")


def test_a_file_from_before_there_were_tools_answers_that_there_is_none(f16, monkeypatch, capsys):
    talker = Talker("Hello.", asked_for("107"), "A pity.")
    monkeypatch.setattr(GgufModel, "stream", lambda self, messages, **settings: talker.stream(messages))
    assert '-> {"error": "no such tool"}] A pity.' in scripted(f16, monkeypatch, capsys, "107, please.\n")


def refused(file, tmp_path, monkeypatch, capsys, content: str | None) -> str:
    """Return the one line with which the chat refuses a file of tools."""
    if content is not None:
        (tmp_path / "tools.yaml").write_text(content)
    monkeypatch.setattr(sys, "stdin", io.StringIO(""))
    with pytest.raises(SystemExit) as left:
        chat.main([str(file), "--tools", str(tmp_path / "tools.yaml")])
    (line,) = capsys.readouterr().err.splitlines()
    assert left.value.code == 1
    return line


@pytest.mark.parametrize("content", [None, "", "- a", "tools: 3", "tools: [", "tools:"])
def test_a_file_without_tools_is_one_line(f16, tmp_path, monkeypatch, capsys, content):
    assert "no file with a section `tools`" in refused(f16, tmp_path, monkeypatch, capsys, content)


def test_a_tool_that_is_not_there_is_one_line(f16, tmp_path, monkeypatch, capsys):
    line = refused(f16, tmp_path, monkeypatch, capsys, "tools: {find: {python: 'none.py:find'}}")
    assert line == "tools.find.python: 'none.py:find': no such file: write it as file.py:function"


@pytest.mark.parametrize(
    "content", ["{find: {}}", "{find: {pyton: 'a.py:f'}}", "{find: 'a.py:f'}", "{find: {http: 3}}"]
)
def test_a_tool_that_is_neither_a_function_nor_an_endpoint_is_one_line(f16, tmp_path, monkeypatch, capsys, content):
    assert "find" in refused(f16, tmp_path, monkeypatch, capsys, f"tools: {content}")
