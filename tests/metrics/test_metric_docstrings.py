"""The examples in the docstrings of the metrics run."""

from __future__ import annotations

import doctest
import importlib
import pkgutil

import pytest

import distill.metrics


@pytest.mark.parametrize("module", [m.name for m in pkgutil.iter_modules(distill.metrics.__path__)])
def test_docstring_examples(module):
    assert doctest.testmod(importlib.import_module(f"distill.metrics.{module}")).failed == 0
