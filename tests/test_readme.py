"""What the README shows is true: its spec is one, its mistake reads like that, its files are there."""

import re
import textwrap
from pathlib import Path

import pytest
from subterra.checker import check_spec
from subterra.errors import SpecError
from subterra.paths import derive

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
SPEC = textwrap.dedent(
    re.search(r"```yaml\n(.*?)```", README, re.DOTALL).group(1).replace("\n   ", "\n").removeprefix("   ")
)


def test_the_spec_in_the_readme_is_one(tmp_path):
    file = tmp_path / "my_agent.yaml"
    file.write_text(SPEC, encoding="utf-8")
    assert derive(check_spec(file), 100).count == 2


def test_the_mistake_in_the_readme_is_told_like_that(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    file = Path("specs/my_agent.yaml")
    file.parent.mkdir()
    file.write_text(SPEC.replace("to: answer", "to: anser", 1), encoding="utf-8")
    with pytest.raises(SpecError) as told:
        check_spec(file)
    assert re.search(r"^specs/my_agent\.yaml:\d+: .*$", README, re.MULTILINE).group(0) in told.value.lines


def test_every_file_that_the_readme_links_to_is_there():
    links = re.findall(r"\]\(([^)#]+)\)", README)
    assert links and all((ROOT / link).exists() for link in links)


@pytest.mark.parametrize(
    ("agent", "nodes", "hubs", "ends", "paths"),
    [("travel_booking", 14, 3, 3, 86), ("zoom_support", 14, 3, 3, 60), ("insurance_claims", 55, 6, 5, 2_381)],
)
def test_the_paths_of_the_shipped_specs_are_those_of_the_paper(agent, nodes, hubs, ends, paths):
    flowchart = check_spec(ROOT / "specs" / f"{agent}.yaml")
    assert (len(flowchart.nodes), len(flowchart.hubs), len(flowchart.ends)) == (nodes, hubs, ends)
    assert (flowchart.rule, derive(flowchart, 5_000).count) == ("trail", paths)
