"""The examples in docstrings are true."""

import doctest
import importlib
import pkgutil

import pytest
import subterra

MODULES = [module.name for module in pkgutil.walk_packages(subterra.__path__, "subterra.")]


@pytest.mark.parametrize("module", MODULES)
def test_the_examples_of_a_module_are_true(module):
    assert doctest.testmod(importlib.import_module(module)).failed == 0
