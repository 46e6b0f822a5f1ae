"""Frames to bytes for the outbox. Lossless: the teacher must see what the device saw."""

from __future__ import annotations

from edgeadapt.bundle.manifest import InputSpec
from edgeadapt.errors import ConfigError
from edgeadapt_device.core.events import Image
from edgeadapt_device.io.png import png

_CHANNELS = (1, 3)


def check_encodable(spec: InputSpec) -> None:
    """Raises ConfigError when frames such as the model takes can never be uploaded."""
    if spec.kind != "image" or spec.channels not in _CHANNELS:
        what = f"frames with {spec.channels} channels" if spec.kind == "image" else "arrays"
        raise ConfigError(
            f"{what} cannot be uploaded, only pictures with 1 or 3 channels: "
            "set flagging.enabled = false, and the device adapts by itself"
        )


def encode_png(image: Image) -> bytes:
    """A [H, W, C] uint8 frame with 1 or 3 channels as PNG; raises ConfigError on other shapes."""
    if image.ndim != 3 or image.shape[2] not in _CHANNELS:
        raise ConfigError(f"a frame of shape {image.shape} cannot become a PNG: expected [H, W, 1 or 3]")
    return png(image)
