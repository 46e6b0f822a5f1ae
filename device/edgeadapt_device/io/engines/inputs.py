"""From frames to what a model takes: scale, order of axes, integers.

An image frame [H, W, C] uint8 becomes float32 in [0, 1], in the order of the artifact's axes; an array frame
is only reordered. A model with an integer input gets round(x / scale) + zero point. Everything is written
into an array that the caller keeps, as a fresh one of half a megabyte costs more than the arithmetic.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from edgeadapt.bundle import Bundle
from edgeadapt.bundle.manifest import InputSpec
from edgeadapt.errors import ConfigError, TransportError
from edgeadapt_device.io.engines.base import Frames

Layout = str
Fill = Callable[[Frames, npt.NDArray[Any]], None]
"""Writes frames [N, ...] into the model's input array [N, ...]."""

_LEVELS = np.float32(255)


def check_shape(bundle: Bundle, shape: tuple[int, ...]) -> None:
    """Raises ConfigError unless frames of `shape` are what the bundle's model takes."""
    spec = bundle.manifest.input
    if tuple(shape) != spec.frame_shape:
        axes = "(height, width, channels)" if spec.kind == "image" else "shape"
        raise ConfigError(
            f"the source gives frames of {axes} {tuple(shape)}, but bundle {bundle.manifest.name} "
            f"takes {spec.frame_shape}: resize the frames, or compile a model for theirs"
        )


class Frame:
    """What one frame must be; made once, because it is asked for every frame."""

    def __init__(self, spec: InputSpec) -> None:
        self._shape, self._dtype = spec.frame_shape, np.dtype(spec.frame_dtype)

    def check(self, frames: Frames) -> None:
        """Raises TransportError unless `frames` are one or more of them."""
        if frames.shape[1:] != self._shape or frames.dtype != self._dtype or not len(frames):
            raise TransportError(
                f"the model takes frames [N, {', '.join(map(str, self._shape))}] of {self._dtype}, "
                f"got {list(frames.shape)} of {frames.dtype}"
            )

    def blank(self) -> Frames:
        """[1, ...] zeros."""
        return np.zeros((1, *self._shape), self._dtype)


def model_shape(spec: InputSpec, layout: Layout) -> tuple[int, ...]:
    """Shape of the model's input without the batch axis."""
    channels, *positions = spec.shape
    return (*positions, channels) if layout == "NHWC" else spec.shape


def float_fill(spec: InputSpec, layout: Layout) -> Fill:
    """How frames get into a float32 input."""
    order = _order(spec, layout)

    def image(frames: Frames, out: npt.NDArray[Any]) -> None:
        np.copyto(out, frames.transpose(order), casting="unsafe")
        np.divide(out, _LEVELS, out=out)

    def array(frames: Frames, out: npt.NDArray[Any]) -> None:
        np.copyto(out, frames.transpose(order))

    return image if spec.kind == "image" else array


def integer_fill(spec: InputSpec, layout: Layout, scale: float, zero: int, dtype: npt.DTypeLike) -> Fill:
    """How frames get into an int8 or uint8 input with q = round(x / scale) + zero."""
    order = _order(spec, layout)
    limits = np.iinfo(dtype)

    def quantised(x: npt.NDArray[np.float32]) -> npt.NDArray[Any]:
        rounded = np.rint(x / np.float32(scale)) + zero
        result: npt.NDArray[Any] = np.clip(rounded, limits.min, limits.max).astype(dtype)
        return result

    table = quantised(np.arange(256, dtype=np.float32) / _LEVELS)

    def image(frames: Frames, out: npt.NDArray[Any]) -> None:
        np.copyto(out, table[frames].transpose(order))

    def array(frames: Frames, out: npt.NDArray[Any]) -> None:
        np.copyto(out, quantised(frames).transpose(order))

    return image if spec.kind == "image" else array


def _order(spec: InputSpec, layout: Layout) -> tuple[int, ...]:
    """Axes of a batch of frames in the order of the model's."""
    rank = len(spec.shape) + 1
    last = layout == "NHWC"
    if spec.kind == "image":
        return (0, 1, 2, 3) if last else (0, 3, 1, 2)
    return (0, *range(2, rank), 1) if last else tuple(range(rank))
