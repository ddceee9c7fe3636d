"""Any family that llama.cpp knows can be the base: its template is trained with, and the export says the same."""

import json
import os
import shutil

import pytest
from families import FAMILIES, write_family
from subterra import records
from subterra.dialogue import messages
from subterra.errors import SubterraError
from subterra.export.converter import export_model
from subterra.export.parity import check_parity
from subterra.models.gguf import GgufModel
from subterra.training import tokens
from subterra.training.template import agent_spans, fit_template, turn_end
from subterra.training.train import train_model
from test_training import SETTINGS, SYSTEM

CALL = '{"name": "find_order", "arguments": {"customer": "Jörg O\'Neil", "order": "107"}}'
ANSWER = '{"day": "Möntag"}'
AGENT_FIRST = [
    {"role": "assistant", "content": "Hello, what may I bring?"},
    {"role": "user", "content": "One latte, for 4 dollars."},
    {"role": "assistant", "content": "Your latte. Enjoy it!"},
    {"role": "user", "content": "No,  number 107 — “né” 🎉!"},
    {"role": "assistant", "content": "Number 107 it is."},
]
USER_FIRST = AGENT_FIRST[1:]
CALLING = [
    {"role": "assistant", "content": "Hello, who are you?"},
    {"role": "user", "content": "I am Jörg O'Neil, it is 107."},
    {"role": "assistant", "content": "", "call": CALL},
    {"role": "tool", "content": ANSWER},
    {"role": "assistant", "content": "It was sold on Möntag, Jörg O'Neil."},
    {"role": "user", "content": "Thank you."},
    {"role": "assistant", "content": "Good bye."},
]
TALKS = {"agent first": AGENT_FIRST, "user first": USER_FIRST, "calling": CALLING}
FACTS = {"agent": "toy", "spec_digest": "abc123", "version": "0.1.0", "system": SYSTEM}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """{family: its folder}."""
    place = tmp_path_factory.mktemp("families")
    return {kind: write_family(place / kind, kind) for kind in FAMILIES}


@pytest.mark.parametrize("talk", TALKS)
@pytest.mark.parametrize("kind", FAMILIES)
def test_labels_are_what_the_agent_says_and_the_token_that_ends_it(folders, kind, talk):
    tokenizer = tokens.load_tokenizer(str(folders[kind]))
    turns = TALKS[talk]
    fit_template(tokenizer, [messages(SYSTEM, turns)])
    encoded = tokens.encode(tokenizer, SYSTEM, turns)
    text, spans = agent_spans(tokenizer, messages(SYSTEM, turns))
    assert SYSTEM in text and "<think>" not in text
    assert len(spans) == sum(turn["role"] == "assistant" for turn in turns)
    labelled = tokenizer.decode([label for label in encoded["labels"] if label != tokens.IGNORED])
    heard = tokenizer.decode(
        [token for token, label in zip(encoded["input_ids"], encoded["labels"], strict=True) if label < 0]
    )
    for turn in turns:
        words = turn["content"] or "Jörg O'Neil"
        where, elsewhere = (labelled, heard) if turn["role"] == "assistant" else (heard, labelled)
        assert words in where and (words not in elsewhere or turn.get("call"))
    assert all(text[:stop].endswith(turn_end(tokenizer, messages(SYSTEM, turns))) for _, (_, stop) in spans)


@pytest.mark.parametrize("talk", TALKS)
@pytest.mark.parametrize("kind", FAMILIES)
def test_every_prompt_is_how_the_training_text_begins(folders, kind, talk):
    tokenizer = tokens.load_tokenizer(str(folders[kind]))
    whole = messages(SYSTEM, TALKS[talk])
    fit_template(tokenizer, [whole])
    encoded = tokens.encode(tokenizer, SYSTEM, TALKS[talk])
    begins = []
    for place, message in enumerate(whole):
        if message["role"] == "assistant":
            text = tokenizer.apply_chat_template(whole[:place], tokenize=False, add_generation_prompt=True)
            prompt = tokenizer(text, add_special_tokens=False)["input_ids"]
            assert encoded["input_ids"][: len(prompt)] == prompt
            assert encoded["labels"][len(prompt) - 1] == tokens.IGNORED != encoded["labels"][len(prompt)]
            begins.append(len(prompt))
    assert encoded["begins"] == begins


SYSTEM_FIRST = "the system prompt is the first thing that the user says"
AS_WORDS = "calls and what tools answer are written as words"
NEEDED = {
    "llama": ["the date is fixed"],
    "qwen2": [],
    "qwen3": ["no empty thought stands in the prompt"],
    "mistral": [AS_WORDS, SYSTEM_FIRST],
    "gemma": [AS_WORDS, SYSTEM_FIRST],
    "gemma2": [AS_WORDS, SYSTEM_FIRST],
    "gemma3_text": [AS_WORDS, SYSTEM_FIRST],
    "phi3": [AS_WORDS],
}


