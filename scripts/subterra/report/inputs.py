"""The files a report is made from, and what is in them."""

import csv
import json
import re
from dataclasses import dataclass, field
from pathlib import Path

from subterra.errors import SubterraError
from subterra.flowchart import Flowchart
from subterra.records import DIALOGUE, SCORE, read_table

STAGES = ("converse", "assemble", "train", "export", "evaluate", "report")

Evaluation = tuple[str, float, str | Path | None, str | Path | None]


@dataclass(frozen=True)
class ReportInputs:
    """Paths of the files of one agent; None, or a file that is not there, means that the stage was not run.

    `evaluation` holds (condition, temperature, dialogues file, scores file); `gguf` maps quantizations to
    files; `worst` is how many failed transcripts the page shows.
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
            stages=stage_seconds(self.benchmark_dir),
            spec_digest=self.spec_digest,
            version=self.version,
            worst=self.worst,
        )


@dataclass(frozen=True)
class Run:
    """One condition at one temperature: its dialogues by id, and its scores; empty where it was not run."""

    condition: str
    temperature: float
    dialogues: dict[str, dict]
    scores: list[dict]

    @property
    def name(self) -> str:
        """How the page calls it."""
        return f"{self.condition}, {temperature_name(self.temperature)}"


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
    stages: list[dict]
    spec_digest: str
    version: str
    worst: int


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


def _run(condition: str, temperature: float, dialogues, scores) -> Run:
    by_id = {row["id"]: row for row in _rows(dialogues, DIALOGUE)}
    return Run(condition, float(temperature), by_id, _rows(scores, SCORE))
