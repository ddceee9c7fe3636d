"""The closed template language, canonical JSON, digests, and files that are written whole.

A template can do one thing: `{name}` becomes the value of a declared variable. There is no attribute access,
no format specification and no code; any other brace is a mistake that the checker reports.
"""

import hashlib
import json
import os
import re
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

PLACEHOLDER = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)\}")
_BRACES = re.compile(PLACEHOLDER.pattern + r"|(?P<stray>\{+[^{}]*\}*|\})")


def names(template: str) -> tuple[str, ...]:
    """Return the variables a template names, each once, in order.

    >>> names("{party} to {city}, {party} again")
    ('party', 'city')
    """
    return tuple(dict.fromkeys(PLACEHOLDER.findall(template)))


def stray_braces(template: str) -> str:
    """Return the first piece of a template whose braces are no `{name}` ("" for a good template).

    >>> stray_braces("{city} for {party:>10}"), stray_braces("{city} for {party}")
    ('{party:>10}', '')
    """
    return next((found["stray"] for found in _BRACES.finditer(template) if found["stray"]), "")


def fill(template: str, values: Mapping[str, str]) -> str:
    """Put the values into a template; a name without a value raises KeyError (the checker rules it out).

    >>> fill("To {city}!", {"city": "Lisbon"})
    'To Lisbon!'
    """
    return PLACEHOLDER.sub(lambda match: values[match.group(1)], template)


def filled(templates: Mapping[str, str], values: Mapping[str, str]) -> dict[str, str]:
    """Put the values into each template of a mapping."""
    return {name: fill(template, values) for name, template in templates.items()}


def whole_words(texts: Iterable[str], flags: int = 0) -> re.Pattern | None:
    """Return a pattern that finds the texts where no letter adjoins, the longest first; None without texts.

    >>> whole_words(["York", "New York"]).findall("New York, York and Yorkshire")
    ['New York', 'York']
    """
    found = sorted({text.strip() for text in texts if text.strip()}, key=lambda text: (-len(text), text))
    return re.compile(rf"(?<!\w)(?:{'|'.join(map(re.escape, found))})(?!\w)", flags) if found else None


def readable(data: Any) -> str:
    """Return JSON in one line, as chat templates write it."""
    return json.dumps(data, ensure_ascii=False)


def canonical(data: Any) -> str:
    """Return JSON that is the same for the same data: sorted keys, no needless space, readable letters."""
    return json.dumps(data, sort_keys=True, ensure_ascii=False, separators=(",", ":"))


def digest(data: Any, length: int = 20) -> str:
    """Return `length` hexadecimal digits of the SHA-256 of bytes, text, or what canonical JSON takes."""
    if isinstance(data, str):
        data = data.encode()
    elif not isinstance(data, bytes):
        data = canonical(data).encode()
    return hashlib.sha256(data).hexdigest()[:length]


def fraction(*parts: Any) -> float:
    """Return a number in [0, 1) that depends on the parts alone: a lot that every machine draws alike."""
    return int(digest([str(part) for part in parts], 13), 16) / 16**13


def write_whole(path: str | Path, content: bytes | str, to_disk: bool = True) -> Path:
    """Write a file whole or not at all: beside it, to the disk, then renamed.

    Without `to_disk` a machine that loses its power may lose the file, or tear it; a process that is killed does not.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    data = content.encode() if isinstance(content, str) else content
    handle, beside = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            if to_disk:
                file.flush()
                os.fsync(file.fileno())
        os.chmod(beside, 0o644)
        os.replace(beside, path)
    except BaseException:
        Path(beside).unlink(missing_ok=True)
        raise
    return path


def write_if_changed(path: str | Path, content: bytes | str) -> bool:
    """Write a file whole where its content differs (an equal file keeps its time). True if written."""
    data = content.encode() if isinstance(content, str) else content
    path = Path(path)
    if path.is_file() and path.read_bytes() == data:
        return False
    write_whole(path, data)
    return True


def pretty(data: Any) -> str:
    """Return JSON for files that people open: sorted keys, two spaces, a last newline."""
    return json.dumps(data, sort_keys=True, ensure_ascii=False, indent=2) + "\n"
