"""Who takes part beside the teacher: the config's sections `frontier`, `customer`, `judge` and `second_judge`.

What a section leaves out is as in `teacher`, so that one endpoint is named once.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from subterra.code import file_digest
from subterra.errors import SubterraError
from subterra.models import MOST_TOKENS, Chat, asking
from subterra.prompts import prompts_digest

ABSENT = ("none", "scripted")  # backends that ask no model
SHARED = (
    *("base_url", "model", "api_key_env", "json", "parameters", "concurrency", "requests_a_minute"),
    *("timeout", "tries", "batch_poll", "budget"),
)
SHAPING = ("base_url", "model", "json", "parameters")
BASE = "base_"  # before the name of a condition in which the base answers as it was before training
# Where the words of each condition stand, in config/prompts/.
PROMPTS = {"in_context": ["in_context"], "langgraph": ["orchestrated"], "crewai": ["crewai", "orchestrated"]}
# What dialogues come from; the worker runs in a process of its own, so nothing imports it.
CODE = ("subterra.evaluation", "subterra.models.sequences", "subterra.conditions.crewai_worker")
PLAYED = ("scenarios", "trials", "max_turns", "shards")  # what of the config's `evaluation` dialogues hang on
CONTEXT = 8192  # of a GGUF file, in tokens, where the section does not say


def settings_of(config: Mapping[str, Any], section: str) -> dict[str, Any]:
    """Return all settings of a section, those that it leaves out from `teacher`."""
    return {key: config["teacher"][key] for key in SHARED} | dict(config[section])


def takes_part(config: Mapping[str, Any], section: str) -> bool:
    """Tell whether a section names a model."""
    return config[section]["backend"] not in ABSENT


def baselines(config: Mapping[str, Any]) -> dict[str, dict]:
    """Return the conditions that are run beside the compiled models, each with the settings of its model.

    Those of a frontier model are run where the config names one. The base has the context and the most tokens that the
    compiled models have; its file is made by the workflow.
    """
    found = {}
    for condition in config["evaluation"]["conditions"]:
        if condition.startswith(BASE):
            found[condition] = compiled(config, "")
        elif takes_part(config, "frontier"):
            found[condition] = settings_of(config, "frontier")
    return found


def compiled(config: Mapping[str, Any], file: str, temperature: float = 0) -> dict[str, Any]:
    """Return the settings of a model that this project made."""
    parameters = {"temperature": temperature, "max_tokens": MOST_TOKENS}
    return {"backend": "gguf", "file": file, "context": config["export"]["context"], "parameters": parameters}


def part_of(config: Mapping[str, Any], section: str, prompts: str = "") -> dict[str, Any]:
    """Return what of a section shapes the words, with a digest of its prompts; the rest of it makes nothing stale."""
    settings = settings_of(config, section)
    told: dict[str, Any] = {"backend": settings["backend"]}
    if settings["backend"] == "openai":
        told |= {key: settings[key] for key in SHAPING}
    elif settings["backend"] == "gguf":
        told |= {"file": file_digest(file_of(settings, section)), "parameters": settings["parameters"]}
    digests = {"prompts": prompts_digest(prompts)} if prompts and settings["backend"] not in ABSENT else {}
    return _ordered(told | digests)


def played(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of the evaluation that make a dialogue another one; the rest of them makes none stale."""
    return _ordered({key: config["evaluation"][key] for key in PLAYED})


def answering(config: Mapping[str, Any], condition: str) -> dict[str, Any]:
    """Return what shapes the answers of a condition: its prompts, and its model unless that is the base."""
    prompts = [prompts_digest(part) for part in PROMPTS[condition.removeprefix(BASE)]]
    return {"prompts": prompts} | ({} if condition.startswith(BASE) else part_of(config, "frontier"))


def _ordered(section: Mapping[str, Any]) -> dict[str, Any]:
    """Return a section with all its keys in order: to Snakemake another order is another value."""
    return {key: _ordered(value) if isinstance(value, Mapping) else value for key, value in sorted(section.items())}


def name_of(settings: Mapping[str, Any]) -> str:
    """Return how a section's model is called: its name at the endpoint, or its file's."""
    return Path(settings["file"]).name if settings["backend"] == "gguf" else settings["model"]


def temperature_of(settings: Mapping[str, Any]) -> float:
    """Return the temperature with which a section asks; 1 where it leaves that to the endpoint."""
    return float(_number(settings, ("temperature",), 1))


def most_tokens(settings: Mapping[str, Any]) -> int:
    """Return the most tokens of an answer."""
    return int(_number(settings, asking.MOST_TOKENS, 1000))


def _number(settings: Mapping[str, Any], names: Sequence[str], otherwise: float) -> float:
    """Return the first of these parameters that is there. Raises SubterraError where it is no number from 0 on."""
    name, value = next(
        ((name, settings["parameters"][name]) for name in names if name in settings["parameters"]), ("", 0)
    )
    if not name:
        return otherwise
    if type(value) not in (int, float) or not 0 <= value < float("inf"):
        raise SubterraError(f"parameters.{name}: '{value}': a number from 0 on is needed")
    return value


def file_of(settings: Mapping[str, Any], section: str) -> str:
    """Return the GGUF file of a section. Raises SubterraError where there is none."""
    file = settings.get("file", "")
    if not Path(file).is_file():
        raise SubterraError(f"{section}.file: '{file}': no such file: name a GGUF file, or take backend: openai")
    return file


@asynccontextmanager
async def open_chat(
    settings: Mapping[str, Any], section: str, cache: str | Path, purpose: str, parallel: int, threads: int = 1
) -> AsyncIterator[Chat]:
    """Open the model of a section; `purpose` is what it is asked for, in the ledger. `threads` are those of a file."""
    if settings["backend"] == "gguf":
        from subterra.models.sequences import Sequences

        async with Sequences(
            file_of(settings, section), parallel=parallel, n_ctx=settings.get("context", CONTEXT)
        ) as chat:
            yield chat
    else:
        from subterra.models.endpoint_chat import endpoint_chat

        async with endpoint_chat(settings, section, cache, purpose) as chat:
            yield chat
