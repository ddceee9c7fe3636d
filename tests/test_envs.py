"""Every environment has the same pins: the one that make sets up, conda's, and the containers'."""

import re
import shutil
from importlib import metadata
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version
from subterra.environments import (
    BUILDS,
    ENVS,
    PYTHON,
    WITHOUT_PIN,
    closure,
    conda_file,
    read_pins,
    read_requirements,
)
from subterra.errors import SubterraError

ROOT = Path(__file__).resolve().parents[1]
REQUIREMENTS = read_requirements(ENVS / "requirements.txt")
PINS = read_pins(ENVS / "constraints.txt")
NEEDED = closure(REQUIREMENTS)
CONDA = yaml.safe_load((ENVS / "subterra.yaml").read_text())["dependencies"]
DOCKERFILE = (ENVS / "Dockerfile").read_text()
DEFINITION = (ENVS / "subterra.def").read_text()
# Pinned, and needed by nothing yet: LangGraph, TRL and what was tried with them.
NOT_YET_NEEDED = """
    altair datasets dill multiprocess trl
"""


def docker_commands() -> list[str]:
    """Return the shell commands of the Dockerfile."""
    return re.findall(r"^RUN (.*)$", DOCKERFILE, re.MULTILINE)


def apptainer_commands() -> list[str]:
    """Return the shell commands of the definition for Apptainer, but for those that set a variable."""
    section = re.search(r"^%post\n(.*?)^%", DEFINITION, re.MULTILINE | re.DOTALL).group(1)
    return [line.strip() for line in section.splitlines() if line.strip() and not line.strip().startswith("export")]


def definitions(text: str) -> dict[str, str]:
    """Return what a text gives to CMake in CMAKE_ARGS, or with `:-` where that is unset."""
    return dict(re.findall(r"-D(\w+)=(\w+)", re.search(r"CMAKE_ARGS(?:=|:-)\"?([^\"}]*)", text).group(1)))


def pip_lines() -> dict[str, tuple[Requirement, dict[str, str]]]:
    """Return what pip installs for conda, by canonical name: the requirement and the settings of its build."""
    lines = {}
    for line in CONDA[-1]["pip"]:
        requirement, *settings = line.split(" --config-settings=")
        name = canonicalize_name(Requirement(requirement).name)
        assert name not in lines, line
        define = [setting.strip('"').removeprefix("cmake.define.").split("=") for setting in settings]
        lines[name] = Requirement(requirement), dict(define)
    return lines


@pytest.fixture
def envs(tmp_path) -> Path:
    """A copy of envs/, to be changed."""
    return Path(shutil.copytree(ENVS, tmp_path / "envs"))


def edit(file: Path, old: str, new: str) -> None:
    text = file.read_text()
    assert text.count(old) == 1, f"{old!r} stands {text.count(old)} times in {file.name}"
    file.write_text(text.replace(old, new))


def test_the_conda_file_is_the_one_that_the_pins_make():
    assert (ENVS / "subterra.yaml").read_text() == conda_file(), "run `python -m subterra.environments`"


def test_every_requirement_is_pinned_and_asked_for_once():
    names = [canonicalize_name(requirement.name) for requirement in REQUIREMENTS]
    assert set(names) <= PINS.keys() and len(names) == len(set(names))
    assert not [requirement for requirement in REQUIREMENTS if requirement.specifier]


def test_all_that_is_installed_for_a_requirement_is_pinned_at_its_version():
    installed = {name: Version(metadata.version(name)).public for name in NEEDED.keys() - WITHOUT_PIN}
    assert len(installed) > 100
    assert installed == {name: str(PINS[name].specifier).removeprefix("==") for name in installed}


def test_no_pin_is_there_for_nothing():
    assert PINS.keys() - NEEDED.keys() <= set(NOT_YET_NEEDED.split())


def test_conda_installs_all_of_it_by_pip_at_the_same_versions_with_the_same_extras():
    lines = pip_lines()
    assert lines.keys() == NEEDED.keys() & PINS.keys() and NEEDED.keys() - lines.keys() <= WITHOUT_PIN
    assert {name: line.specifier for name, (line, _) in lines.items()} == {name: PINS[name].specifier for name in lines}
    extras = {canonicalize_name(requirement.name): requirement.extras for requirement in REQUIREMENTS}
    assert {name: line.extras for name, (line, _) in lines.items()} == {name: extras.get(name, set()) for name in lines}


def test_conda_refers_to_no_other_file_for_snakemake_moves_it():
    assert not re.search(r"requirements\.txt|constraints\.txt| -r | -c ", repr(CONDA))


