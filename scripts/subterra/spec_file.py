"""Reading a spec as plain data: every scalar stays a string, every place knows its line, nothing is executed.

YAML's habit of turning `yes`, `no` and `1` into other things is left out on purpose: node ids are what was written.
"""

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from subterra.errors import SpecError

AGENT_NAME = re.compile(r"[a-z][a-z0-9_]*\Z")
_LOADER = getattr(yaml, "CBaseLoader", yaml.BaseLoader)

Place = tuple[str | int, ...]


@dataclass
class SpecFile:
    """A spec as it was written: the data, the line of every place, and the mistakes found so far."""

    path: Path
    data: Any = None
    lines: dict[Place, int] = field(default_factory=dict)
    mistakes: list[tuple[int, str]] = field(default_factory=list)

    def mistake(self, place: Place, message: str) -> None:
        """Note one mistake at a place such as ("nodes", "greet", "next", 0)."""
        line = next((self.lines[place[:n]] for n in range(len(place), -1, -1) if place[:n] in self.lines), 1)
        where = f"{dotted(place)}: " if place else ""
        self.mistakes.append((line, f"{self.path}:{line}: {where}{message}"))

    def raise_mistakes(self) -> None:
        """Raise all mistakes at once, in the order of the file; do nothing if there are none."""
        if self.mistakes:
            raise SpecError(
                dict.fromkeys(line for _, line in sorted(self.mistakes, key=lambda entry: entry[0]))
            )


def dotted(place: Place) -> str:
    """Write a place as people write it.

    >>> dotted(("nodes", "greet", "next", 0, "to"))
    'nodes.greet.next[0].to'
    """
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in place)
    return text.removeprefix(".")


def read_spec_file(path: str | Path) -> SpecFile:
    """Read a spec. Raises SpecError where it is no YAML mapping at all; smaller mistakes are noted in the result."""
    spec = SpecFile(Path(path))
    if not AGENT_NAME.match(spec.path.stem) or spec.path.suffix != ".yaml":
        spec.mistake(
            (), f"'{spec.path.name}' is no agent's name: use small letters, digits and _, then .yaml"
        )
    root = _compose(spec)
    if root is None:
        spec.mistake((), "the file is empty: a spec needs title, system, start and nodes")
    elif not isinstance(root, yaml.MappingNode):
        spec.mistake((), "a spec is a mapping of title, system, start, variables and nodes")
    else:
        spec.data = _plain(spec, root, ())
        return spec
    spec.raise_mistakes()
    raise AssertionError("unreachable")


def _compose(spec: SpecFile) -> yaml.Node | None:
    """Return the YAML tree; raise the one line that says why there is none."""
    try:
        text = spec.path.read_bytes().decode("utf-8-sig")
        if any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(text, Loader=_LOADER)):
            spec.mistake((), "anchors and aliases (&, *) are not read here: write the text out")
            spec.raise_mistakes()
        return yaml.compose(text, Loader=_LOADER)
    except FileNotFoundError:
        raise SpecError(
            [f"{spec.path}: no such file: write it, or take its name out of `agents` in the config"]
        ) from None
    except OSError as error:
        raise SpecError([f"{spec.path}: cannot be read ({error.strerror})"]) from None
    except UnicodeDecodeError as error:
        raise SpecError([f"{spec.path}: not UTF-8 at byte {error.start}: save the file as UTF-8"]) from None
    except RecursionError:
        raise SpecError([f"{spec.path}: nested too deeply: a spec needs six levels"]) from None
    except yaml.YAMLError as error:
        raise SpecError([_yaml_mistake(spec.path, error)]) from None


def _yaml_mistake(path: Path, error: yaml.YAMLError) -> str:
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    place = f"{path}:{mark.line + 1}:{mark.column + 1}" if mark else str(path)
    problem = getattr(error, "problem", None) or getattr(error, "reason", None) or str(error)
    return f"{place}: not YAML: {' '.join(str(problem).split())} (check the indentation, quotes and colons there)"


def _plain(spec: SpecFile, node: yaml.Node, place: Place) -> Any:
    """Turn a YAML tree into dictionaries, lists and strings, noting lines and duplicate keys."""
    spec.lines[place] = node.start_mark.line + 1
    if isinstance(node, yaml.ScalarNode):
        return node.value
    if isinstance(node, yaml.SequenceNode):
        return [_plain(spec, child, (*place, index)) for index, child in enumerate(node.value)]
    data: dict[str, Any] = {}
    for key, value in node.value:
        line = key.start_mark.line + 1
        if not isinstance(key, yaml.ScalarNode):
            spec.mistake(place, "a key has to be a word")
            continue
        inner = (*place, key.value)
        if key.value in data:
            first = spec.lines[inner]
            spec.mistakes.append(
                (
                    line,
                    f"{spec.path}:{line}: {dotted(inner)}: duplicate key, first on line {first}: rename or join them",
                )
            )
            continue
        data[key.value] = _plain(spec, value, inner)
        spec.lines[inner] = line
    return data
