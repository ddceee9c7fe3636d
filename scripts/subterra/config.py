"""The config against its schema: every mistake at once, a line each, with its place and the way out."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from subterra.errors import SpecError, nearest

SCHEMA = Path(__file__).resolve().parents[2] / "config" / "schema.yaml"
BASES = Path("bases")


def check_config(config: Mapping[str, Any], file: str = "config") -> None:
    """Raise SpecError with a line for every key or value that the schema does not allow."""
    from jsonschema import Draft202012Validator, validators

    # To JSON Schema 4.0 is an integer; to Python it is none.
    whole = Draft202012Validator.TYPE_CHECKER.redefine("integer", lambda _, value: type(value) is int)
    strict = validators.extend(Draft202012Validator, type_checker=whole)
    validator = strict(yaml.safe_load(SCHEMA.read_text(encoding="utf-8")))
    found = sorted(validator.iter_errors(dict(config)), key=lambda error: [str(part) for part in error.absolute_path])
    if found:
        raise SpecError(dict.fromkeys(line for error in found for line in _lines(error, file)))


def check_section(name: str, data: Any, file: str) -> None:
    """Raise SpecError with a line for all that the schema does not allow in one section of a config."""
    from jsonschema import Draft202012Validator

    schema = yaml.safe_load(SCHEMA.read_text(encoding="utf-8"))["properties"][name]
    validator = Draft202012Validator({"type": "object", "properties": {name: schema}})
    found = [line for error in validator.iter_errors({name: data}) for line in _lines(error, file)]
    if found:
        raise SpecError(dict.fromkeys(found))


def base_folder(base: str) -> str:
    """Return the folder of a base that the config names: `embedded`, `scratch` and others in BASES, or its own name.

    A Hugging Face id is returned as it is. Raises SpecError where a folder is meant that is none, or no model's.
    """
    folder = Path(base)
    if folder.name == base and (BASES / base).is_dir():
        folder = BASES / base
    if not folder.is_dir() and folder.parent.is_dir() and folder.parent != Path():
        beside = [str(other) for other in folder.parent.iterdir() if other.is_dir()]
        raise SpecError([f"base: '{base}': no such folder{nearest(base, beside)}"])
    if folder.is_dir() and not (folder / "config.json").is_file():
        raise SpecError([f"base: '{base}': no config.json in it: name a Hugging Face model folder"])
    return str(folder) if folder.is_dir() else base


def _lines(error, file: str) -> list[str]:
    place = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in error.absolute_path)
    at = f"{file}: {place.removeprefix('.')}: " if place else f"{file}: "
    if error.validator == "additionalProperties":
        known = error.schema["properties"]
        unknown = [key for key in error.instance if key not in known]
        every = f" (known: {', '.join(known)})"
        return [f"{at}{key}: unknown key{nearest(key, known) or every}" for key in unknown]
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
