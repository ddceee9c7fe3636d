"""The prompts of a model: Jinja templates in config/prompts/, files that a person can read and edit."""

from pathlib import Path
from typing import Any

from subterra.errors import SubterraError
from subterra.text import digest, fraction, readable

FOLDER = Path("config") / "prompts"


class Prompts:
    """The prompts of one part, such as `teacher`: a template a file."""

    def __init__(self, part: str, folder: Path | None = None):
        from jinja2 import FileSystemLoader, StrictUndefined
        from jinja2.sandbox import ImmutableSandboxedEnvironment

        self.folder = (folder or FOLDER) / part
        self._templates = ImmutableSandboxedEnvironment(
            loader=FileSystemLoader(self.folder), undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
        )
        self._templates.policies["json.dumps_kwargs"] = {"ensure_ascii": False}
        self._templates.filters["tojson"] = readable  # the usual one writes for web pages

    def write(self, name: str, **known: Any) -> str:
        """Return a prompt. Raises SubterraError with file and line where the template is wrong."""
        from jinja2 import TemplateError

        file = f"{name}.md"
        try:
            return self._templates.get_template(file).render(known).strip()
        except TemplateError as problem:
            line = getattr(problem, "lineno", None)
            place = f"{self.folder / (getattr(problem, 'name', None) or file)}{f', line {line}' if line else ''}"
            raise SubterraError(f"{place}: {' '.join(str(problem).split())}: mend the template") from None

    @property
    def styles(self) -> list[str]:
        """The manners of customers, a line each."""
        return self.lines("styles")

    def lines(self, name: str) -> list[str]:
        """Return the lines of a text file beside the templates. Raises SubterraError where there are none."""
        file = self.folder / f"{name}.txt"
        lines = file.read_text(encoding="utf-8").splitlines() if file.is_file() else []
        found = [line.strip() for line in lines if line.strip()]
        if not found:
            raise SubterraError(f"{file}: no {name} of customers in it: write some, a line each")
        return found

    def drawn(self, name: str, *lot: Any) -> str:
        """Return a line of such a file by lot."""
        lines = self.lines(name)
        return lines[int(fraction(name, *lot) * len(lines))]


def prompts_digest(part: str, folder: Path | None = None) -> str:
    """Return a digest of all that the prompts of a part say."""
    files = sorted(file for file in ((folder or FOLDER) / part).glob("*") if file.is_file())
    return digest([[file.name, digest(file.read_bytes())] for file in files])
