"""The config against its schema: every mistake at once, a line each, with its place and the way out."""

import math
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from subterra.errors import SpecError, nearest, printable

SCHEMA = Path(__file__).resolve().parents[2] / "config" / "schema.yaml"
BASES = Path("bases")
HOW_TRAINED = ("nodes", "processes", "sharding", "gradient_checkpointing")
LANE_TOKENS = 1024  # of a step of a small model: fewer are not worth a core
LONGEST = 200  # bytes of a base's name
LARGEST = 10**15  # of all numbers in a config


def check_config(config: Mapping[str, Any], file: str = "config") -> None:
    """Raise SpecError with a line for every key or value that the schema does not allow."""
    _check(_schema(), dict(config), file)
    _check_training(config["training"], base_folder(config["base"]), f"{file}: training")


def _check_training(training: Mapping[str, Any], base: str, at: str) -> None:
    """Raise SpecError where settings that are good by themselves do not go together."""
    processes, lines = training["nodes"] * training["processes"], []
    if training["rows_per_step"] % processes:
        lines.append(
            f"{at}.rows_per_step: {training['rows_per_step']}: no multiple of {processes}, which is nodes x processes: "
            f"each process reads rows of its own"
        )
    if training["sharding"] != "none" and training["optimizer"] == "muon":
        lines.append(
            f"{at}.optimizer: muon needs whole matrices, and sharding: {training['sharding']} cuts them up: "
            "take adamw, or sharding: none"
        )
    if replicas_for(training, base) > 1 and (processes > 1 or training["sharding"] != "none"):
        lines.append(
            f"{at}.replicas: {training['replicas']}: several are trained by a process each, and not by processes that "
            "share a model or a step: give replicas: 1"
        )
    if not any(training[key] for key in ("epochs", "least_steps", "steps_per_edge")):
        lines.append(
            f"{at}.epochs: 0: nothing is read where least_steps and steps_per_edge are 0 too: give one of them"
        )
    if lines:
        raise SpecError(lines)


