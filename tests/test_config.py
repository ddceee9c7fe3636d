"""The config against its schema: the shipped one is valid, and every mistake is a line with its place."""

import copy
from pathlib import Path

import pytest
import yaml
from subterra.config import SCHEMA, base_folder, check_config
from subterra.errors import SpecError

SHIPPED = Path(__file__).parent.parent / "config" / "config.yaml"


def shipped() -> dict:
    return yaml.safe_load(SHIPPED.read_text(encoding="utf-8"))


def mistakes(config: dict) -> list[str]:
    """Return the lines about a config; each has to be one line with the file's name."""
    with pytest.raises(SpecError) as caught:
        check_config(config, "config.yaml")
    assert str(caught.value).splitlines() == list(caught.value.lines)
    assert all(line.startswith("config.yaml: ") and line.isprintable() for line in caught.value.lines)
    return [line.removeprefix("config.yaml: ") for line in caught.value.lines]


def with_value(place: str, value) -> dict:
    """Return the shipped config with one value set."""
    config = copy.deepcopy(shipped())
    *outer, last = place.split(".")
    inside = config
    for key in outer:
        inside = inside[key]
    inside[last] = value
    return config


def test_the_shipped_config_is_valid():
    check_config(shipped())


GOOD = [
    ("paths.rule", "simple"),
    ("paths.rule", "visits: 3"),
    ("evaluation.temperatures", [0, 1.5]),
    ("agents", ["a", "b_2"]),
]


@pytest.mark.parametrize(("place", "value"), GOOD)
def test_what_the_schema_names_is_valid(place, value):
    check_config(with_value(place, value))


# The place, the value, how the line begins, and what else it has to hold.
ONE_MISTAKE = {
    "unknown key": ("sharts", 4, "sharts: unknown key", ["did you mean 'shards'"]),
    "unknown key with a space": (" agents", 4, "' agents': unknown key", ["did you mean 'agents'"]),
    "unknown key inside": ("training.epoch", 4, "training: epoch: unknown key", ["did you mean 'epochs'"]),
    "unknown key, nothing near": ("paths.zzz", 4, "paths: zzz: unknown key", ["known: rule, limit"]),
    "wrong type": ("shards", "many", "shards: 'many'", ["integer", "Jobs that write"]),
    "wrong type inside": ("conversations.train", "all", "conversations.train: 'all'", ["integer", "To learn from"]),
    "a truth for a number": ("seed", True, "seed: True", ["integer"]),
    "a fraction for a number": ("shards", 4.0, "shards: 4.0", ["integer"]),
    "no mapping": ("training", 3, "training: 3", ["object", "How the base is fine-tuned"]),
    "nothing": ("training", None, "training: None", ["object"]),
    "unknown enum value": ("training.optimizer", "moun", "training.optimizer: 'moun'", ["'muon'", "muon, adamw"]),
    "unknown value in a list": ("export.quantizations", ["q4_km"], "export.quantizations[0]: 'q4_km'", ["'q4_k_m'"]),
    "a number where a name belongs": ("training.optimizer", 7, "training.optimizer: 7", ["muon, adamw"]),
    "too small": ("shards", 0, "shards: 0", ["minimum of 1"]),
    "too large": ("held_out.values", 1, "held_out.values: 1", ["maximum of 1"]),
    "no path rule": ("paths.rule", "trial", "paths.rule: 'trial'", ["trail (no edge twice)"]),
    "a name that is none": ("teacher.parameters", {None: 1}, "teacher.parameters: None", ["text", "quotation marks"]),
    "no number, among keys of any name": (
        "frontier.parameters.temperature", float("nan"), "frontier.parameters.temperature: nan", ["no number at all"]
    ),
    "too large for anything": ("training.epochs", 10**400, "training.epochs: 1000", ["above 1e+15"]),
    "no agent": ("agents", [], "agents: []", ["procedures to compile"]),
    "an agent's name": ("agents", ["Travel"], "agents[0]: 'Travel'", ["a-z"]),
    "an agent twice": ("agents", ["a", "a"], "agents: ['a', 'a']", ["non-unique"]),
}  # fmt: skip