@pytest.mark.parametrize("kind", FAMILIES)
def test_a_template_gets_what_it_lacks_and_no_more(folders, kind):
    tokenizer = tokens.load_tokenizer(str(folders[kind]))
    own = tokenizer.chat_template
    assert fit_template(tokenizer, [messages(SYSTEM, talk) for talk in TALKS.values()]) == NEEDED[kind]
    assert tokenizer.chat_template.endswith(own) and (NEEDED[kind] or tokenizer.chat_template == own)
    other = tokens.load_tokenizer(str(folders[kind]))
    without_calls = fit_template(other, [messages(SYSTEM, USER_FIRST)])
    assert without_calls == [
        what for what in NEEDED[kind] if what != AS_WORDS and (kind != "mistral" or what != SYSTEM_FIRST)
    ]


def test_what_no_template_can_be_made_to_write_is_told_with_its_own_reason(folders):
    tokenizer = tokens.load_tokenizer(str(folders["qwen2"]))
    tokenizer.chat_template = "{{ raise_exception('No talk today') }}"
    with pytest.raises(SubterraError, match="cannot write a conversation: No talk today"):
        fit_template(tokenizer, [messages(SYSTEM, AGENT_FIRST)])
    tokenizer.chat_template = None
    with pytest.raises(SubterraError, match="has no chat template"):
        fit_template(tokenizer, [messages(SYSTEM, AGENT_FIRST)])


def rows(split: str, count: int) -> list[dict]:
    facts = {"path": "p", "split": split, "nodes": ["n"], "outcome": "o", "values": {}, "corrected": {}}
    turns = [turn | {"nodes": ["n"], "values": {}, "call": turn.get("call", "")} for turn in CALLING]
    return [{"id": f"p-{split}-{number:03}", **facts, "turns": turns} for number in range(count)]


@pytest.fixture(scope="module")
def cache(request):
    """The cache of the repository: the converter is fetched once, not by every run of the tests."""
    return request.config.rootpath / ".cache"


@pytest.mark.parametrize("kind", FAMILIES)
def test_a_family_is_trained_and_exported_with_the_same_tokens_in_llama_cpp(folders, kind, tmp_path, cache):
    for split, count in (("train", 12), ("valid", 2)):
        records.write_table(rows(split, count), records.CONVERSATION, tmp_path / f"{split}.parquet")
    facts = train_model(
        tmp_path / "train.parquet",
        tmp_path / "valid.parquet",
        tmp_path / "model",
        out_json=tmp_path / "training.json",
        out_loss=tmp_path / "loss.parquet",
        out_curve=tmp_path / "loss.svg",
        system=SYSTEM,
        free={},
        base=str(folders[kind]),
        settings=SETTINGS | {"epochs": 1, "least_steps": 30, "tokens_per_step": 512, "learning_rate": 0.01},
        seed=1,
        checkpoints=tmp_path / "checkpoints",
        threads=1,
    )
    losses = [row["valid_loss"] for row in records.read_table(tmp_path / "loss.parquet") if row["valid_loss"]]
    assert losses[-1] < losses[0] / 2
    assert facts["template"] == ("; ".join(NEEDED[kind]) or "as it is")
    f16 = export_model(tmp_path / "model", tmp_path / "f16.gguf", cache=cache, **FACTS)
    talk = messages(SYSTEM, CALLING)
    prompts = [talk[:place] for place, message in enumerate(talk) if message["role"] == "assistant"]
    found = check_parity(tmp_path / "model", f16, prompts, tmp_path / "parity.json")
    assert found["same_tokenization"] == found["same_template"] == found["prompts"] == 4
    assert found["same_tokens"] + found["near_ties"] == found["tokens"] > 20
    with GgufModel(f16) as model:
        assert {key: model.metadata(f"subterra.{key}") for key in FACTS} == FACTS
        assert "think" not in model.reply(prompts[-1], temperature=0, seed=1).text
        assert json.loads(model.metadata("subterra.tools")) == {}


def test_a_family_that_nobody_knows_is_one_line(folders, tmp_path, cache):
    strange = tmp_path / "strange"
    shutil.copytree(folders["phi3"], strange)
    config = json.loads((strange / "config.json").read_text()) | {
        "architectures": ["StrangeLM"],
        "model_type": "strange",
    }
    (strange / "config.json").write_text(json.dumps(config))
    with pytest.raises(SubterraError, match="converter cannot write a model of type 'strange'") as caught:
        export_model(strange, tmp_path / "f16.gguf", cache=cache, **FACTS)
    assert str(caught.value).isprintable() and not list(tmp_path.glob("*.gguf*"))


def test_a_converter_that_cannot_be_fetched_is_one_line_and_leaves_nothing(folders, tmp_path, monkeypatch):
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    with pytest.raises(
        SubterraError, match=r"could not be fetched .* run `make converter` once where there is a network"
    ):
        export_model(folders["phi3"], tmp_path / "f16.gguf", cache=tmp_path / "cache", **FACTS)
    assert not list(tmp_path.glob("cache/llama.cpp/*")) and not list(tmp_path.glob("*.gguf*"))
