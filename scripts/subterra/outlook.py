"""What a person is told before a training: which GPUs hold it under which ZeRO stage, and for how many hours.

Read are the base's config, the data set (or, until it is built, the work of the shards) and config/gpus.yaml.
"""

import json
import math
import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from pathlib import Path
from typing import Any

from subterra import records
from subterra.config import rehearsal_for
from subterra.conversation import laid_out, turns
from subterra.dialogue import messages
from subterra.errors import SubterraError
from subterra.flowchart import Flowchart
from subterra.models.builtin import BuiltinTeacher
from subterra.sizing import (
    GIB,
    MEASURED,
    OF_THE_PEAK,
    USABLE,
    Gpu,
    Memory,
    Shape,
    Work,
    hours_of,
    memory,
    optimizer_of,
    read_gpus,
    rows_for,
    shape_of,
    steps_of,
)

COUNTS = (1, 2, 4, 8)  # GPUs, beside those that the config names
SHARDINGS = ("none", "zero2", "zero3")
SAMPLE = 100  # conversations that are tokenized; the others are measured by their letters
PROBES = 20  # of them, that a chat template is tried on
WORDS = "Yes, that would be very good for me, and what comes next?"  # where a spec has no phrasings


@dataclass(frozen=True)
class Option:
    """A way to train: GPUs, what is sharded, rows a step and tokens a row, and the memory that each GPU needs."""

    gpus: int
    sharding: str
    checkpointing: bool
    rows: int
    tokens: int
    memory: Memory


# -- what is read ----------------------------------------------------------------------------------------------------


def read_config(base: str):
    """Return the transformers config of a folder or a Hugging Face id, of which nothing else is fetched."""
    import huggingface_hub
    import transformers

    huggingface_hub.utils.logging.set_verbosity_error()  # else it tells of every try
    transformers.utils.logging.set_verbosity_error()
    try:
        try:
            return transformers.AutoConfig.from_pretrained(base, local_files_only=True)
        except OSError:
            return transformers.AutoConfig.from_pretrained(base)
    except (OSError, ValueError, KeyError) as problem:
        reason = " ".join(str(problem).split())[:120]
        way_out = f"where there is a network, `hf download {base} config.json` puts it into the cache"
        raise SubterraError(f"base: '{base}': its config.json cannot be read ({reason}): {way_out}") from None


def read_tokenizer(base: str, embedded: str):
    """Return (tokenizer, remark): the base's own, or where that is not at hand, the embedded base's."""
    from subterra.training.tokens import load_tokenizer

    try:
        return load_tokenizer(base), ""
    except (OSError, ValueError):
        return load_tokenizer(embedded), "\nTokens are the embedded base's, which are shorter than a large model's."


def work_of(folder: str | Path, tokenizer) -> Work:
    """Return what an agent has to learn: its data set, or until that is built, what the spec's phrasings come to.

    `folder` is results/{agent}. A sample is tokenized, and the longest; the others' tokens are told by their letters.
    """
    from subterra.training.template import fit_template
    from subterra.training.tokens import IGNORED, encode

    folder = Path(folder)
    flowchart = Flowchart.read(folder / "flowchart.json")
    table = folder / "dataset" / "train.parquet"
    talks = [row["turns"] for row in records.read_table(table)] if table.is_file() else _phrased(folder)
    if not talks:
        raise SubterraError(f"{folder}: no conversations to learn from: ask for more of them")
    letters = [sum(len(turn["content"] + turn["call"]) for turn in talk) for talk in talks]
    longest = max(range(len(talks)), key=letters.__getitem__)
    numbers = [*random.Random(1).sample(range(len(talks)), min(SAMPLE, len(talks))), longest]
    fit_template(tokenizer, [messages(flowchart.system, talks[number]) for number in numbers[:PROBES]])
    encoded = {number: encode(tokenizer, flowchart.system, talks[number]) for number in numbers}
    said = sum(label != IGNORED for one in encoded.values() for label in one["labels"])
    known = {number: len(one["input_ids"]) for number, one in encoded.items()}
    a_letter = sum(known.values()) / sum(letters[number] for number in known)
    lengths = tuple(known.get(number, round(a_letter * count)) for number, count in enumerate(letters))
    return Work(folder.name, flowchart.lessons, lengths, said / sum(known.values()), table.is_file())


