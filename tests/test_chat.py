"""A real GGUF answers through llama.cpp, in a dialogue and at the terminal."""

import io
import subprocess
import sys
from pathlib import Path

import pytest
from subterra import chat
from subterra.errors import SubterraError
from subterra.export.gguf_writer import export_f16
from subterra.models.gguf import GgufModel
from toy_model import SYSTEM, write_toy

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
