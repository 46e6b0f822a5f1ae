"""What is changed in a picture before it leaves: blurred parts, a smaller size, what a plug-in does.

A redactor is any callable from [H, W, C] uint8 to the same shape and type, installed under the entry point
group `edgeadapt.redactors` (`faces = "my_package:blur_faces"`). It sees every picture that is to leave. One
that raises, or gives back something else, keeps the picture on the device.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from importlib.metadata import entry_points
from itertools import pairwise

import msgspec
import numpy as np

from edgeadapt.digest import sha256_hex
from edgeadapt.errors import ConfigError
from edgeadapt_device.config import PrivacySection
from edgeadapt_device.core.events import Image
from edgeadapt_device.io.leaving.door import Withheld

GROUP = "edgeadapt.redactors"
Redactor = Callable[[Image], Image]
# A blurred part keeps the means of so many cells, across and down: a colour, and no features.
_CELLS = 2
# Least length of a side that is cut into cells: of a few pixels each they would show those pixels.
_CUT_PIXELS = 8


class Redaction:
    """What the configuration wants done to a picture.

    Attributes:
        stamp: tells one set of rules from another; "" when there is none.
    """

    def __init__(self, privacy: PrivacySection) -> None:
        """Raises ConfigError when the redactor is not installed or cannot be loaded."""
        self._blurred, self._max_side = privacy.blurred, privacy.max_side
        rules = (privacy.blurred, privacy.max_side, privacy.redactor)
        self.stamp = sha256_hex(msgspec.json.encode(rules)) if any(rules) else ""
        self._redactor = load_redactor(privacy.redactor) if privacy.redactor else None

    def apply(self, image: Image) -> Image:
        """A picture [H, W, C] uint8 that may leave, perhaps a smaller one; raises Withheld when none may."""
        if image.dtype != np.uint8:
            if self._blurred or self._max_side or self._redactor is not None:
                raise Withheld("the privacy switches for pictures say nothing about arrays")
            return image
        if self._blurred:
            image = image.copy()
            for part in self._blurred:
                _blur(image, part)
        if self._redactor is not None:
            image = _redacted(self._redactor, image)
        longer = max(image.shape[:2])
        if self._max_side and longer > self._max_side:
            image = shrunk(image, self._max_side / longer)
        return image


def load_redactor(name: str) -> Redactor:
    """An installed redactor; raises ConfigError that lists the known ones."""
    points = entry_points(group=GROUP)
    chosen = [point for point in points if point.name == name]
    if not chosen:
        known = ", ".join(sorted({point.name for point in points})) or "none"
        raise ConfigError(f"privacy.redactor: {name!r} is not installed (group {GROUP}); known: {known}")
    try:
        redactor = chosen[0].load()
    except Exception as error:  # A plug-in may fail in any way.
        raise ConfigError(f"privacy.redactor: {name!r} cannot be loaded: {error}") from error
    if not callable(redactor):
        raise ConfigError(f"privacy.redactor: {name!r} is not callable")
    return redactor  # type: ignore[no-any-return]


def _redacted(redactor: Redactor, image: Image) -> Image:
    # It may write into what it gets, which others still use.
    try:
        result = redactor(image.copy())
    except Exception as error:  # A plug-in may fail in any way, and must not let the picture out.
        raise Withheld(f"the redactor failed: {error!r}") from error
    if not isinstance(result, np.ndarray) or result.dtype != np.uint8 or result.shape != image.shape:
        raise Withheld(f"the redactor gave no picture of shape {image.shape}, 8 bits")
    return result


def _blur(image: Image, part: tuple[float, float, float, float]) -> None:
    """Replace a part of the picture by the means of few cells, in place; edges are rounded outwards."""
    height, width = image.shape[:2]
    left, top = int(part[0] * width), int(part[1] * height)
    right, bottom = math.ceil(part[2] * width), math.ceil(part[3] * height)
    rows, columns = _cuts(top, bottom), _cuts(left, right)
    for y, y_end in pairwise(rows):
        for x, x_end in pairwise(columns):
            cell = image[y:y_end, x:x_end]
            cell[:] = cell.mean(axis=(0, 1)).round()


def _cuts(first: int, end: int) -> list[int]:
    cells = _CELLS if end - first >= _CUT_PIXELS else 1
    return [first + (end - first) * number // cells for number in range(cells + 1)]


def shrunk(image: Image, scale: float) -> Image:
    """A smaller picture [h, w, C], each of its pixels the mean of those that it covers."""
    from PIL import Image as PillowImage

    height, width, channels = image.shape
    size = (max(round(width * scale), 1), max(round(height * scale), 1))
    planes = [
        np.asarray(PillowImage.fromarray(image[:, :, c]).resize(size, PillowImage.Resampling.BOX))
        for c in range(channels)
    ]
    return np.stack(planes, axis=2)
