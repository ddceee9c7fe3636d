"""The corpus for the embedded base: repeatable, honest about values, rich, and nothing in it is from specs/."""

import doctest
import json
import random
import re
import subprocess
import sys
from collections.abc import Iterator
from itertools import islice, pairwise
from pathlib import Path

import pytest
import torch
import yaml
from safetensors import safe_open
from subterra.phrasings import forms
from subterra.pretraining import grammar, induction, skills, words
from subterra.pretraining import pretrain as pretraining
from subterra.pretraining.card import base_card
from subterra.pretraining.corpus import sample, stream
from subterra.pretraining.dialogues import utterance
from subterra.pretraining.grammar import Grammar
from subterra.pretraining.procedures import acts, slot_kinds
from subterra.pretraining.rows import CorpusRows, rehearsal
from subterra.records import read_table
from subterra.text import PLACEHOLDER
from subterra.training.base import write_base
from subterra.training.model import load_base
from subterra.training.tokens import encode

ROOT = Path(__file__).parents[1]
SPECS = sorted((ROOT / "specs").glob("*.yaml"))
WORD = re.compile(r"[a-z0-9]+(?:'[a-z]+)?|_")
DATE = re.compile(r"\d|(January|February|March|April|May|June|July|August|September|October|November|December)")


@pytest.fixture(scope="module")
def corpus() -> list[dict]:
    return list(islice(stream(11), 3000))


def test_the_same_seed_is_the_same_stream_in_another_process():
    program = "import json; from subterra.pretraining.corpus import sample as s; print(json.dumps([s(5, 7), s(5, 8)]))"
    run = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT / "scripts", capture_output=True, text=True, check=True
    )
    assert json.loads(run.stdout) == [sample(5, 7), sample(5, 8)]


def test_workers_share_a_stream_and_it_goes_on_anywhere():
    whole = list(islice(stream(3), 8))
    assert [list(islice(stream(3, worker, 2), 4)) for worker in range(2)] == [whole[0::2], whole[1::2]]
    assert list(islice(stream(3, first=5), 3)) == whole[5:]
    assert sample(3, 0) != sample(4, 0)


def test_turns_alternate_and_the_agent_has_the_last_word(corpus):
    for talk in corpus:
        roles = [turn["role"] for turn in talk["turns"]]
        assert roles[-1] == "assistant" and all(one != two for one, two in pairwise(roles))
        assert all(turn["content"] and not PLACEHOLDER.search(turn["content"]) for turn in talk["turns"])
    firsts = [talk["turns"][0]["role"] for talk in corpus]
    assert 0.2 < firsts.count("assistant") / len(firsts) < 0.8


def test_what_an_agent_takes_up_again_was_said_before(corpus):
    for talk in corpus:
        before = talk["system"]
        for turn in talk["turns"]:
            assert all(value in before for value in turn["values"]), turn
            assert all(value in turn["content"] for value in turn["values"] + turn["own"]), turn
            before += " " + turn["content"]


def test_conversations_are_as_long_as_real_ones(corpus):
    talks = [talk for talk in corpus if talk["kind"] != "drill"]
    lengths = [sum(len(turn["content"].split()) for turn in talk["turns"]) for talk in talks]
    assert 150 < sum(lengths) / len(lengths) < 250
    assert max(lengths) > 400