def _phrased(folder: Path) -> list[list[dict]]:
    teacher, found = BuiltinTeacher(), []
    for shard in sorted((folder / "shards").glob("*.json")):
        work = json.loads(shard.read_text(encoding="utf-8"))
        for talk in (talk for talk in work["conversations"] if talk["split"] == "train"):
            steps, values, seed = laid_out(talk, work)
            found.append(turns(steps, [line or WORDS for line in teacher.write(steps, values, seed)], values))
    return found


# -- what is told ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Outlook:
    """All that a plan rests on. `settings` is the config's `training`, `rehearsal` a share of the works' tokens."""

    base: str
    shape: Shape
    settings: Mapping[str, Any]
    works: Sequence[Work]
    gpus: Sequence[Gpu]
    rehearsal: float = 0.0

    @property
    def configured(self) -> int:
        return self.settings["nodes"] * self.settings["processes"]

    @cached_property
    def options(self) -> list[Option]:
        """Every way to train, by GPUs, then by sharding; each as the config has it, then with less memory."""
        checkpointings = sorted({self.settings["gradient_checkpointing"], True})
        counts = sorted({*COUNTS, self.configured})
        return [self.option(*way) for way in product(counts, SHARDINGS, checkpointings)]

    def option(self, gpus: int, sharding: str, checkpointing: bool) -> Option:
        """Return one way to train. A conversation that is longer than a row has a row of its own."""
        rows = rows_for(self.settings, gpus)
        tokens = max(self.settings["tokens_per_step"] // rows, *(max(work.lengths) for work in self.works))
        places = tokens * max(work.agent_share for work in self.works)
        needed = memory(self.shape, self.settings, gpus, sharding, tokens, places, checkpointing)
        return Option(gpus, sharding, checkpointing, rows, tokens, needed)

    @cached_property
    def read(self) -> dict[int, float]:
        """Tokens that all trainings read, by the rows of a step."""
        every = {option.rows for option in self.options}
        return {
            rows: sum(steps_of(work, self.settings, rows, self.rehearsal)[1] for work in self.works) for rows in every
        }

    def hours(self, option: Option, gpu: Gpu) -> float:
        """Return the hours of all trainings."""
        lora = self.settings["method"] == "lora"
        return hours_of(self.shape.parameters, self.read[option.rows], option.gpus, gpu, lora, option.checkpointing)

    def text(self) -> str:
        """Return the plan for people."""
        settings = self.settings
        how = "LoRA" if settings["method"] == "lora" else "full fine-tuning"
        missing = ", ".join(work.agent for work in self.works if not work.built)
        lines = [
            f"{self.base}: {self.shape.parameters:,} parameters, {how} in bf16, {settings['optimizer']}, "
            f"gradient_checkpointing: {_yaml(settings['gradient_checkpointing'])}",
            *map(self._work, self.works),
            f"No data set yet of {missing}: counted in the spec's phrasings. A model's words are more."
            if missing
            else "",
            "Rows of a step x tokens; GiB on each GPU; where it fits, the time for all agents:",
            *_table(self._lines()),
            f"> as configured; * with gradient_checkpointing: true; - more than {100 * USABLE:.0f} % of the memory.",
            "working: the activations, or the optimizer's step where that takes more.",
            f"Times assume {100 * OF_THE_PEAK:.0f} % of the GPUs' peak. Short rows on many GPUs reach less.",
            "ZeRO is reckoned with adamw: muon needs whole matrices." if settings["optimizer"] == "muon" else "",
            "precision: fp32 needs more than this: the plan is of bf16." if settings["precision"] == "fp32" else "",
            ""
            if self.shape.kind in MEASURED
            else f"Activations are a Llama's: {self.shape.kind} may keep half as much again.",
            self._advice(),
        ]
        return "\n".join(line.rstrip() for line in lines if line)

    def _work(self, work: Work) -> str:
        steps, read = steps_of(work, self.settings, self.settings["rows_per_step"], self.rehearsal)
        return (
            f"{work.agent}: {len(work.lengths):,} conversations, {sum(work.lengths):,} tokens, the longest "
            f"{max(work.lengths):,}, {100 * work.agent_share:.0f} % the agent's; "
            f"{steps:,} steps of {read / steps:,.0f} tokens"
        )

    def _lines(self) -> Iterator[list[str]]:
        parts = ["weights", "gradients", "optimizer", "working", "total"]
        yield [
            "",
            "GPUs",
            "sharding",
            "rows",
            "weights",
            "grad.",
            "optim.",
            *parts[3:],
            *(gpu.name for gpu in self.gpus),
        ]
        for option in self.options:
            if option.checkpointing == self.settings["gradient_checkpointing"]:
                marked = (option.gpus, option.sharding) == (self.configured, self.settings["sharding"])
                sizes = [f"{getattr(option.memory, part) / GIB:.1f}" for part in parts]
                rows = f"{option.rows} x {option.tokens}"
                cells = [self._cell(option, gpu) for gpu in self.gpus]
                yield [">" if marked else "", str(option.gpus), option.sharding, rows, *sizes, *cells]

    def _cell(self, option: Option, gpu: Gpu) -> str:
        if option.memory.fits(gpu):
            return said(self.hours(option, gpu))
        lean = self.option(option.gpus, option.sharding, True)
        return f"{said(self.hours(lean, gpu))}*" if lean.memory.fits(gpu) else "-"

    def _advice(self) -> str:
        """Return what the least memory is that holds the training, all GPUs together, and the config for it."""
        fitting = [(option, gpu) for option in self.options for gpu in self.gpus if option.memory.fits(gpu)]
        if not fitting:
            return "Nothing here holds it: take more rows_per_step, a smaller base, or method: lora."
        option, gpu = min(
            fitting, key=lambda one: (one[0].gpus * one[1].memory, one[0].gpus, one[0].checkpointing, one[0].sharding)
        )
        hours = self.hours(option, gpu)
        price = f", about ${hours * option.gpus * gpu.dollars_an_hour:,.2f}" if gpu.dollars_an_hour else ""
        nodes = self.settings["nodes"] if option.gpus == self.configured else 1
        wanted = {
            "nodes": nodes,
            "processes": option.gpus // nodes,
            "sharding": option.sharding,
            "rows_per_step": option.rows,
            "optimizer": optimizer_of(self.settings, option.sharding),
            "gradient_checkpointing": _yaml(option.checkpointing),
        }
        keys = ", ".join(f"{key}: {value}" for key, value in wanted.items())
        return f"The least that holds it: {option.gpus} x {gpu.name}, {said(hours)}{price}:\n  training: {{{keys}}}"


def said(hours: float) -> str:
    """Return hours as people say them.

    >>> said(0.004), said(0.32), said(1.25), said(30)
    ('1 min', '20 min', '1.2 h', '30 h')
    """
    return f"{math.ceil(60 * hours)} min" if hours < 1 else f"{hours:.1f} h" if hours < 10 else f"{hours:,.0f} h"


def _yaml(value: bool) -> str:
    return str(value).lower()


def _table(lines: Iterable[Sequence[str]]) -> list[str]:
    """Return lines of cells as text, with a blank one before and after."""
    lines = list(lines)
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    told = ["  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines]
    return [" ", *told, " "]


def plan(folders: Sequence[str], base: str, embedded: str, settings: Mapping[str, Any], gpus: str | Path) -> str:
    """Return what training `base` on the agents in `folders` takes, as text.

    `embedded` is a folder with the tokenizer that counts where the base's own is not at hand, `settings` the config's
    `training`, `gpus` the file config/gpus.yaml.
    """
    known = read_gpus(gpus)
    shape = shape_of(read_config(base))
    tokenizer, remark = read_tokenizer(base, embedded)
    works = [work_of(folder, tokenizer) for folder in folders]
    return Outlook(base, shape, settings, works, known, rehearsal_for(settings, base)).text() + remark
