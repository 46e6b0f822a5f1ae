"""Frames as PNG files, checked. How a sample is encoded is `io.leaving`'s business."""

from __future__ import annotations

from edgeadapt.errors import ConfigError
from edgeadapt_device.core.events import Image
from edgeadapt_device.io.png import png

_CHANNELS = (1, 3)


def encode_png(image: Image) -> bytes:
    """A [H, W, C] uint8 frame with 1 or 3 channels as PNG; raises ConfigError on other shapes."""
    if image.ndim != 3 or image.shape[2] not in _CHANNELS:
        raise ConfigError(f"a frame of shape {image.shape} cannot become a PNG: expected [H, W, 1 or 3]")
    return png(image)
