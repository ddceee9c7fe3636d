"""Templates do nothing but fill in names; canonical JSON, digests, and files that are written whole."""

import os

import pytest
from subterra import text


class Spy(dict):
    """Values that note what was asked of them."""

    def __getattr__(self, name):
        raise AssertionError(f"the template reached for {name}")


@pytest.mark.parametrize(
    "template",
    [
        "{x.__class__}",
        "{0}",
        "{x!r}",
        "{x:>10}",
        "{x[0]}",
        "{}",
        "{ x }",
        "{x",
        "x}",
        "%(x)s",
        "$x",
        "{x-1}",
        "{é}",
    ],
)
def test_a_template_leaves_all_but_declared_names_as_they_are(template):
    assert text.fill(template, Spy(x="value")) == template and text.names(template) == ()


@pytest.mark.parametrize(
    ("template", "stray"),
    [
        ("{x} and {y_2}", ""),
        ("no name", ""),
        ("{{x}}", "{{x}}"),
        ("{x} {x!r}", "{x!r}"),
        ("{x}}", "}"),
        ("{x", "{x"),
        ("x} {y", "}"),
        ("{{x} {y}", "{{x}"),
        ("{}", "{}"),
        ("{a{b}c}", "{a"),
    ],
)
def test_the_first_braces_that_are_no_name_are_found(template, stray):
    assert text.stray_braces(template) == stray
    assert bool(stray) == any(brace in text.PLACEHOLDER.sub("", template) for brace in "{}")


def test_a_value_that_looks_like_a_template_is_not_filled_again():
    assert text.fill("{a} {b} {a}", {"a": "{b}", "b": "\\1 {a}"}) == "{b} \\1 {a} {b}"


def test_a_name_without_a_value_is_a_key_error():
    with pytest.raises(KeyError, match="city"):
        text.fill("To {city}", {})


def test_names_come_once_in_the_order_of_the_text():
    assert text.names("{b} {a} {b} {c.d}") == ("b", "a")


def test_the_canonical_form_ignores_key_order_and_keeps_letters_readable():
    assert text.canonical({"b": [1, "é"], "a": None}) == text.canonical({"a": None, "b": [1, "é"]})
    assert text.canonical({"b": [1, "é"], "a": None}) == '{"a":null,"b":[1,"é"]}'


def test_a_digest_is_the_same_for_text_bytes_and_the_data_they_write_down():
    assert text.digest('{"a":1}') == text.digest(b'{"a":1}') == text.digest({"a": 1})
    assert text.digest("") == "e3b0c44298fc1c149afb" and len(text.digest("a", 12)) == 12
    assert text.digest("a") != text.digest("b")


def test_a_fraction_lies_below_one_and_depends_on_every_part():
    lots = [text.fraction("seed", n) for n in range(2_000)]
    assert all(0 <= lot < 1 for lot in lots) and len(set(lots)) == 2_000
    assert abs(sum(lots) / 2_000 - 0.5) < 0.03
    assert text.fraction("ab", "c") != text.fraction("a", "bc") and text.fraction(1) == text.fraction("1")


def test_a_file_is_written_whole_with_its_folder(tmp_path):
    path = text.write_whole(tmp_path / "a" / "b.txt", "né")
    assert path.read_bytes() == "né".encode() and os.listdir(path.parent) == ["b.txt"]
    text.write_whole(path, b"\x00\xff")
    assert path.read_bytes() == b"\x00\xff" and path.stat().st_mode & 0o777 == 0o644


def test_a_write_that_fails_leaves_the_old_file_and_nothing_beside_it(tmp_path, monkeypatch):
    path = text.write_whole(tmp_path / "b.txt", "old")

    def interrupted(descriptor):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupted)
    with pytest.raises(KeyboardInterrupt):
        text.write_whole(path, "new")
    assert path.read_text() == "old" and os.listdir(tmp_path) == ["b.txt"]


def test_an_equal_file_keeps_its_time(tmp_path):
    path = tmp_path / "b.txt"
    assert text.write_if_changed(path, "same")
    os.utime(path, (1, 1))
    assert not text.write_if_changed(path, b"same") and path.stat().st_mtime == 1
    assert text.write_if_changed(path, "other") and path.read_text() == "other" and path.stat().st_mtime > 1


def test_json_for_people_is_sorted_indented_and_ends_its_last_line():
    assert text.pretty({"b": "é", "a": [1]}) == '{\n  "a": [\n    1\n  ],\n  "b": "é"\n}\n'
