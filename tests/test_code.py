"""A digest of what code does: form does not show in it, a changed line does, here and in what is imported."""

import textwrap

import pytest
from subterra import code

MAIN = '''\
"""Adds."""

from subterra import low
from subterra.deep.well import water
import json


class Sum:
    """Of two."""

    def of(self, a, b):
        """Return it."""
        # The reason.
        return low.add(a, b) + len(water(f"{a}")) + json.loads("1")
'''
LOW = "def add(a, b):\n    return a + b\n"
WELL = '"""Deep."""\n\n\ndef water(word):\n    from subterra.deep import spring\n\n    return spring.WATER * 2 + word\n'
SPRING = 'WATER = "w"\n'


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package in place of ours: main imports low and deep.well, which imports deep.spring; alone is by itself."""
    root = tmp_path / "subterra"
    (root / "deep").mkdir(parents=True)
    texts = {"main": MAIN, "low": LOW, "deep/well": WELL, "deep/spring": SPRING, "alone": "X = 1\n"}
    for name, text in (texts | {"__init__": "", "deep/__init__": ""}).items():
        (root / f"{name}.py").write_text(text)
    monkeypatch.setattr(code, "ROOT", tmp_path)
    code._read.cache_clear()
    yield root
    code._read.cache_clear()


def digest(*modules: str) -> str:
    """Return the digest as a new process sees it."""
    code._read.cache_clear()
    return code.code_digest(*(modules or ("subterra.main",)))


FORM = {
    "a comment": ("# The reason.", "# Another reason."),
    "a new comment": ("import json", "import json  # to read"),
    "a module's docstring": ('"""Adds."""', '"""Adds numbers."""'),
    "no docstring": ('    """Of two."""\n\n', ""),
    "a function's docstring": ('"""Return it."""', '"""Return\n\n        it all."""'),
    "the layout": ("return low.add(a, b) + ", "return low.add(\n            a,\n            b,\n        ) + "),
    "quotes": ('loads("1")', "loads('1')"),
}
CHANGE = {
    "an argument": ('loads("1")', 'loads("2")'),
    "an operator": (") + len", ") - len"),
    "a default": ("a, b):", "a, b=0):"),
    "a name": ("def of(", "def off("),
    "a new line": ("import json\n", "import json\n\nY = 2\n"),
    "a text that is no docstring": ('f"{a}"', 'f"{a}."'),
}


@pytest.mark.parametrize("what", FORM)
def test_a_change_of_form_keeps_the_digest(package, what):
    before = digest()
    assert MAIN.count(FORM[what][0]) == 1
    (package / "main.py").write_text(MAIN.replace(*FORM[what]))
    assert digest() == before


@pytest.mark.parametrize("what", CHANGE)
def test_a_changed_line_changes_the_digest(package, what):
    before = digest()
    assert MAIN.count(CHANGE[what][0]) == 1
    (package / "main.py").write_text(MAIN.replace(*CHANGE[what]))
    assert digest() != before


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("low", "a + b", "b + a"),
        ("deep/well", "* 2", "* 3"),
        ("deep/spring", '"w"', '"v"'),
        ("deep/__init__", "", "Z = 1"),
    ],
)
def test_a_changed_line_shows_in_every_module_that_imports_it(package, file, old, new):
    before, alone = digest(), digest("subterra.alone")
    text = (package / f"{file}.py").read_text()
    (package / f"{file}.py").write_text(text.replace(old, new))
    assert digest() != before and digest("subterra.alone") == alone


def test_a_module_that_is_not_imported_does_not_show(package):
    before = digest()
    (package / "alone.py").write_text("X = 2\n")
    assert digest() == before and digest("subterra.alone") != digest("subterra.low")


RELATIVE = {
    "main": ("from subterra.deep.well import water", "from .deep.well import water"),
    "deep/well": ("from subterra.deep import spring", "from . import spring"),
    "deep/spring": ('WATER = "w"', "from ..low import add as WATER"),
    "deep/__init__": ("", "from ..low import add"),
}


@pytest.mark.parametrize("file", RELATIVE)
def test_a_relative_import_is_followed(package, file):
    (package / "main.py").write_text(MAIN.replace("from subterra import low\n", ""))
    text = (package / f"{file}.py").read_text()
    (package / f"{file}.py").write_text(text.replace(*RELATIVE[file]))
    seen = "low" if "low" in RELATIVE[file][1] else "deep/spring"
    before = digest()
    with (package / f"{seen}.py").open("a") as added:
        added.write("Y = 2\n")
    assert digest() != before


def test_modules_that_import_each_other_have_a_digest(package):
    (package / "low.py").write_text(LOW + "\n\ndef back():\n    from subterra import main\n\n    return main\n")
    before = digest()
    (package / "main.py").write_text(MAIN.replace("+ len", "- len"))
    assert digest("subterra.low") == digest() != before


def test_the_order_of_modules_does_not_matter_and_each_does(package):
    both = digest("subterra.low", "subterra.alone")
    assert both == digest("subterra.alone", "subterra.low") == digest("subterra.alone", "subterra.low", "subterra.low")
    assert len({both, digest("subterra.low"), digest("subterra.alone")}) == 3


def test_a_template_is_part_of_the_module_that_reads_it(package):
    page = textwrap.dedent("""
        from pathlib import Path

        PAGE = Path(__file__).with_name("page.html.j2").read_text()
    """)
    (package / "page.py").write_text(page)
    (package / "page.html.j2").write_text("<p>")
    before, other = digest("subterra.page"), digest()
    (package / "page.html.j2").write_text("<b>")
    assert digest("subterra.page") != before and digest() == other


def test_every_module_of_ours_has_a_digest():
    files = [file.relative_to(code.ROOT).with_suffix("") for file in (code.ROOT / "subterra").rglob("*.py")]
    names = [".".join(file.parts).removesuffix(".__init__") for file in files]
    assert len({code.code_digest(name) for name in names}) > 20


def test_a_stage_reaches_the_modules_it_is_made_of():
    reached, waiting = set(), ["subterra.plan"]
    while waiting:
        reached.add(module := waiting.pop())
        waiting += [name for name in code._read(module)[1] if name not in reached]
    assert {"subterra.paths", "subterra.checker", "subterra.soundness", "subterra.text"} <= reached
    assert "subterra.training.train" not in reached


# -- folders ---------------------------------------------------------------------------------------------------------


def test_a_folder_is_known_by_the_names_and_contents_of_its_files(tmp_path):
    seen = []
    for name, text in (("a", "1"), ("a", "2"), ("deep/b", "1"), ("deep/b", ""), ("deep/c", "")):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
        seen.append(code.folder_digest(str(tmp_path)))
    (tmp_path / "deep" / "c").unlink()
    assert len(set(seen)) == 5 and code.folder_digest(str(tmp_path)) == seen[3]


def test_a_folder_is_the_same_wherever_it_lies(tmp_path):
    for name in ("here", "there"):
        (tmp_path / name / "deep").mkdir(parents=True)
        (tmp_path / name / "deep" / "a").write_text("1")
    assert code.folder_digest(str(tmp_path / "here")) == code.folder_digest(str(tmp_path / "there"))


def test_the_card_of_a_folder_does_not_count(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    before = code.folder_digest(str(tmp_path))
    (tmp_path / "README.md").write_text("A card.")
    assert code.folder_digest(str(tmp_path)) == before


def test_what_is_no_folder_has_no_digest():
    assert code.folder_digest("HuggingFaceTB/SmolLM2-135M-Instruct") == ""
