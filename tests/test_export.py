"""The exported file says what the trained model says, or the export says in one line why it cannot."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from subterra.errors import SubterraError
from subterra.export import gguf_writer
from subterra.export.card import model_card, modelfile
from subterra.export.gguf_writer import export_f16, written_beside
from subterra.export.parity import check_parity
from subterra.export.quantize import fallbacks, preferred, quantize
from subterra.export.weights import stored_tensors
from subterra.models.gguf import GgufModel
from subterra.training.base import CHATML
from toy_model import PROMPTS, SYSTEM, TEMPLATE, odd_texts, write_toy

FACTS = {"agent": "toy", "spec_digest": "abc123", "version": "0.1.0", "system": SYSTEM}
LLAMA3_ROPE = {
    "rope_type": "llama3",
    "rope_theta": 10000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A Llama whose rows suit every quantization."""
    return write_toy(tmp_path_factory.mktemp("toy"), hidden=256, feed=512)


@pytest.fixture(scope="module")
def f16(folder):
    return export_f16(folder, folder / "f16.gguf", **FACTS)


def edited(folder, target, file, **changes):
    """Copy a model folder and change keys of one of its JSON files."""
    shutil.copytree(folder, target)
    data = json.loads((target / file).read_text()) | changes
    (target / file).write_text(json.dumps(data))
    return target


def one_line(raised) -> str:
    message = str(raised.value)
    assert "\n" not in message
    return message


@pytest.mark.parametrize(
    "shape",
    [
        {"kind": "llama"},
        {"kind": "llama", "tied": True, "shards": 3},
        {"kind": "llama", "rope": LLAMA3_ROPE},
        {"kind": "qwen2", "pre": "qwen2", "tied": True},
        {"kind": "qwen3", "pre": "qwen2"},
    ],
    ids=["llama", "tied in shards", "llama3 rope", "qwen2", "qwen3"],
)
def test_llama_cpp_writes_what_transformers_writes(tmp_path, shape):
    model = write_toy(tmp_path / "model", **shape)
    f16 = export_f16(model, tmp_path / "f16.gguf", **FACTS)
    found = check_parity(model, f16, PROMPTS, tmp_path / "parity.json")
    assert found["same_tokenization"] == found["same_template"] == found["prompts"] == 2
    assert found["same_tokens"] + found["near_ties"] == found["tokens"] > 2
    assert json.loads((tmp_path / "parity.json").read_text()) == found


def test_parity_reads_no_further_than_the_model_can(folder, f16, tmp_path):
    full = [[{"role": "user", "content": "to " * 235}]]
    found = check_parity(folder, f16, full, tmp_path / "parity.json")
    assert found["same_tokenization"] == 1 and 0 < found["tokens"] < 40
    beyond = [[{"role": "user", "content": "to " * 400}]]
    assert check_parity(folder, f16, beyond, tmp_path / "parity.json")["tokens"] == 0


