"""Inputs, files and readers for the tests of sources."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edgeadapt.bundle import InputSpec
from edgeadapt_device.io.samples import encode_png
from edgeadapt_device.io.sources.base import Frame, Source

GREY = InputSpec((1, 8, 8))
COLOUR = InputSpec((3, 8, 8))
SERIES = InputSpec((2, 5), kind="array")
_RNG = np.random.default_rng(3)


def images(count: int, channels: int = 3, side: int = 8) -> npt.NDArray[np.uint8]:
    """Noise [count, side, side, channels]."""
    return _RNG.integers(0, 256, (count, side, side, channels), dtype=np.uint8)


def put(path: Path, image: npt.NDArray[np.uint8]) -> None:
    """A picture as a PNG file."""
    path.write_bytes(encode_png(image))


def never(seconds: float) -> bool:
    """A pause that takes no time, of a reader that nobody asks to end."""
    return False


def given(source: Source, start: int = 0) -> Iterator[Frame]:
    """What a source gives, without the pauses."""
    return (frame for frame in source.frames(start, never) if frame is not None)


class Clock:
    """Monotonic seconds that pass when a test says so, or when somebody pauses."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        """The moment."""
        return self.now_s

    def pause(self, seconds: float) -> bool:
        """A pause that takes the time it should, at once."""
        self.now_s += seconds
        return False
