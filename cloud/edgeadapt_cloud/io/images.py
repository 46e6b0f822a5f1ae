"""Stored samples to pixels. The codec is recognised by its first bytes; raw samples have none.

A picture that a device made smaller is brought back to the model's size. Arrays and samples without a
picture are no pixels, and are left out. Which samples are as the device saw them says `is_lossless`.
"""

from __future__ import annotations

import io
import warnings

import numpy as np
from PIL import Image, UnidentifiedImageError

from edgeadapt.bundle.manifest import InputSpec
from edgeadapt_cloud.core.jobs.job import ImageArray

_MODES = {1: "L", 3: "RGB"}


def decode_image(data: bytes, spec: InputSpec) -> ImageArray | None:
    """One sample as [H, W, C] uint8; None when it cannot be read, is larger, or is no picture."""
    if spec.kind != "image":
        return None
    if not data.startswith((b"\x89PNG", b"\xff\xd8\xff")):
        return _raw(data, spec)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(data), formats=("PNG", "JPEG")) as image:
                wanted = (spec.width, spec.height)
                too_large = image.width > spec.width or image.height > spec.height
                if too_large or not in_proportion(image.size, wanted) or spec.channels not in _MODES:
                    return None
                picture = image.convert(_MODES[spec.channels])
                if picture.size != wanted:
                    picture = picture.resize(wanted, Image.Resampling.BICUBIC)
                pixels = np.asarray(picture, dtype=np.uint8)
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


def in_proportion(found: tuple[int, int], wanted: tuple[int, int]) -> bool:
    """True when a size is the wanted one at some scale, but for rounding."""
    scale = max(found[0] / wanted[0], found[1] / wanted[1])
    return all(abs(f - scale * w) <= 1.0 for f, w in zip(found, wanted, strict=True))


def is_lossless(data: bytes, spec: InputSpec) -> bool:
    """True when the sample's pixels are those that the device saw, as far as its bytes tell."""
    if data.startswith(b"\xff\xd8\xff"):
        return False
    if data.startswith(b"\x89PNG"):
        return data[16:24] == spec.width.to_bytes(4, "big") + spec.height.to_bytes(4, "big")
    return True


def _raw(data: bytes, spec: InputSpec) -> ImageArray | None:
    shape = (spec.height, spec.width, spec.channels)
    if len(data) != spec.height * spec.width * spec.channels:
        return None
    return np.frombuffer(data, dtype=np.uint8).reshape(shape)