def test_parity_finds_rows_in_the_wrong_rotary_order(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(gguf_writer, "interleaved", lambda rows, heads: rows)
    wrong = export_f16(folder, tmp_path / "wrong.gguf", **FACTS)
    with pytest.raises(SubterraError, match="greedy tokens differ") as raised:
        check_parity(folder, wrong, PROMPTS, tmp_path / "parity.json")
    one_line(raised)
    assert json.loads((tmp_path / "parity.json").read_text())["first_differences"]


def test_parity_finds_a_tokenizer_that_splits_otherwise(folder, tmp_path, monkeypatch):
    from subterra.export import vocabulary

    monkeypatch.setattr(vocabulary, "pre_tokenizer_name", lambda pre, place: "qwen2")
    wrong = export_f16(folder, tmp_path / "wrong.gguf", **FACTS)
    with pytest.raises(SubterraError, match="tokenizer differs"):
        check_parity(folder, wrong, PROMPTS, tmp_path / "parity.json", tokens=1)


def test_bfloat16_weights_are_read_without_torch_as_torch_reads_them(folder, tmp_path):
    import torch
    from safetensors.torch import load_file, save_file

    half = {name: tensor.bfloat16() for name, tensor in load_file(folder / "model.safetensors").items()}
    save_file(half, tmp_path / "model.safetensors")
    read = stored_tensors(tmp_path)
    assert read.keys() == half.keys()
    for name, tensor in half.items():
        np.testing.assert_array_equal(read[name].load(), tensor.to(torch.float32).numpy())


@pytest.mark.parametrize("pre", ["gpt-2", "llama-bpe", "qwen2", "smollm"])
def test_each_known_split_pattern_gives_the_same_tokens_on_odd_texts(tmp_path, pre):
    from tokenizers import Tokenizer

    model = write_toy(tmp_path, pre=pre)
    theirs = Tokenizer.from_file(str(model / "tokenizer.json"))
    with GgufModel(export_f16(model, tmp_path / "f16.gguf", **FACTS)) as ours:
        assert ours.metadata("tokenizer.ggml.pre") == pre
        for text in ["<|im_start|>user\nhi<|im_end|>\n", *odd_texts(400)]:
            assert ours.tokenize(text) == theirs.encode(text, add_special_tokens=False).ids, text


def test_the_file_carries_agent_digest_version_prompt_template_and_stop(f16):
    with GgufModel(f16) as model:
        assert {key: model.metadata(f"subterra.{key}") for key in FACTS} == FACTS
        assert model.metadata("general.name") == "toy"
        assert model.metadata("tokenizer.chat_template") == TEMPLATE
        assert model.metadata("tokenizer.ggml.eos_token_id") == model.metadata("tokenizer.ggml.eot_token_id") == "2"
        assert model.metadata("tokenizer.ggml.add_bos_token") == "false"


SCRATCH = Path(__file__).parent.parent / "bases" / "scratch" / "tokenizer_config.json"
TEMPLATES = {"of a new base": CHATML, "scratch": json.loads(SCRATCH.read_text())["chat_template"]}
TEMPLATES["embedded"] = (SCRATCH.parent.parent / "embedded" / "chat_template.jinja").read_text()


def called(*arguments: dict) -> list[dict]:
    return [{"type": "function", "function": {"name": "find_order", "arguments": one}} for one in arguments]


ODD = {"customer": "Jörg O'Neil & Søn <sen.>", "note": 'a "quote", a \\ and a 🎉', "place": "Kyōto"}
TALKS = {
    "words and a call": [
        {"role": "user", "content": "It's me: Jörg."},
        {"role": "assistant", "content": "Let's see.", "tool_calls": called(ODD)},
        {"role": "tool", "content": json.dumps({"found": "Jörg's"}, ensure_ascii=False)},
    ],
    "a call alone": [
        {"role": "user", "content": "107"},
        {"role": "assistant", "content": "", "tool_calls": called({"order": "107"})},
        {"role": "tool", "content": '{"error": "timeout"}'},
    ],
    "calls in a row": [
        {"role": "assistant", "content": "One moment.", "tool_calls": called({})},
        {"role": "tool", "content": "{}"},
        {"role": "assistant", "content": "", "tool_calls": called({"order": "107"})},
        {"role": "tool", "content": '{"day": "Möntag"}'},
        {"role": "assistant", "content": "On Möntag."},
        {"role": "user", "content": "Merci."},
    ],
    "two calls at once": [
        {"role": "user", "content": "Both."},
        {"role": "assistant", "content": "", "tool_calls": called({"order": "1"}, {"order": "2"})},
        {"role": "tool", "content": "{}"},
    ],
}


@pytest.mark.parametrize("template", TEMPLATES)
def test_a_talk_with_tools_is_written_by_llama_cpp_as_by_transformers(folder, tmp_path, template):
    from subterra.training.tokens import load_tokenizer

    model = edited(folder, tmp_path / "model", "tokenizer_config.json", chat_template=TEMPLATES[template])
    theirs = load_tokenizer(str(model))
    with GgufModel(export_f16(model, tmp_path / "f16.gguf", **FACTS)) as ours:
        for talk in TALKS.values():
            messages = [{"role": "system", "content": SYSTEM}, *talk]
            text = theirs.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
            assert ours.render(messages) == text
            assert ours.tokenize(text) == theirs(text, add_special_tokens=False)["input_ids"]
            calls = [call["function"] for message in talk for call in message.get("tool_calls", [])]
            assert all(json.dumps(call, ensure_ascii=False) in text for call in calls)


@pytest.mark.parametrize("template", TEMPLATES)
def test_a_call_is_written_as_it_is_read_back(folder, tmp_path, template):
    from subterra.tools import split_call

    model = edited(folder, tmp_path / "model", "tokenizer_config.json", chat_template=TEMPLATES[template])
    with GgufModel(export_f16(model, tmp_path / "f16.gguf", **FACTS)) as ours:
        for name in ("words and a call", "a call alone"):
            prompt, said = ours.render(TALKS[name][:1]), TALKS[name][1]
            turn = ours.render(TALKS[name][:2]).removeprefix(prompt).partition("<|im_end|>")[0]
            words, call = split_call(turn)
            assert words == said["content"] and json.loads(call) == said["tool_calls"][0]["function"]


def test_our_bases_have_the_same_template():
    assert len({template.strip() for template in TEMPLATES.values()}) == 1


def test_the_file_carries_its_tools_and_an_older_one_none(folder, f16, tmp_path):
    tools = {"find_order": {"arguments": {"order": "{order}"}, "results": [{"day": "Möntag's"}], "pools": {}}}
    with GgufModel(export_f16(folder, tmp_path / "f16.gguf", tools=tools, **FACTS)) as model:
        assert json.loads(model.metadata("subterra.tools")) == tools
    with GgufModel(f16) as model:
        assert json.loads(model.metadata("subterra.tools")) == {}


def test_the_modelfile_writes_chatml_for_a_template_with_tools_too(folder, f16, tmp_path):
    model = edited(folder, tmp_path / "model", "tokenizer_config.json", chat_template=CHATML)
    text = modelfile(export_f16(model, tmp_path / "f16.gguf", **FACTS))
    assert text == modelfile(f16) and "<|im_start|>assistant" in text


def test_a_chat_template_beside_the_tokenizer_is_taken_as_transformers_5_saves_it(folder, tmp_path):
    model = edited(folder, tmp_path / "model", "tokenizer_config.json", chat_template=None)
    (model / "chat_template.jinja").write_text("{{ messages[0]['content'] }}<|im_end|>")
    with GgufModel(export_f16(model, tmp_path / "f16.gguf", **FACTS)) as ours:
        assert ours.render([{"role": "user", "content": "hi"}]) == "hi<|im_end|>"


@pytest.mark.parametrize(
    ("file", "changes", "says"),
    [
        ("config.json", {"model_type": "gemma3"}, "supported are llama, qwen2, qwen3"),
        ("config.json", {"model_type": "lama"}, "did you mean 'llama'"),
        ("config.json", {"rope_parameters": {"rope_type": "yarn"}}, "supported are default and llama3"),
        ("config.json", {"use_sliding_window": True}, "set it to false"),
        ("tokenizer.json", {"pre_tokenizer": {"type": "Whitespace"}}, "supported is byte-level BPE"),
        ("tokenizer.json", {"pre_tokenizer": None}, "supported is byte-level BPE"),
        ("tokenizer.json", {"normalizer": {"type": "Lowercase"}}, "normalizer Lowercase"),
        ("tokenizer.json", {"model": {"type": "Unigram"}}, "Unigram tokenizer"),
        ("tokenizer_config.json", {"chat_template": None}, "no chat template"),
    ],
)
def test_what_cannot_be_exported_is_refused_in_one_line(folder, tmp_path, file, changes, says):
    model = edited(folder, tmp_path / "model", file, **changes)
    with pytest.raises(SubterraError, match=says) as raised:
        export_f16(model, tmp_path / "f16.gguf", **FACTS)
    one_line(raised)
    assert not list(tmp_path.glob("*.gguf"))


def test_weights_that_overflow_float16_are_refused_and_leave_no_file(tmp_path):
    from safetensors.numpy import load_file, save_file

    model = write_toy(tmp_path / "model")
    weights = load_file(model / "model.safetensors")
    weights["lm_head.weight"][3, 5] = 1e6
    save_file(weights, model / "model.safetensors")
    with pytest.raises(SubterraError, match="not finite in float16"):
        export_f16(model, tmp_path / "out" / "f16.gguf", **FACTS)
    assert not list((tmp_path / "out").iterdir())


def test_a_folder_without_weights_or_config_is_named(tmp_path):
    with pytest.raises(SubterraError, match=r"config.json: not found"):
        export_f16(tmp_path, tmp_path / "f16.gguf", **FACTS)
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    with pytest.raises(SubterraError, match=r"no \*\.safetensors file"):
        export_f16(tmp_path, tmp_path / "f16.gguf", **FACTS)


def test_the_same_model_gives_the_same_bytes(folder, f16, tmp_path):
    assert export_f16(folder, tmp_path / "again.gguf", **FACTS).read_bytes() == f16.read_bytes()


def test_a_smaller_quantization_is_smaller_and_still_answers(f16, tmp_path, capfd):
    made = {quant: quantize(f16, tmp_path / f"{quant}.gguf", quant) for quant in ("q8_0", "q4_k_m")}
    assert made["q4_k_m"]["bytes"] < made["q8_0"]["bytes"] < f16.stat().st_size
    assert made["q8_0"] == {
        "quant": "q8_0",
        "bytes": (tmp_path / "q8_0.gguf").stat().st_size,
        "fallbacks": [],
    }
    assert made["q4_k_m"]["fallbacks"] == []
    with GgufModel(tmp_path / "q4_k_m.gguf") as model:
        assert model.metadata("subterra.agent") == "toy"
        assert model.reply(PROMPTS[0], temperature=0, seed=0, max_tokens=5).tokens_out > 0
    assert capfd.readouterr() == ("", "")


def test_rows_that_the_type_cannot_divide_are_reported_with_what_they_became(tmp_path):
    model = write_toy(tmp_path, hidden=256, feed=288)
    f16 = export_f16(model, tmp_path / "f16.gguf", **FACTS)
    fell = quantize(f16, tmp_path / "q4_k_m.gguf", "q4_k_m")["fallbacks"]
    assert {entry["tensor"] for entry in fell} == {"blk.0.ffn_down.weight", "blk.1.ffn_down.weight"}
    assert all(entry["row"] == 288 and entry["type"] in ("q5_0", "q8_0") for entry in fell)
    quantize(f16, tmp_path / "q8_0.gguf", "q8_0")
    assert fallbacks(tmp_path / "q8_0.gguf", "q8_0") == []


def test_an_unknown_quantization_is_refused_with_the_nearest_name(f16, tmp_path):
    with pytest.raises(SubterraError, match="did you mean 'q4_k_m'") as raised:
        quantize(f16, tmp_path / "x.gguf", "Q4_KM")
    one_line(raised)


def test_a_file_that_llama_cpp_refuses_gives_one_line_and_no_output(tmp_path, capfd):
    (tmp_path / "f16.gguf").write_bytes(b"GGUF but not really")
    with pytest.raises(SubterraError, match="cannot quantize") as raised:
        quantize(tmp_path / "f16.gguf", tmp_path / "q8_0.gguf", "q8_0")
    one_line(raised)
    with pytest.raises(SubterraError, match="cannot load it") as raised:
        GgufModel(tmp_path / "f16.gguf")
    one_line(raised)
    assert [file.name for file in tmp_path.iterdir()] == ["f16.gguf"]
    assert capfd.readouterr() == ("", "")


def test_a_failed_write_leaves_the_old_file(tmp_path):
    (tmp_path / "f").write_text("old")
    with pytest.raises(RuntimeError), written_beside(tmp_path / "f") as beside:
        beside.write_text("half")
        raise RuntimeError
    assert [(file.name, file.read_text()) for file in tmp_path.iterdir()] == [("f", "old")]


def test_the_best_quantization_is_the_finest_and_f16_stands_in_for_none():
    assert preferred(["q4_k_m", "f16", "q6_k"]) == "q6_k"
    assert preferred(["f16"]) == "f16"


def test_the_modelfile_takes_prompt_template_and_stop_from_the_file(f16):
    text = modelfile(f16, temperature=0.2)
    assert text.startswith("FROM ./f16.gguf\n")
    for line in (f'SYSTEM """{SYSTEM}"""', "PARAMETER stop <|im_end|>", "PARAMETER temperature 0.2"):
        assert line in text.splitlines()
    with GgufModel(f16) as model:
        assert f'MESSAGE assistant """{model.reply(PROMPTS[0], temperature=0, seed=0).text}"""\n' in text
    assert "{{ .Content }}<|im_end|>\n{{ end }}<|im_start|>assistant\n" in text


def test_the_modelfile_writes_no_chatml_for_a_model_with_another_template(folder, tmp_path):
    other = edited(folder, tmp_path / "model", "tokenizer_config.json", chat_template="{{ messages[0].content }}")
    text = modelfile(export_f16(other, tmp_path / "f16.gguf", **FACTS))
    assert "TEMPLATE" not in text and "im_start" not in text


def test_the_model_card_says_what_it_was_given_and_nothing_else():
    given = {
        "agent": "toy",
        "title": "Toy trips",
        "system": SYSTEM,
        "spec_digest": "abc123",
        "version": "0.1.0",
    }
    files = [{"file": "q8_0.gguf", "quant": "q8_0", "bytes": 5_100_000}]
    card = model_card(**given, base="bases/scratch", files=files, best="q8_0.gguf")
    assert "# Toy trips" in card and "| `q8_0.gguf` | q8_0 | 5.1 MB |" in card and "abc123" in card
    assert "What it was trained on" not in card and "base_model" not in card and "agree" not in card
    parity = {"prompts": 4, "same_tokenization": 4, "same_tokens": 159, "tokens": 160, "near_ties": 1}
    card = model_card(
        **given, base="Qwen/Qwen3-0.6B", files=files, best="q8_0.gguf", dataset={"turns": 1234}, parity=parity
    )
    assert "| turns | 1,234 |" in card and "base_model: Qwen/Qwen3-0.6B" in card and "159 of 160 greedy tokens" in card
