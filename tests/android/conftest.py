"""Fixture: a real bundle for tests that run a model."""

from __future__ import annotations

import os

import pytest
import trained

from export.bundle import Bundle, load_bundle


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """Bundle of a briefly trained student, see :mod:`trained`. ``APP_BUNDLE=FOLDER`` takes another, for good screenshots."""
    if folder := os.environ.get("APP_BUNDLE"):
        return load_bundle(folder)
    pytest.importorskip("torch")
    pytest.importorskip("tensorflow")
    return load_bundle(trained.make_bundle(tmp_path_factory.mktemp("android")))