def shaping_training(training: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings that shape the model; the others say how it is trained, and make nothing stale."""
    return {key: value for key, value in sorted(training.items()) if key not in HOW_TRAINED}


def cores_filled(training: Mapping[str, Any], base: str) -> int:
    """Return how many cores of a machine fine-tuning a small base can fill.

    >>> cores_filled({"replicas": 2, "processes": 1, "tokens_per_step": 2048}, "bases/embedded")
    4
    """
    return replicas_for(training, base) * training["processes"] * max(1, training["tokens_per_step"] // LANE_TOKENS)


def training_for(training: Mapping[str, Any], lessons: int, teacher: str = "builtin") -> dict[str, Any]:
    """Return the settings for a procedure of so many edges and facts: what they ask for is in `least_steps`.

    `teacher` is its backend (see `taught_by`).

    >>> training_for({"least_steps": 350, "steps_per_edge": 25, "epochs": 1}, 20)
    {'least_steps': 500, 'epochs': 1}
    >>> training_for({"least_steps": 350, "steps_per_edge": 25, "epochs": 0, "opening_smoothing": 1}, 4, "openai")
    {'least_steps': 350, 'epochs': 1, 'opening_smoothing': 0}
    """
    rest = {key: value for key, value in taught_by(teacher, training).items() if key != "steps_per_edge"}
    return rest | {"least_steps": max(training["least_steps"], training["steps_per_edge"] * lessons)}


def taught_by(teacher: str, training: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings for conversations of a teacher, named by its backend.

    Only the built-in one leaves to chance how it says a step (`opening_smoothing`), and is free, so that some
    conversations may stay unread (`epochs` of 0).
    """
    paid = {} if teacher == "builtin" else {"opening_smoothing": 0, "epochs": max(1, training["epochs"])}
    return {**training, **paid}


def rehearsal_for(training: Mapping[str, Any], base: str) -> float:
    """Return what is rehearsed beside a conversation's tokens, as a share of them; 0 of a base not pretrained here."""
    return training["rehearsal"] if _pretrained_here(base) else 0.0


def replicas_for(training: Mapping[str, Any], base: str) -> int:
    """Return how many replicas of a base are trained; 1 of a base not pretrained here, which may be large."""
    return training["replicas"] if _pretrained_here(base) else 1


def _pretrained_here(base: str) -> bool:
    return (Path(base) / "pretraining.json").is_file()


def check_section(name: str, data: Any, file: str) -> None:
    """Raise SpecError with a line for all that the schema does not allow in one section of a config."""
    _check({"type": "object", "properties": {name: _schema()["properties"][name]}}, {name: data}, file)


def _schema() -> dict:
    return yaml.safe_load(SCHEMA.read_text(encoding="utf-8"))


def _check(schema: dict, data: dict, file: str) -> None:
    from jsonschema import Draft202012Validator, validators

    # To JSON Schema 4.0 is an integer; to Python it is none. And no setting is infinite, or no number at all.
    numbers = {
        "integer": lambda _, value: type(value) is int,
        "number": lambda _, value: type(value) is int or (type(value) is float and math.isfinite(value)),
    }
    strict = validators.extend(
        Draft202012Validator, type_checker=Draft202012Validator.TYPE_CHECKER.redefine_many(numbers)
    )
    try:
        found = sorted(strict(schema).iter_errors(data), key=lambda error: [str(part) for part in error.absolute_path])
        lines = [printable(line) for error in found for line in _lines(error, file)]
        lines = lines or list(_no_numbers(data, file))
    except ValueError:  # Python writes no number of so many digits
        raise SpecError([f"{file}: a number in it has thousands of digits: no setting needs one"]) from None
    if lines:
        raise SpecError(dict.fromkeys(lines))


def _no_numbers(value: Any, file: str, path: tuple = ()) -> Iterator[str]:
    """Yield a line for every number that no setting can have, wherever the schema lets any key or any size be."""
    if isinstance(value, Mapping | list):
        for part, inner in value.items() if isinstance(value, Mapping) else enumerate(value):
            yield from _no_numbers(inner, file, (*path, part))
    elif isinstance(value, int | float) and not abs(value) <= LARGEST:
        told = printable(str(value)[:LONGEST])
        yield f"{_at(file, path)}{told}: no setting is infinite, no number at all, or above {LARGEST:.0e}"


def base_folder(base: str) -> str:
    """Return the folder of a base that the config names: `embedded`, `scratch` and others in BASES, or its own name.

    A Hugging Face id is returned as it is. Raises SpecError where a folder is meant that is none, or no model's.
    """
    if not base.isprintable() or len(base.encode()) > LONGEST:
        raise SpecError(
            [f"base: '{printable(base[:LONGEST])}': no name of a model: it cannot be printed, or is too long"]
        )
    folder = Path(base)
    if folder.name == base and (BASES / base).is_dir():
        folder = BASES / base
    if not folder.is_dir() and folder.parent.is_dir() and folder.parent != Path():
        beside = [str(other) for other in folder.parent.iterdir() if other.is_dir()]
        raise SpecError([f"base: '{base}': no such folder{nearest(base, beside)}"])
    if folder.is_dir() and not (folder / "config.json").is_file():
        raise SpecError([f"base: '{base}': no config.json in it: name a Hugging Face model folder"])
    return str(folder) if folder.is_dir() else base


def _at(file: str, path: Iterable) -> str:
    """Return how a line begins: the file, and the place in it."""
    place = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)
    return f"{file}: {place.removeprefix('.')}: " if place else f"{file}: "


def _lines(error, file: str) -> list[str]:
    at = _at(file, error.absolute_path)
    if error.validator == "additionalProperties":
        known = error.schema["properties"]
        unknown = [key for key in error.instance if key not in known]
        every = f" (known: {', '.join(known)})"
        shown = {key: key if str(key).strip() == key else repr(key) for key in unknown}  # else a space is not seen
        return [f"{at}{shown[key]}: unknown key{nearest(key, known) or every}" for key in unknown]
    if error.validator == "enum":
        known = error.validator_value
        return [
            f"{at}{error.instance!r}: not known{nearest(error.instance, known)}: one of {', '.join(map(str, known))}"
        ]
    if error.validator == "required":
        missing = [key for key in error.validator_value if key not in error.instance]
        return [f"{at}{key}: missing" for key in missing]
    means = error.schema.get("description", "")
    return [f"{at}{error.message}" + (f" ({means})" if means else "")]
