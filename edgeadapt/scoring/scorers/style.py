"""Style of early layers: is the camera, the light, the weather another? Says nothing of classes.

    T = mean over channels of (mean over n frames of e - mu)^2 / (sigma^2 / n)

with e the signature features of a frame (channel means and deviations of the first norm layer's input), mu
and sigma those of the source. About 1 at home, whatever n; n frames show a shift sqrt(n) times smaller than
one frame does, so windows see drift where samples do not. The score of a single frame is -T with n = 1.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from edgeadapt.errors import ConfigError
from edgeadapt.scoring.base import SCORERS, Need, Outputs, Source
from edgeadapt.scoring.rows import Array, scored
from edgeadapt.scoring.shipped import arrived, full
from edgeadapt.tensors import FloatArray

_FLOOR = 1e-3
_SMALLEST = 1e-6


def window_statistic(style: FloatArray, mean: FloatArray, std: FloatArray) -> float:
    """T of a window.

    Args:
        style: [n, S] of n frames; those that are not finite are left out.
        mean, std: [S] of the source, as in `Calibration.signature_mean` and `signature_std`.

    Returns:
        T >= 0; 0 for a window without a finite frame.
    """
    wide = style.astype(np.float64)
    finite = wide[np.isfinite(wide).all(axis=1)]
    if not len(finite):
        return 0.0
    away = (finite.mean(axis=0) - mean) / _scale(std.astype(np.float64))
    return float(len(finite) * np.mean(away**2))


@dataclass(frozen=True, slots=True)
class FittedStyle:
    """Mean and standard deviation of the source's features, [S] each."""

    mean: Array
    std: Array

    def score(self, outputs: Outputs) -> FloatArray:
        """[N] float32, at most 0."""
        assert outputs.style is not None
        return scored(self._formula, outputs.style)

    def _formula(self, style: Array) -> Array:
        away = (style - self.mean) / self.std
        score: Array = -np.add.reduce(away * away, axis=1) / len(self.mean)
        return score

    def tensors(self) -> Mapping[str, npt.NDArray[Any]]:
        """mean [S], std [S]."""
        return {"mean": full(self.mean), "std": full(self.std)}


class Style:
    """Tells domains apart, not classes."""

    name = "style"
    needs: frozenset[Need] = frozenset({"style"})
    semantic = False

    def fit(self, source: Source) -> FittedStyle:
        """Measure mean and deviation."""
        if source.outputs.style is None:
            raise ConfigError(f"scorer {self.name!r} needs style features")
        style = source.outputs.style.astype(np.float64)
        return FittedStyle(style.mean(axis=0), _scale(style.std(axis=0)))

    def load(self, tensors: Mapping[str, npt.NDArray[Any]]) -> FittedStyle:
        """From `FittedStyle.tensors`."""
        mean, std = arrived(self.name, tensors, mean="S", std="S")
        return FittedStyle(mean, np.maximum(std, _SMALLEST))


def _scale(std: Array) -> Array:
    """Deviations that can be divided by: a channel that never varies would outweigh all others."""
    return np.maximum(std, max(_FLOOR * float(np.median(std)), _SMALLEST))


SCORERS.add(Style.name, Style())