def test_every_rule_names_an_environment_that_is_there():
    files = sorted(ROOT.glob("rules/*.smk"))
    named = [(file, name) for file in files for name in re.findall(r'conda:\s+"(.*)"', file.read_text())]
    assert named and all((file.parent / name).resolve() == ENVS / "subterra.yaml" for file, name in named)


def test_every_environment_has_the_python_that_make_asks_for():
    oldest = re.search(r"sys\.version_info < \((\d+), (\d+)\)", (ROOT / "Makefile").read_text())
    assert ".".join(oldest.groups()) == PYTHON
    assert f"python={PYTHON}" in CONDA
    assert re.findall(r"^FROM (.*)$", DOCKERFILE, re.MULTILINE) == [f"python:{PYTHON}-slim"]
    assert re.findall(r"^From: (.*)$", DEFINITION, re.MULTILINE) == [f"python:{PYTHON}-slim"]
    assert f'requires-python = ">={PYTHON}"' in (ROOT / "pyproject.toml").read_text()


def test_both_containers_are_made_by_the_same_commands_from_the_same_two_files():
    assert docker_commands() == apptainer_commands()
    install = docker_commands()[-1]
    folder = re.fullmatch(r"pip install .*-r (\S+/)requirements.txt -c \1constraints.txt", install).group(1)
    assert f"COPY envs/requirements.txt envs/constraints.txt {folder}\n" in DOCKERFILE
    for file in ("requirements.txt", "constraints.txt"):
        assert f"    envs/{file} {folder}{file}\n" in DEFINITION


def test_no_recipe_names_a_version_of_its_own():
    assert "==" not in DOCKERFILE + DEFINITION + (ENVS / "requirements.txt").read_text()


def test_docker_is_sent_what_the_recipe_copies_and_nothing_else():
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    rules = [line for line in lines if not line.startswith("#")]
    copied = re.search(r"^COPY (.*) \S+$", DOCKERFILE, re.MULTILINE).group(1).split()
    assert rules == ["*", *(f"!{file}" for file in copied)]


def test_llama_cpp_is_built_alike_everywhere():
    for_conda = {name: settings for name, (_, settings) in pip_lines().items() if settings}
    assert for_conda == BUILDS
    settings = BUILDS["llama-cpp-python"]
    assert definitions(DOCKERFILE) == definitions(DEFINITION) == settings
    # make builds for the machine it runs on, and alike but for that.
    assert definitions((ROOT / "Makefile").read_text()) | {"GGML_NATIVE": "OFF"} == settings


def test_a_pin_that_changes_in_one_place_is_noticed(envs):
    pandas = str(PINS["pandas"])
    edit(envs / "constraints.txt", f"\n{pandas}\n", "\npandas==0.1\n")
    assert conda_file(envs) == (envs / "subterra.yaml").read_text().replace(pandas, "pandas==0.1")
    assert conda_file(envs) != (envs / "subterra.yaml").read_text()


@pytest.mark.parametrize(
    ("file", "old", "new", "told"),
    [
        ("constraints.txt", f"{PINS['pandas']}\n", "", r"pandas, needed by requirements.txt, has no pin: add pandas=="),
        ("constraints.txt", f"{PINS['markupsafe']}\n", "", r"markupsafe, needed by jinja2, has no pin: add markupsafe"),
        ("constraints.txt", f"{PINS['pandas']}\n", "pandas>=3\n", r"pandas>=3: not one version: write pandas==VERSION"),
        ("constraints.txt", f"{PINS['pandas']}\n", "pandas==3.*\n", r"pandas==3\.\*: not one version"),
        ("constraints.txt", f"{PINS['pandas']}\n", "pandas==3\nPandas==4\n", r"Pandas is pinned twice \(pandas==3, P"),
        ("constraints.txt", f"{PINS['pandas']}\n", "pandas=3\n", r"constraints.txt:\d+: pandas=3: no requirement"),
        (
            "requirements.txt",
            "\npandas ",
            "\nno_such_package ",
            r"no-such-package, needed by requirements.txt, is not i",
        ),
        ("requirements.txt", "\npandas ", "\n-r more.txt ", r"requirements.txt:\d+: -r more.txt: no requirement"),
    ],
)
def test_a_mistake_in_the_pins_is_told_in_one_line(envs, file, old, new, told):
    edit(envs / file, old, new)
    with pytest.raises(SubterraError, match=told) as caught:
        conda_file(envs)
    assert len(str(caught.value).splitlines()) == 1
