"""The examples in docstrings are true."""

import doctest
import importlib

import pytest

MODULES = [
    "checker",
    "conformance",
    "errors",
    "flowchart",
    "layout",
    "paths",
    "picture",
    "progress",
    "soundness",
    "spec_file",
    "statistics",
    "text",
]


@pytest.mark.parametrize("module", MODULES)
def test_the_examples_of_a_module_are_true(module):
    assert doctest.testmod(importlib.import_module(f"subterra.{module}")).failed == 0
