"""One tiny bundle with a model for every engine."""

from __future__ import annotations

import pytest

from edgeadapt.bundle import Bundle
from tests.device.io.engines.bundles import with_tflite


@pytest.fixture(scope="session")
def both(tiny: Bundle) -> Bundle:
    """28x28x1, 10 classes, two BatchNorm layers; ONNX and LiteRT, float32."""
    return with_tflite(tiny)