def test_long_talks_ask_back_for_what_was_told_at_their_beginning(corpus):
    talks = [talk["turns"] for talk in corpus if talk["kind"] == "long"]
    again = [
        value in {own for turn in turns[: len(turns) // 3] for own in turn["own"]}
        for turns in talks
        for value in turns[-1]["values"]
    ]
    assert len(again) > len(talks) / 2 and sum(again) > len(again) / 2


def test_every_way_to_tell_a_value_has_its_place_once():
    for slot, kind in slot_kinds().items():
        for way in (*kind["in"], *kind["says"]):
            assert way.count("{}") == 1, f"{slot}: {way}"
        assert kind["make"] in words.MAKERS and len(set(kind["says"])) == len(kind["says"]), slot


def test_invented_values_do_not_come_again(corpus):
    own = [value for talk in corpus for turn in talk["turns"] for value in set(turn["own"])]
    names = [value for value in own if value[0].isupper() and not DATE.search(value)]
    names = [name for name in names if name not in words.FIRST_NAMES]
    assert len(names) > 2000 and len(set(names)) / len(names) > 0.95


def test_the_corpus_shares_no_seven_words_with_a_spec_and_hardly_six(corpus):
    said = [form for spec in SPECS for line in lines(yaml.safe_load(spec.read_text())) for form in forms(line)]
    sixes, sevens = ({run for form in said for run in runs(form, length)} for length in (6, 7))
    assert sixes and sevens
    turns = shared = 0
    for talk in corpus:
        for turn in [{"content": talk["system"], "values": [], "own": []}, *talk["turns"]]:
            text = turn["content"]
            for value in sorted(turn["values"] + turn["own"], key=len, reverse=True):
                text = text.replace(value, "_")
            assert not runs(text, 7) & sevens, text
            turns += 1
            shared += bool(runs(text, 6) & sixes)
    assert shared < turns / 2000


def test_no_name_of_a_spec_is_in_the_corpus(corpus):
    text = " ".join(turn["content"] for talk in corpus for turn in talk["turns"])
    said = set(re.findall(r"\w+", text))
    for spec in SPECS:
        for values in yaml.safe_load(spec.read_text())["variables"].values():
            names = [str(value) for value in values if str(value)[0].isupper()] if isinstance(values, list) else []
            for name in names:
                assert name not in (text if " " in name else said), f"{spec.stem}: {name}"


def test_no_word_is_a_city_by_chance():
    rng = random.Random(1)
    assert not {words.pseudo_word(rng) for _ in range(20_000)} & words.CITIES


@pytest.mark.parametrize("act", acts())
def test_an_act_has_many_forms(act):
    rng = random.Random(act)
    assert len({utterance(rng, act) for _ in range(600)}) > 0.8 * 600


def test_acts_are_told_apart_by_their_words():
    from sklearn.feature_extraction.text import CountVectorizer
    from sklearn.linear_model import LogisticRegression

    rng = random.Random(2)
    known, fresh = ([(utterance(rng, act), act) for act in acts() for _ in range(count)] for count in (450, 25))
    bag = CountVectorizer(binary=True, min_df=2, token_pattern=r"[\w']+")
    model = LogisticRegression(max_iter=60, C=3).fit(
        bag.fit_transform([text for text, _ in known]), [a for _, a in known]
    )
    assert model.score(bag.transform([text for text, _ in fresh]), [act for _, act in fresh]) > 0.85


def test_the_examples_of_the_grammar_are_true():
    assert doctest.testmod(grammar).failed == 0


def test_a_grammar_with_a_hole_is_refused(tmp_path):
    file = tmp_path / "toy.grammar"
    file.write_text("greet: says hello\n  [hi|hello] <whom>[, [dear |]{name}|].\nwhom:\n  you\n")
    toy = Grammar(file)
    drawn = {toy.draw(random.Random(seed), "greet") for seed in range(200)}
    assert len(drawn) == toy.forms("greet") == 6 and "hi you, dear {name}." in drawn
    for text, complaint in (("a:\n  <b>\n", "no such rule"), ("a:\n  [b|c\n", "not closed")):
        file.write_text(text)
        with pytest.raises(ValueError, match=complaint):
            Grammar(file)


def lines(spec) -> Iterator[str]:
    """Yield what a spec says, asks of the teacher, or tells the agent."""
    if isinstance(spec, dict):
        for key, inner in spec.items():
            if key in ("says", "prompt", "system"):
                yield from [inner] if isinstance(inner, str) else inner
            else:
                yield from lines(inner)
    elif isinstance(spec, list):
        for inner in spec:
            yield from lines(inner)


def runs(text: str, length: int) -> set[tuple[str, ...]]:
    """Return every run of so many words, values masked by _, at most two of them masked."""
    said = WORD.findall(re.sub(r"\{\w+\}", "_", text).lower())
    found = zip(*(said[start:] for start in range(length)), strict=False)
    return {run for run in found if run.count("_") < 3}


# -- pretraining ---------------------------------------------------------------------------------------------------

TINY = {
    "vocabulary": 512,
    "digits": True,
    "induction_head": True,
    "shape": {"hidden_size": 64, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2},
    "steps": 12,
    "held_out_rows": 1,
    "value_weight": 3,
    "tokens_per_step": 1024,
    "optimizer": "muon",
    "learning_rate": 0.01,
    "embedding_rate": 1,
    "weight_decay": 0.1,
    "warmup": 0.1,
    "decay": 0.3,
    "evaluations": 3,
}


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("pretrained")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pretraining, "TOKENIZER_SAMPLES", 200)
        files = {"out_json": folder / "facts.json", "out_loss": folder / "loss.parquet"}
        pretraining.pretrain(
            folder / "model", **files, settings=TINY, seed=1, checkpoints=folder / "checkpoints", threads=1
        )
    return folder


def test_pretraining_lowers_the_loss_and_writes_a_base_in_bf16(pretrained):
    losses = [row["train_loss"] for row in read_table(pretrained / "loss.parquet") if row["train_loss"]]
    assert losses[-1] < 0.8 * losses[0]
    with safe_open(pretrained / "model" / "model.safetensors", "pt") as weights:
        assert {str(weights.get_tensor(name).dtype) for name in weights.keys()} == {"torch.bfloat16"}  # noqa: SIM118
    assert json.loads((pretrained / "facts.json").read_text())["steps"] == TINY["steps"]
    assert not list((pretrained / "checkpoints").iterdir())


def test_what_was_pretrained_can_be_fine_tuned(pretrained):
    model, tokenizer = load_base(str(pretrained / "model"))
    assert next(model.parameters()).dtype == torch.float32
    assert encode(tokenizer, "", [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Yes?"}])[
        "labels"
    ]


def test_rows_of_the_corpus_are_full_and_never_the_same(pretrained):
    _, tokenizer = load_base(str(pretrained / "model"))
    rows = CorpusRows(tokenizer, seed=1, size=4096, rows=4)
    packed = [[talk["input_ids"] for talk in rows[index]] for index in range(4)]
    assert packed == [[talk["input_ids"] for talk in rows[index]] for index in range(4)]
    assert all(2048 < sum(map(len, row)) <= 4096 for row in packed)
    assert len({tuple(ids) for row in packed for ids in row}) == sum(map(len, packed))


def test_what_is_rehearsed_is_as_much_as_was_asked_and_fits(pretrained):
    _, tokenizer = load_base(str(pretrained / "model"))
    talks = rehearsal(tokenizer, seed=1, longest=600, total=5000)
    sizes = [len(talk["input_ids"]) for talk in talks]
    assert max(sizes) <= 600 and 5000 <= sum(sizes) < 5600 and talks[0]["labels"] == talks[0]["input_ids"]
    assert rehearsal(tokenizer, seed=1, longest=600, total=0) == []


# -- what it can do ------------------------------------------------------------------------------------------------


def fresh(folder: Path, vocabulary: int = 512) -> tuple:
    """Return a model that has learned nothing, two layers deep, and its tokenizer."""
    texts = (turn["content"] for talk in islice(stream(1), 100) for turn in talk["turns"])
    shape = {"hidden_size": 256, "intermediate_size": 256, "num_hidden_layers": 2, "rope_theta": 1e6}
    write_base(folder, texts, vocabulary, digits=True, **shape)
    return load_base(str(folder))


def guessed_again(model, vocabulary: int = 512) -> float:
    """Return how often a model guesses the tokens of a row that comes a second time."""
    row = torch.randperm(vocabulary, generator=torch.Generator().manual_seed(1))[:100]
    with torch.no_grad():
        guesses = model(input_ids=torch.cat([row, row])[None]).logits[0].argmax(-1)
    return (guesses[101:-1] == row[2:]).float().mean().item()


def test_an_induction_head_copies_before_anything_was_learned(tmp_path):
    torch.manual_seed(1)
    model, _ = fresh(tmp_path)
    assert guessed_again(model) < 0.05
    induction.install(model, 0.2)
    assert guessed_again(model) > 0.7


def test_skills_are_counted_on_what_an_agent_says_again(tmp_path, monkeypatch):
    torch.manual_seed(1)
    model, tokenizer = fresh(tmp_path)
    turns = [
        {"role": "user", "content": "My number is 4711, the town is Trelb.", "values": []},
        {"role": "assistant", "content": "4711, in Trelb.", "values": ["4711", "Trelb"]},
    ]
    reading = skills.Reading(model, tokenizer, "Note it.", turns)
    (number, town) = reading.copies()
    assert number[1] == 4 and number[0] > number[1] and town[0] > town[1]
    reading.right = [True] * len(reading.right)
    assert all(right for *_, right in reading.copies())
    reading.right[-5] = False  # within the last word, or its full stop and what ends the turn
    assert [right for *_, right in reading.copies()] == [True, False]


def test_words_of_one_token_stand_in_for_values_wherever_they_were_said(tmp_path, monkeypatch):
    model, tokenizer = fresh(tmp_path)
    read = []
    reading = skills.Reading
    monkeypatch.setattr(skills, "Reading", lambda *of: read.append(of) or reading(*of))
    found = list(skills._words(model, tokenizer, 3, 40))
    assert len(found) >= len(read) > 6
    said = [{value for turn in turns for value in turn["values"]} for *_, turns in read]
    assert all(len(words) == 1 for words in said) and len(set.union(*said)) == len(read)
    for (*_, system, turns), (word,) in zip(read, said, strict=True):
        assert tokenizer(" " + word)["input_ids"][1:] == []
        assert " ".join([system, *(turn["content"] for turn in turns)]).count(word) > 1


def test_a_card_says_what_was_measured(tmp_path, pretrained):
    model, tokenizer = load_base(str(pretrained / "model"))
    found = skills.measure(model, tokenizer, seed=3, samples=4)
    assert 0 < found["bits_per_byte"] < 10 and found["signs"]["total"] >= 4 * 3
    assert sum(row["total"] for row in found["copied"]) > 4 and found["steps"]["total"] <= 4
    assert found["words"]["total"] > found["words"]["right"]
    config = json.loads((pretrained / "model" / "config.json").read_text())
    facts = json.loads((pretrained / "facts.json").read_text())
    text = base_card(config, TINY, facts, found)
    assert f"{facts['parameters']:,}" in text and f"of {found['signs']['total']:,} |" in text
    for row in found["copied"]:
        assert f"| {row['distance']} |" in text


def test_the_embedded_base_knows_the_next_step_more_often_than_by_chance():
    found = skills.measure(*load_base(str(ROOT / "bases" / "embedded")), seed=3, samples=48)
    assert found["steps"]["total"] > 8 and skills.share([found["steps"]]) > 0.5
