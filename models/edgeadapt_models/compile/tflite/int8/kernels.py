"""Weights and biases of integer kernels.

    weights  int8 per output channel, symmetric: real = q * scale[channel]
    bias     int32, real = q * input scale * scale[channel]

Where a norm layer is folded in, the raw weights are rounded with the sign that the layer's gain has at the
base; the bias holds its raw float32 bits until a device folds the layer (`FoldNormInt8`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from ai_edge_litert import schema_py_generated as schema

from edgeadapt.bundle import NormLayer, SlotValues
from edgeadapt.bundle.folds import gain_and_shift
from edgeadapt.tensors import FloatArray
from edgeadapt_models.compile.quantise.qparams import ActivationParams, quantise_weights
from edgeadapt_models.compile.tflite.file.program import Quantisation

_LARGEST_BIAS = 2**30
_Fused = schema.ActivationFunctionType
_CUTS: Mapping[int, tuple[float, float]] = {
    _Fused.RELU: (0.0, math.inf),
    _Fused.RELU6: (0.0, 6.0),
    _Fused.RELU_N1_TO_1: (-1.0, 1.0),
}


@dataclass(frozen=True, slots=True)
class FloatKernel:
    """What an integer kernel is made of.

    Attributes:
        weights: key of its weights.
        bias: key of its bias.
        axis: axis of the output channels.
        layer: the norm layer that is folded in, or None.
    """

    weights: str
    bias: str
    axis: int
    layer: NormLayer | None


@dataclass(frozen=True, slots=True)
class IntegerKernel:
    """Constants of an integer kernel.

    Attributes:
        source: what it was made of.
        weights: int8.
        bias: int32.
        weight_scales: of the weights.
        bias_scales: of the bias.
        input_scale: of what the kernel takes.
        negative: channels whose sign is in the weights.
        low, high: ends of what its result can hold; None where an activation cuts values beyond anyway.
    """

    source: FloatKernel
    weights: npt.NDArray[np.int8]
    bias: npt.NDArray[np.int32]
    weight_scales: Quantisation
    bias_scales: Quantisation
    input_scale: float
    negative: tuple[int, ...]
    low: float | None
    high: float | None


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What is known of an integer kernel's input and result.

    Attributes:
        input_scale: of the integers that it takes.
        result: how its result is held.
        activation: what is fused to it, of the schema's `ActivationFunctionType`.
    """

    input_scale: float
    result: ActivationParams
    activation: int

    @property
    def ends(self) -> tuple[float | None, float | None]:
        """What the result can hold; None where the activation cuts before that."""
        low, high = _CUTS.get(self.activation, (-math.inf, math.inf))
        return (
            None if low >= self.result.low else self.result.low,
            None if high <= self.result.high + self.result.scale else self.result.high,
        )


def integer_kernel(
    kernel: FloatKernel, weights: FloatArray, bias: FloatArray, around: Surroundings, base: SlotValues
) -> IntegerKernel:
    """Round a kernel.

    Args:
        kernel: what it is.
        weights, bias: raw values.
        around: its input and its result.
        base: base values of the slots.
    """
    negative = np.zeros(len(bias), np.bool_)
    if kernel.layer is not None:
        gain, _ = gain_and_shift(kernel.layer, lambda name: base[name].astype(np.float64))
        negative = gain < 0
    along = [1] * weights.ndim
    along[kernel.axis] = -1
    sign = np.where(negative, -1.0, 1.0).astype(np.float32).reshape(along)
    integers, scales = quantise_weights(weights * sign, kernel.axis)
    steps = (np.float32(around.input_scale) * scales).astype(np.float32)
    return IntegerKernel(
        kernel,
        integers,
        bias.astype("<f4").view("<i4") if kernel.layer is not None else _rounded(bias, steps),
        _symmetric(f"{kernel.weights}/scale", scales, kernel.axis),
        _symmetric(f"{kernel.bias}/scale", steps, 0),
        around.input_scale,
        tuple(np.flatnonzero(negative).tolist()),
        *around.ends,
    )


def added_constants(kernels: Mapping[str, IntegerKernel]) -> dict[str, npt.NDArray[np.generic]]:
    """The integers by key."""
    values: dict[str, npt.NDArray[np.generic]] = {}
    for kernel in kernels.values():
        values[integer_key(kernel.source.weights)] = kernel.weights
        values[integer_key(kernel.source.bias)] = kernel.bias
    return values


def integer_key(key: str) -> str:
    """Key of the integers that were made of a float constant."""
    return f"{key}/int8"


def _symmetric(key: str, scales: FloatArray, axis: int) -> Quantisation:
    return Quantisation(key, scales, np.zeros(len(scales), np.int64), axis)


def _rounded(bias: FloatArray, steps: FloatArray) -> npt.NDArray[np.int32]:
    integers = np.rint(bias.astype(np.float64) / steps)
    return np.clip(integers, -_LARGEST_BIAS, _LARGEST_BIAS).astype("<i4")
