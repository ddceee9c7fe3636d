"""The bases that the repository carries: complete, small, and what their papers say they are."""

import json
import random
from pathlib import Path

import pytest
import yaml
from safetensors import safe_open
from subterra.config import base_folder, check_config
from subterra.export.vocabulary import read_vocabulary
from subterra.pretraining.card import base_card
from subterra.pretraining.corpus import sample
from subterra.pretraining.words import MAKERS
from subterra.training.model import load_base

ROOT = Path(__file__).parents[1]
BASES = ROOT / "bases"
EMBEDDED = BASES / "embedded"
CONFIG = yaml.safe_load((ROOT / "config" / "config.yaml").read_text())
RECIPES = sorted((ROOT / "config" / "recipes").glob("*.yaml"))


def config_of(base: str) -> dict:
    return json.loads((BASES / base / "config.json").read_text())


def test_the_default_base_is_the_embedded_one():
    assert CONFIG["base"] == "embedded" and base_folder("embedded") == "bases/embedded"


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.stem)
def test_a_recipe_changes_a_good_config_into_a_good_one(recipe):
    changes = yaml.safe_load(recipe.read_text())
    merged = {key: value | changes.get(key, {}) if isinstance(value, dict) else value for key, value in CONFIG.items()}
    check_config(merged | {key: value for key, value in changes.items() if not isinstance(value, dict)})
    assert changes.keys() <= CONFIG.keys()
    for key, value in changes.items():
        assert not isinstance(value, dict) or value.keys() <= CONFIG[key].keys()


def test_the_weights_are_bf16_and_at_most_12_megabytes():
    file = EMBEDDED / "model.safetensors"
    assert file.stat().st_size <= 12e6
    with safe_open(file, "pt") as weights:
        assert {weights.get_slice(name).get_dtype() for name in weights.keys()} == {"BF16"}  # noqa: SIM118


@pytest.mark.parametrize("base", ["embedded", "scratch"])
def test_every_matrix_can_be_quantized_in_blocks_of_256(base):
    config = config_of(base)
    assert config["hidden_size"] % 256 == config["intermediate_size"] % 256 == 0
    assert config["max_position_embeddings"] >= 2048


@pytest.mark.parametrize("base", ["embedded", "scratch"])
def test_the_tokenizer_loses_nothing_and_llama_cpp_knows_it(base):
    model, tokenizer = load_base(str(BASES / base))
    rng = random.Random(1)
    texts = [make(rng) for make in MAKERS.values()] + ["Ünïcödé, 漢字 and 🙂", "  two  spaces\n\n", "naïve—“quoted”"]
    texts += [turn["content"] for index in range(50) for turn in sample(9, index)["turns"]]
    for text in texts:
        assert tokenizer.decode(tokenizer(text, add_special_tokens=False)["input_ids"]) == text
    vocabulary = read_vocabulary(BASES / base, model.config.vocab_size)
    assert len(vocabulary.tokens) == model.config.vocab_size and {"eos", "eot"} <= vocabulary.ids.keys()


def test_the_card_of_the_embedded_base_says_what_was_measured():
    facts, skills = (json.loads((EMBEDDED / name).read_text()) for name in ("pretraining.json", "skills.json"))
    card = (EMBEDDED / "README.md").read_text()
    assert card == base_card(config_of("embedded"), CONFIG["pretraining"], facts, skills)
    model, _ = load_base(str(EMBEDDED))
    assert facts["parameters"] == sum(parameter.numel() for parameter in model.parameters())
