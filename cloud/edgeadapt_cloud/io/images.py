"""Stored samples to pixels. The codec is recognised by its first bytes; raw samples have none."""

from __future__ import annotations

import io
import warnings

import numpy as np
from PIL import Image, UnidentifiedImageError

from edgeadapt.bundle.manifest import InputSpec
from edgeadapt_cloud.core.jobs.job import ImageArray

_MODES = {1: "L", 3: "RGB"}


def decode_image(data: bytes, spec: InputSpec) -> ImageArray | None:
    """One sample as [H, W, C] uint8; None when it cannot be read or has another shape."""
    if not data.startswith((b"\x89PNG", b"\xff\xd8\xff")):
        return _raw(data, spec)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(data), formats=("PNG", "JPEG")) as image:
                if image.size != (spec.width, spec.height) or spec.channels not in _MODES:
                    return None
                pixels = np.asarray(image.convert(_MODES[spec.channels]), dtype=np.uint8)
    except (
        UnidentifiedImageError,
        OSError,
        ValueError,
        SyntaxError,
        Image.DecompressionBombError,
        Image.DecompressionBombWarning,
    ):
        return None
    return pixels.reshape(spec.height, spec.width, spec.channels)


def _raw(data: bytes, spec: InputSpec) -> ImageArray | None:
    shape = (spec.height, spec.width, spec.channels)
    if len(data) != spec.height * spec.width * spec.channels:
        return None
    return np.frombuffer(data, dtype=np.uint8).reshape(shape)
