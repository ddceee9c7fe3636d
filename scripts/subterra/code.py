"""What a module computes, as a digest: a comment, a docstring or the layout does not show, a changed line does.

A stage names the modules it uses; those they import from this package are found by reading them.
"""

import ast
from functools import cache
from pathlib import Path
from typing import Any

from subterra.text import digest

LARGE = 100_000_000
ROOT = Path(__file__).resolve().parent.parent


def code_digest(*modules: str) -> str:
    """Return a digest of the syntax trees of the modules (`subterra.paths`) and of all that they import of ours."""
    reached, waiting = set(), list(modules)
    while waiting:
        module = waiting.pop()
        if module not in reached:
            reached.add(module)
            waiting.extend(_read(module)[1])
    return digest({module: _read(module)[0] for module in sorted(reached)})


def folder_digest(folder: str) -> str:
    """Return a digest of the files of a folder by name and content; "" for what is no folder (a Hugging Face id).

    Its README.md, which says what the others are, does not count. A file over LARGE bytes counts by its size and time:
    reading gigabytes whenever a workflow is parsed takes too long.
    """
    files = sorted(file for file in Path(folder).rglob("*") if file.is_file() and file.name != "README.md")
    return digest([[str(file.relative_to(folder)), _content(file)] for file in files]) if files else ""


def file_digest(file: str | Path) -> str:
    """Return a digest of a file; of one over LARGE bytes, of its size and time."""
    return digest(_content(Path(file)))


def _content(file: Path) -> Any:
    facts = file.stat()
    return [facts.st_size, facts.st_mtime_ns] if facts.st_size > LARGE else digest(file.read_bytes())


@cache
def _read(module: str) -> tuple[str, tuple[str, ...]]:
    """Return the digest of one module and the names of our modules it imports."""
    path = _file(module)
    tree = ast.parse(path.read_text(encoding="utf-8"), filename=str(path))
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    imports = tuple(sorted(name for name in _imported(tree, package) if name != module))
    _drop_docstrings(tree)
    templates = {file.name: digest(file.read_bytes()) for file in sorted(path.parent.glob("*.j2"))}
    return digest([ast.dump(tree), templates if _reads_templates(tree) else {}]), imports


def _file(module: str) -> Path:
    base = ROOT.joinpath(*module.split("."))
    return base / "__init__.py" if base.is_dir() else base.with_suffix(".py")


def _imported(tree: ast.AST, package: str) -> set[str]:
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: 1 - node.level or None] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            found.add(base)
            found.update(f"{base}.{alias.name}" for alias in node.names)
    return {name for name in found if name.split(".")[0] == "subterra" and _file(name).is_file()}


def _reads_templates(tree: ast.AST) -> bool:
    return any(isinstance(node, ast.Constant) and str(node.value).endswith(".j2") for node in ast.walk(tree))


def _drop_docstrings(tree: ast.AST) -> None:
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list) and body and isinstance(body[0], ast.Expr):
            value = body[0].value
            if isinstance(value, ast.Constant) and isinstance(value.value, str):
                body[:1] = []