@pytest.mark.parametrize("what", ONE_MISTAKE)
def test_a_mistake_is_one_line_with_place_value_and_way_out(what):
    place, value, begins, holds = ONE_MISTAKE[what]
    (line,) = mistakes(with_value(place, value))
    assert line.startswith(begins) and all(part in line for part in holds), line


def test_missing_keys_are_a_line_each():
    config = shipped()
    del config["seed"], config["paths"]["rule"], config["paths"]["limit"], config["base"]
    assert sorted(mistakes(config)) == [
        "base: missing",
        "paths: limit: missing",
        "paths: rule: missing",
        "seed: missing",
    ]


def test_all_mistakes_are_told_at_once_and_each_once():
    config = with_value("training.evaluations", 0) | {"colour": "red", "flavour": "sour", "seed": -1}
    lines = mistakes(config)
    assert len(lines) == len(set(lines)) == 4
    assert {line.split(":")[0] for line in lines} == {"colour", "flavour", "seed", "training.evaluations"}


def test_training_that_would_read_nothing_is_a_mistake():
    config = shipped()
    assert config["training"]["epochs"] == 0
    config["training"] |= {"least_steps": 0, "steps_per_edge": 0}
    (line,) = mistakes(config)
    assert "training.epochs: 0: nothing is read" in line


def test_a_name_too_long_for_a_file_is_one_line():
    with pytest.raises(SpecError, match="no name of a model"):
        base_folder("é" * 200)


@pytest.mark.parametrize("base", ["embedded", "bases/embedded"])
def test_replicas_and_several_processes_do_not_go_together_however_the_base_is_named(base):
    config = shipped() | {"base": base}
    config["training"] |= {"processes": 2, "rows_per_step": 2}
    (line,) = mistakes(config)
    assert "training.replicas: 2" in line and "give replicas: 1" in line


def parts(schema: dict, place: str = "") -> dict[str, dict]:
    """Return the schema of every key by its place."""
    found = {}
    for key, inner in schema.get("properties", {}).items():
        found |= {f"{place}{key}": inner} | parts(inner, f"{place}{key}.")
    return found


def leaves(config: dict, known: dict[str, dict], place: str = "") -> set[str]:
    """Return the places of all values; a section that the schema leaves open is one."""
    found = set()
    for key, value in config.items():
        inside = "properties" in known[f"{place}{key}"]
        found |= leaves(value, known, f"{place}{key}.") if inside else {f"{place}{key}"}
    return found


SECTIONS = ("frontier", "customer", "judge", "second_judge")
TAKING_PART = {f"{section}.{key}" for section in SECTIONS for key in ("backend", "parameters")}


def as_in_teacher(place: str) -> bool:
    """Tell whether a key may be left out: the models that take part beside the teacher say what differs from it."""
    return place.split(".")[0] in SECTIONS


def test_every_key_has_a_meaning_and_every_value_a_key():
    known = parts(yaml.safe_load(SCHEMA.read_text(encoding="utf-8")))
    unsaid = [place for place, inner in known.items() if len(inner.get("description", "")) < 10]
    assert not unsaid
    said = {place for place, inner in known.items() if "properties" not in inner}
    assert leaves(shipped(), known) == {place for place in said if not as_in_teacher(place)} | TAKING_PART


def test_the_schema_is_closed_and_needs_every_key():
    schema = yaml.safe_load(SCHEMA.read_text(encoding="utf-8"))
    for inner in [schema, *parts(schema).values()]:
        if "properties" in inner:
            assert inner["additionalProperties"] is False
            assert inner["required"] == (
                list(inner["properties"]) if "file" not in inner["properties"] else ["backend"]
            )


def test_a_base_of_ours_is_named_without_its_folder():
    assert base_folder("scratch") == base_folder("bases/scratch") == "bases/scratch"
    assert base_folder("Qwen/Qwen2.5-0.5B") == "Qwen/Qwen2.5-0.5B" and base_folder("gpt2") == "gpt2"


def test_a_folder_that_is_no_base_is_one_line(tmp_path):
    for base, holds in (("bases/scrach", "bases/scratch"), (str(tmp_path), "config.json")):
        with pytest.raises(SpecError) as problem:
            base_folder(base)
        assert str(problem.value).startswith(f"base: '{base}': ") and holds in str(problem.value)
