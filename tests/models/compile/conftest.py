"""Bundles that many tests read and none changes."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgeadapt.bundle import Bundle
from edgeadapt_models.compile import tiny_bundle


@pytest.fixture(scope="session")
def batch_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the tiny BatchNorm bundle (seed 0)."""
    folder = tmp_path_factory.mktemp("compile") / "batch"
    tiny_bundle(folder)
    return folder


@pytest.fixture(scope="session")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Bundle]:
    """The tiny bundles (seed 0) by the kind of their norm layers."""
    folder = tmp_path_factory.mktemp("compile-bundles")
    return {"batch": tiny_bundle(folder / "batch"), "layer": tiny_bundle(folder / "layer", norm="layer")}
