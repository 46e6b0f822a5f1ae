"""One tiny compiled bundle for all tests of the device."""

from __future__ import annotations

import pytest

from edgeadapt.bundle import Bundle
from edgeadapt_models.compile import tiny_bundle


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """28x28x1, 10 classes, two BatchNorm layers, run by the real ONNX Runtime."""
    return tiny_bundle(tmp_path_factory.mktemp("device") / "bundle")
