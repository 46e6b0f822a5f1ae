"""The arithmetic of each write, in place, on arrays that view a model's bytes.

Formulas are those in the docstrings of `bundle.writes`. Products are taken in float64 and rounded once, so
that every runtime is given the same float32 values. Nothing here knows about files.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from edgeadapt.bundle.manifest import NormLayer
from edgeadapt.bundle.writes import (
    Affine,
    ConvAdapter,
    Copy,
    FoldNorm,
    FoldNormInt8,
    HeadShift,
    LowRank,
    Prompt,
    Region,
    Write,
)
from edgeadapt.errors import BundleError

Array64 = npt.NDArray[np.float64]
View = Callable[[Region], npt.NDArray[Any]]
"""A writable array over a region of the model."""
Value = Callable[[str], Array64]
"""A slot's value."""

# An int32 bias leaves room for the products that are added to it: 33,000 of the largest.
_BIAS_LIMIT = 2**30
# Smallest step of an int8 kernel and its bias: a normal float32 with room below.
_MIN_STEP = 1e-30
_W = TypeVar("_W")


def apply(write: Write, layer: NormLayer | None, view: View, value: Value) -> None:
    """Run one write; raises BundleError when the values cannot be written (an int8 sign would turn)."""
    if isinstance(write, Copy):
        target = view(write.at)
        given = value(write.slot)
        target[...] = (given.T if write.transposed else given).reshape(target.shape)
    elif _adds_nothing(write, value):
        return
    elif isinstance(write, LowRank):
        _add(view(write.weight), value(write.up) @ value(write.down), transposed=write.transposed)
    elif isinstance(write, HeadShift):
        weight = view(write.weight).astype(np.float64)
        bias = view(write.bias)
        bias[...] = bias + (weight.T if write.transposed else weight) @ value(write.slot)
    elif isinstance(write, ConvAdapter):
        _conv_adapter(write, view, value)
    elif isinstance(write, Prompt):
        _prompt(write, view, value)
    else:
        assert layer is not None
        _fold(write, layer, view, value)


def _adds_nothing(write: Write, value: Value) -> bool:
    """Whether what is added is zero: at the base of most bundles, and so each time statistics have moved."""
    if isinstance(write, LowRank):
        return not value(write.up).any()
    return isinstance(write, ConvAdapter | HeadShift | Prompt) and not value(write.slot).any()


def gain_and_shift(layer: NormLayer, value: Value) -> tuple[Array64, Array64]:
    """(a, b) [C] with which a layer with running statistics gives a * x + b."""
    gain = value(layer.scale) / np.sqrt(value(layer.var) + layer.epsilon)
    return gain, value(layer.bias) - value(layer.mean) * gain


def _fold(write: FoldNorm | Affine | FoldNormInt8, layer: NormLayer, view: View, value: Value) -> None:
    gain, shift = gain_and_shift(layer, value)
    if isinstance(write, Affine):
        scale, at = view(write.scale), view(write.shift)
        scale[...], at[...] = gain.reshape(scale.shape), shift.reshape(at.shape)
    elif isinstance(write, FoldNorm):
        weight, bias = view(write.weight), view(write.bias)
        along = [1] * weight.ndim
        along[write.axis] = -1
        weight[...] = weight * gain.reshape(along)
        bias[...] = bias * gain.reshape(bias.shape) + shift.reshape(bias.shape)
    else:
        _fold_int8(write, gain, shift, view)


def _fold_int8(write: FoldNormInt8, gain: Array64, shift: Array64, view: View) -> None:
    sign = np.ones_like(gain)
    sign[list(write.negative)] = -1.0
    turned = np.flatnonzero(gain * sign < 0)
    if turned.size:
        raise BundleError(
            f"norm layer {write.layer}: channel {int(turned[0])} would change its sign, "
            "which is in the int8 weights"
        )
    scale, integers = view(write.weight_scale), view(write.bias)
    raw = integers.view("<f4").astype(np.float64)
    bias = raw * gain + shift
    # A channel that is all but switched off keeps a scale with which its bias fits into the integers.
    smallest = np.maximum(np.abs(bias) / (write.input_scale * _BIAS_LIMIT), _MIN_STEP / write.input_scale)
    # The steps are taken from the scale as it is stored, so that bias and weights agree.
    scale[...] = np.maximum(scale * np.abs(gain), np.maximum(smallest, _MIN_STEP))
    step = write.input_scale * scale.astype(np.float64)
    if write.bias_scale is not None:
        stored = view(write.bias_scale)
        stored[...] = step
        step = stored.astype(np.float64)
    integers[...] = np.clip(np.rint(bias / step), -_BIAS_LIMIT, _BIAS_LIMIT).astype(np.int32)


def _add(weight: npt.NDArray[Any], change: Array64, *, transposed: bool) -> None:
    weight[...] = weight + (change.T if transposed else change)


def _conv_adapter(write: ConvAdapter, view: View, value: Value) -> None:
    weight = view(write.weight)
    centre = tuple(
        weight.shape[axis] // 2 if axis in write.spatial_axes else slice(None) for axis in range(weight.ndim)
    )
    _add(weight[centre], value(write.slot), transposed=write.transposed)


def _prompt(write: Prompt, view: View, value: Value) -> None:
    target = view(write.at)
    channels_first = target if write.layout == "NCHW" else np.moveaxis(target, -1, 0)
    spread = expand_prompt(value(write.slot), write.form, channels_first.shape, write.border)
    channels_first[...] = channels_first + spread * np.asarray(write.gain)[:, None, None]


def expand_prompt(prompt: Array64, form: str, shape: tuple[int, ...], border: int = 0) -> Array64:
    """A prompt slot at the size of the input [C, H, W]; forms as in `writes.Prompt`."""
    if form == "full":
        return prompt.reshape(shape)
    channels, height, width = shape
    if form == "border":
        out = np.zeros(shape)
        out[:, border_mask(height, width, border)] = prompt
        return out
    rows = _interpolation(prompt.shape[1], height)
    columns = _interpolation(prompt.shape[2], width)
    spread: Array64 = rows @ prompt.reshape(channels, *prompt.shape[1:]) @ columns.T
    return spread


def border_mask(height: int, width: int, border: int) -> npt.NDArray[np.bool_]:
    """[H, W] True on a frame of `border` pixels width."""
    mask = np.ones((height, width), dtype=np.bool_)
    mask[border : height - border, border : width - border] = False
    return mask


def _interpolation(source: int, target: int) -> Array64:
    """[target, source] weights of linear interpolation with half-pixel centres and clamped edges."""
    position = np.clip((np.arange(target) + 0.5) * source / target - 0.5, 0, source - 1)
    low = np.floor(position).astype(int)
    high = np.minimum(low + 1, source - 1)
    part = position - low
    weights = np.zeros((target, source))
    weights[np.arange(target), low] += 1.0 - part
    weights[np.arange(target), high] += part
    return weights
