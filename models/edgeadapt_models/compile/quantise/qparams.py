"""From ranges and weights to integers: scales, zero points and int8 weights.

Activations: int8 per tensor, asymmetric, real = (q - zero point) * scale with zero exact.
Weights: int8 per output channel, symmetric in [-127, 127], real = q * scale[channel].
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgeadapt.tensors import FloatArray
from edgeadapt_models.compile.quantise.ranges import TensorRange

INT8_MIN, INT8_MAX = -128, 127
_WEIGHT_MAX = 127
# A tensor that is constantly zero gets this step: any one does.
_IDLE_SCALE = 1.0 / 255.0


@dataclass(frozen=True, slots=True)
class ActivationParams:
    """How an int8 tensor is read.

    Attributes:
        scale: above 0, a float32 value.
        zero_point: -128..127, the integer that means 0.
    """

    scale: float
    zero_point: int

    @property
    def low(self) -> float:
        """Smallest real value that can be held."""
        return (INT8_MIN - self.zero_point) * self.scale

    @property
    def high(self) -> float:
        """Largest real value that can be held."""
        return (INT8_MAX - self.zero_point) * self.scale


def activation_params(held: TensorRange) -> ActivationParams:
    """Scale and zero point for which [low, high] fills the 256 integers, and 0 is one of them."""
    span = held.high - held.low
    if span < np.finfo(np.float32).tiny * 256:
        return ActivationParams(float(np.float32(_IDLE_SCALE)), INT8_MIN)
    scale = float(np.float32(span / (INT8_MAX - INT8_MIN)))
    zero_point = int(np.clip(np.rint(INT8_MIN - held.low / scale), INT8_MIN, INT8_MAX))
    return ActivationParams(scale, zero_point)


def quantise_weights(weights: FloatArray, axis: int) -> tuple[npt.NDArray[np.int8], FloatArray]:
    """Integers of the weights' shape and scales float32 [channels along `axis`].

    A channel of zeros has scale 1: its integers are zeros, whatever the scale.
    """
    others = tuple(a for a in range(weights.ndim) if a != axis % weights.ndim)
    largest = np.abs(weights).max(axis=others).astype(np.float64)
    scales = np.where(largest > np.finfo(np.float32).tiny * _WEIGHT_MAX, largest / _WEIGHT_MAX, 1.0)
    scales = scales.astype(np.float32)
    along = [1] * weights.ndim
    along[axis] = -1
    integers = np.rint(weights.astype(np.float64) / scales.astype(np.float64).reshape(along))
    return np.clip(integers, -_WEIGHT_MAX, _WEIGHT_MAX).astype(np.int8), scales
