"""One tiny bundle with a model for every engine."""

from __future__ import annotations

import pytest

from edgeadapt.bundle import Bundle
from edgeadapt_models.compile import tiny_images
from edgeadapt_models.compile.runtime import to_input
from edgeadapt_models.compile.targets import TargetRequest, extend

_ALL = TargetRequest(frozenset({"onnx", "tflite"}), int8=True)


@pytest.fixture(scope="session")
def both(tiny: Bundle) -> Bundle:
    """28x28x1, 10 classes, two BatchNorm layers; for ONNX Runtime and LiteRT, in float32 and int8."""
    return extend(tiny, _ALL, to_input(tiny_images(256)[0])).bundle
