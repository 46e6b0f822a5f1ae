"""From the moments of a norm layer's output back to those of its input.

Where a norm layer is folded into the convolution before it, no tensor of the graph holds the layer's input.
With y = a x + b per channel (a, b from the values the session was built with):

    mean x = (mean y - b) / a        mean x^2 = (mean y^2 - 2 b mean y + b^2) / a^2

A channel with |a| so small that y is all but constant says nothing about x: the source moments stand in.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from edgeadapt.bundle.calibration import Calibration
from edgeadapt.bundle.folds import gain_and_shift
from edgeadapt.bundle.manifest import Artifact, NormLayer
from edgeadapt.bundle.materialise import SlotValues
from edgeadapt.tensors import FloatArray

# Below this ratio of a channel's spread to its offset, float32 moments hold no digit of the spread.
_MIN_SPREAD = 3e-3


class MomentInversion:
    """Turns the probe's answers into moments of every norm layer's input, for one session.

    Attributes:
        needed: False when the probe measures inputs only, and `apply` returns what it is given.
    """

    def __init__(
        self,
        artifact: Artifact,
        layers: Sequence[NormLayer],
        calibration: Calibration,
        values: SlotValues,
    ) -> None:
        """`values` must hold every slot of the layers that are measured at their output."""
        size = len(calibration.norm_mean)
        self._gain: npt.NDArray[np.float64] = np.ones(size)
        self._shift: npt.NDArray[np.float64] = np.zeros(size)
        self.needed = "output" in artifact.measured
        for layer, place in zip(layers, artifact.measured, strict=True):
            if place == "output":
                part = slice(layer.probe_offset, layer.probe_offset + layer.channels)
                gain, shift = gain_and_shift(layer, lambda name: np.asarray(values[name], np.float64))
                self._gain[part], self._shift[part] = gain, shift
        spread = np.abs(self._gain) * np.sqrt(calibration.norm_var)
        centre = np.abs(self._gain * calibration.norm_mean + self._shift)
        self._mute = spread < _MIN_SPREAD * np.maximum(centre, 1e-3)
        if not self.needed:
            self._mute[:] = False
        self._source = calibration.norm_mean, calibration.norm_var + calibration.norm_mean**2
        self._safe = np.where(self._mute, 1.0, self._gain)

    def apply(self, mean: FloatArray, mean_square: FloatArray) -> tuple[FloatArray, FloatArray]:
        """[N, P] moments of the inputs (mean, mean square) from those that the probe returned."""
        if not self.needed:
            return mean, mean_square
        centre, square = mean.astype(np.float64), mean_square.astype(np.float64)
        with np.errstate(over="ignore", invalid="ignore"):
            variance = np.maximum(square - centre**2, 0.0) / self._safe**2
            inner = (centre - self._shift) / self._safe
            raw = variance + inner**2
        inner[:, self._mute], raw[:, self._mute] = self._source[0][self._mute], self._source[1][self._mute]
        return inner.astype(np.float32), raw.astype(np.float32)
