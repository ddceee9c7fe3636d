"""The files a report is made from, and what is in them."""

import csv
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from subterra.errors import SubterraError
from subterra.flowchart import Flowchart
from subterra.records import DIALOGUE, JUDGEMENT, SCORE, read_table
from subterra.report.paper import PAPER, read_paper

STAGES = ("converse", "assemble", "train", "export", "evaluate", "report")

File = str | Path
Evaluation = tuple[str, float, Sequence[File], File | None, Sequence[File]]
Key = tuple[str, int]  # of a dialogue within a run: the scenario's id, and which trial of it


@dataclass(frozen=True)
class ReportInputs:
    """Paths of the files of one agent; None, or a file that is not there, means that the stage was not run.

    `evaluation` holds (condition, temperature, dialogues files, scores file, judgement files); `gguf` maps
    quantizations to files; `worst` is how many failed transcripts the page shows.
    """

    flowchart_json: str | Path
    dataset_summary: str | Path | None = None
    paths_summary: str | Path | dict | None = None
    training_json: str | Path | None = None
    loss_parquet: str | Path | None = None
    parity_json: str | Path | None = None
    matcher_json: str | Path | None = None
    gguf: dict[str, str | Path] = field(default_factory=dict)
    evaluation: list[Evaluation] = field(default_factory=list)
    costs_json: str | Path | None = None
    paper_yaml: str | Path = PAPER
    benchmark_dir: str | Path | None = None
    spec_digest: str = ""
    version: str = ""
    worst: int = 10

    def load(self) -> "Evidence":
        """Read everything. Raises SubterraError for JSON that is none and for a table of another schema."""
        return Evidence(
            flowchart=Flowchart.read(self.flowchart_json),
            dataset=_json(self.dataset_summary),
            paths=self.paths_summary if isinstance(self.paths_summary, dict) else _json(self.paths_summary),
            training=_json(self.training_json),
            loss=_rows(self.loss_parquet),
            parity=_json(self.parity_json),
            matcher=_json(self.matcher_json),
            sizes={quant: Path(file).stat().st_size for quant, file in self.gguf.items() if Path(file).is_file()},
            runs=[_run(*entry) for entry in self.evaluation],
            costs=_json(self.costs_json),
            paper=read_paper(self.paper_yaml),
            stages=stage_seconds(self.benchmark_dir),
            spec_digest=self.spec_digest,
            version=self.version,
            worst=self.worst,
        )


@dataclass(frozen=True)
class Run:
    """One condition at one temperature: its dialogues, scores and judgements; empty where it was not run."""

    condition: str
    temperature: float
    dialogues: dict[Key, dict]
    scores: list[dict]
    judgements: list[dict]

    @property
    def name(self) -> str:
        """How the page calls it."""
        return f"{self.condition}, {temperature_name(self.temperature)}"

    @property
    def judges(self) -> list[str]:
        """Those that read it, in the order of the files."""
        return list(dict.fromkeys(row["judge"] for row in self.judgements))

    @cached_property
    def judged(self) -> dict[Key, list[dict]]:
        """The judgements of each dialogue, in the order of the judges."""
        found: dict[Key, list[dict]] = {}
        for row in self.judgements:
            found.setdefault(key_of(row), []).append(row)
        return found

    def judged_by(self, judge: str) -> dict[Key, dict]:
        """Return one judge's rows by dialogue."""
        return {key_of(row): row for row in self.judgements if row["judge"] == judge}


@dataclass(frozen=True)
class Evidence:
    """What the files say."""

    flowchart: Flowchart
    dataset: dict
    paths: dict
    training: dict
    loss: list[dict]
    parity: dict
    matcher: dict
    sizes: dict[str, int]
    runs: list[Run]
    costs: dict
    paper: dict
    stages: list[dict]
    spec_digest: str
    version: str
    worst: int


def key_of(row: Mapping) -> Key:
    """Return what a dialogue's rows have in common within a run."""
    return row["id"], row["trial"]


def temperature_name(temperature: float) -> str:
    """Return "greedy" for 0, else "temperature 0.7"."""
    return f"temperature {temperature:g}" if temperature else "greedy"


def stage_seconds(folder: str | Path | None) -> list[dict]:
    """Return [{stage, seconds, jobs}] from the benchmark files in a folder, in the order of the line.

    A stage is what a file's name (for files in folders: the folder's) starts with, up to a digit, "-" or ".".
    """
    found: dict[str, list[float]] = {}
    root = Path(folder) if folder else None
    for file in sorted(root.rglob("*.tsv")) if root and root.is_dir() else ():
        stage = re.split(r"[-.\d]", file.relative_to(root).parts[0])[0].rstrip("_") or file.stem
        with file.open(encoding="utf-8", newline="") as rows:
            found.setdefault(stage, []).append(
                sum(_number(row.get("s")) for row in csv.DictReader(rows, delimiter="\t"))
            )
    return [
        {"stage": stage, "seconds": round(sum(found[stage]), 3), "jobs": len(found[stage])}
        for stage in sorted(found, key=_place)
    ]


def _place(stage: str) -> tuple[int, str]:
    known = [index for index, name in enumerate(STAGES) if stage.startswith(name)]
    return (known[0] if known else len(STAGES), stage)


def _number(text: str | None) -> float:
    try:
        return float(text or 0)
    except ValueError:
        return 0.0


def _json(path: str | Path | None) -> dict:
    if not path or not Path(path).is_file():
        return {}
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except ValueError as problem:
        raise SubterraError(f"{path}: not JSON ({problem}); delete it and run again") from None


def _rows(path: str | Path | None, schema=None) -> list[dict]:
    if not path or not Path(path).is_file():
        return []
    try:
        return read_table(path, schema)
    except ValueError as problem:
        raise SubterraError(str(problem)) from None


def _run(condition: str, temperature: float, dialogues, scores, judgements) -> Run:
    talks = {key_of(row): row for file in dialogues for row in _rows(file, DIALOGUE)}
    judged = [row for file in judgements for row in _rows(file, JUDGEMENT)]
    return Run(condition, float(temperature), talks, _rows(scores, SCORE), judged)
