"""The paper's figures, which stand in config/paper.yaml as data."""

from functools import cache
from pathlib import Path
from typing import Any

import yaml

from subterra.errors import SubterraError

PAPER = Path("config") / "paper.yaml"
NEEDED = ("source", "about", "recompile", "agents")


@cache
def read_paper(file: str | Path = PAPER) -> dict[str, Any]:
    """Return the file's content. Raises SubterraError where it is not there, or is no table of the paper's figures."""
    try:
        told = yaml.safe_load(Path(file).read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as problem:
        raise SubterraError(f"{file}: not to be read ({' '.join(str(problem).split())})") from None
    missing = [key for key in NEEDED if not isinstance(told, dict) or key not in told]
    if missing:
        raise SubterraError(f"{file}: {missing[0]}: missing; the file in the repository has it")
    return told
