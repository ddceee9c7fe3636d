"""The conda environment, from the pins that pip uses: `python -m subterra.environments` writes envs/subterra.yaml.

What is needed stands in envs/requirements.txt, which version of it in envs/constraints.txt, and what that needs in turn
in the metadata of what is installed. Snakemake copies the file of an environment to another folder before conda reads
it, so that it cannot refer to the two: every pin has to stand in it.
"""

from collections import deque
from collections.abc import Iterable
from functools import cache
from importlib import metadata
from pathlib import Path

from packaging.markers import default_environment
from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from subterra.errors import SubterraError, one_line

ENVS = Path(__file__).resolve().parents[2] / "envs"
PYTHON = "3.11"
# What the builds of compiled packages are told, as CMake's definitions: no image part, and no instruction that only the
# processor at hand has, for an environment is made on one machine of a cluster and used on all.
BUILDS = {"llama-cpp-python": {"LLAVA_BUILD": "OFF", "GGML_NATIVE": "OFF"}}
# Needed, but held by torch: its build for CUDA names the versions of these, its build for CPUs has none of them.
HELD_BY_TORCH = ("cuda-", "nvidia-", "triton")
# Comes with every virtual environment; torch takes any new one.
WITHOUT_PIN = {"setuptools"}

HEAD = """\
# Written by `python -m subterra.environments` from requirements.txt and constraints.txt: edit those, and run it again.
# For `snakemake --sdm conda`: Python and the compilers that llama.cpp is built with are conda-forge's, the rest is
# pip's, at the versions that `make` installs.
#
# On Linux torch comes as its build for CUDA, with CUDA's libraries. For CPUs alone, put the address of PyTorch's index
# of CPU builds into PIP_EXTRA_INDEX_URL before the environment is made: the same version comes without them.
#
# What llama.cpp's build is told stands on its own line: conda sets `variables:` only after pip has run, and its
# compilers set CMAKE_ARGS themselves. GGML_NATIVE=OFF makes it run on every processor that has AVX2; without that it is
# faster, and runs only on processors like the one that built it. A wheel of llama.cpp that pip has in its cache, from
# `make` for one, is taken as it is, whatever stands here: PIP_NO_CACHE_DIR=1 builds it anew.
channels: [conda-forge, nodefaults]
dependencies:
  - python={python}
  - pip
  - c-compiler
  - cxx-compiler
  - pip:
"""


def read_requirements(file: Path) -> list[Requirement]:
    """Return the requirements of a file, a line each, without their comments.

    Raises SubterraError with file and line where one cannot be read.
    """
    found = []
    for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1):
        text = line.partition("#")[0].strip()
        try:
            found += [Requirement(text)] if text else []
        except InvalidRequirement:
            raise SubterraError(f"{file}:{number}: {text}: no requirement: write a name, or name==version") from None
    return found


def read_pins(file: Path) -> dict[str, Requirement]:
    """Return the pins of a file, `name==version` a line, by canonical name and in their order.

    Raises SubterraError where a line pins no single version, or a package is pinned twice.
    """
    pins = {}
    for pin in read_requirements(file):
        name = canonicalize_name(pin.name)
        if [one.operator for one in pin.specifier] != ["=="] or "*" in str(pin.specifier):
            raise SubterraError(f"{file}: {pin}: not one version: write {pin.name}==VERSION")
        if name in pins:
            raise SubterraError(f"{file}: {pin.name} is pinned twice ({pins[name]}, {pin}): leave one")
        pins[name] = pin
    return pins


def closure(requirements: Iterable[Requirement]) -> dict[str, set[str]]:
    """Return the canonical names of all that requirements need, themselves included, each with those that need it.

    Goes by the metadata of what is installed, and by what holds on Linux under PYTHON. What torch holds is left out.
    Raises SubterraError where one is not installed.

    >>> sorted(closure([Requirement("jinja2")]))
    ['jinja2', 'markupsafe']
    """
    needed: dict[str, set[str]] = {}
    seen = set()
    waiting = deque((requirement, "requirements.txt") for requirement in requirements)
    while waiting:
        requirement, parent = waiting.popleft()
        name = canonicalize_name(requirement.name)
        if name.startswith(HELD_BY_TORCH):
            continue
        needed.setdefault(name, set()).add(parent)
        for asked in {(name, extra) for extra in ("", *requirement.extras)} - seen:
            seen.add(asked)
            try:
                waiting.extend((needs, name) for needs in _needs(*asked))
            except metadata.PackageNotFoundError:
                raise SubterraError(f"{name}, needed by {parent}, is not installed: `make setup`, then again") from None
    return needed


@cache
def _needs(name: str, extra: str) -> tuple[Requirement, ...]:
    """Return what a distribution needs, for one of its extras or, where that is empty, without any."""
    where = default_environment() | {
        "python_version": PYTHON,
        "python_full_version": f"{PYTHON}.0",
        "sys_platform": "linux",
        "platform_system": "Linux",
        "os_name": "posix",
        "extra": extra,
    }
    requirements = map(Requirement, metadata.requires(name) or [])
    return tuple(needs for needs in requirements if not needs.marker or needs.marker.evaluate(where))


def conda_file(envs: Path = ENVS) -> str:
    """Return the text of the conda environment that holds the pins of a folder's two files.

    Raises SubterraError where something that is needed has no pin.
    """
    requirements, pins = read_requirements(envs / "requirements.txt"), read_pins(envs / "constraints.txt")
    needed = closure(requirements)
    asked = {canonicalize_name(requirement.name): requirement for requirement in requirements}
    for name in sorted(needed.keys() - pins.keys() - (WITHOUT_PIN - asked.keys())):
        wanted = f"{name}=={metadata.version(name)}"
        raise SubterraError(f"{envs}/constraints.txt: {name}, needed by {min(needed[name])}, has no pin: add {wanted}")
    lines = [_pip_line(pins[name], asked[name].extras) for name in asked]
    lines += [_pip_line(pin, ()) for name, pin in pins.items() if name in needed.keys() - asked.keys()]
    return HEAD.format(python=PYTHON) + "".join(f"      - {line}\n" for line in lines)


def _pip_line(pin: Requirement, extras: Iterable[str]) -> str:
    """Return a pin as pip reads it in a file of requirements, with the settings of its build."""
    extra = f"[{','.join(sorted(extras))}]" if extras else ""
    settings = BUILDS.get(canonicalize_name(pin.name), {}).items()
    return f"{pin.name}{extra}{pin.specifier}" + "".join(
        f' --config-settings="cmake.define.{key}={value}"' for key, value in settings
    )


if __name__ == "__main__":
    with one_line():
        (ENVS / "subterra.yaml").write_text(conda_file(), encoding="utf-8")
