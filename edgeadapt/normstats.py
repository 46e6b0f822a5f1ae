"""A device's own normalisation statistics, from forward passes only.

The probe graph returns the mean and the mean square of every norm layer's input. `NormEstimator`
keeps a slow average of both that starts at the source values: after n frames with a prior worth N0
frames it is (N0 * source + n * measured) / (N0 + n), and once N0 + n reaches the window it becomes an
exponential average over that window. Small frequent updates come close to live batch statistics
because deep layers settle after shallow ones (each moment was taken under the statistics then in
force). Values of the signature's copy are averaged along with the rest and belong to no layer. Not
here: which frames are probed, and writing the values into a model.
"""

from __future__ import annotations

from dataclasses import dataclass

import msgspec
import numpy as np

from edgeadapt.bundle.manifest import Manifest, NormLayer
from edgeadapt.errors import ConfigError
from edgeadapt.tensors import FloatArray


class StatisticsConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How the device re-estimates its normalisation statistics, forward only."""

    # False leaves the base statistics (or a patch's own) untouched, and measures nothing for them.
    enabled: bool = True
    # The source statistics count as this many frames (N0).
    prior_frames: float = 16.0
    # Length of the average, in frames, once it has filled up.
    window_frames: float = 512.0
    # Probed frames per update of the statistics.
    frames_per_update: int = 16
    # A session with new statistics is built when they have moved by this much since the last one: root mean
    # square over channels, in standard deviations.
    min_move: float = 0.02
    # Share of the time that building such sessions may take; a new segment may take five times as much.
    build_share: float = 0.1
    # Frames of a stretch of few classes count less, down to nothing: its statistics are not the domain's.
    diversity_guard: bool = True
    # For a model without statistics (LayerNorm): move the embedding's mean to where the source has it.
    embedding_shift: bool = False
    # ... by this share of the way.
    embedding_gain: float = 1.0


@dataclass(frozen=True, slots=True)
class Moments:
    """Moments of every norm layer's input over some frames.

    Attributes:
        mean: [P] mean over frames and positions.
        mean_square: [P] mean of the square.
        count: number of frames.
    """

    mean: FloatArray
    mean_square: FloatArray
    count: int

    @staticmethod
    def of(mean: FloatArray, mean_square: FloatArray) -> Moments:
        """Pool per-frame moments [N, P]; raises ConfigError when there is no frame."""
        if mean.ndim != 2 or mean.shape != mean_square.shape or not len(mean):
            raise ConfigError(f"moments must be two [N, P] arrays, got {mean.shape} and {mean_square.shape}")
        return Moments(
            mean.mean(axis=0, dtype=np.float64).astype(np.float32),
            mean_square.mean(axis=0, dtype=np.float64).astype(np.float32),
            len(mean),
        )


class NormEstimator:
    """Running mean and variance of every norm layer's input."""

    def __init__(self, mean: FloatArray, var: FloatArray, config: StatisticsConfig) -> None:
        self.config = config
        self.restart(mean, var)

    def restart(self, mean: FloatArray, var: FloatArray) -> None:
        """Forget what was measured and start at the given [P] statistics, worth `prior_frames`."""
        self._mean = mean.astype(np.float64)
        self._square = var.astype(np.float64) + self._mean**2
        self._weight = self.config.prior_frames
        self.frames = 0

    def relax(self) -> None:
        """Keep the estimate but let new frames move it quickly: the world has changed."""
        self._weight = min(self._weight, self.config.prior_frames)

    def update(self, moments: Moments, weight: float = 1.0) -> bool:
        """Fold in the moments of `moments.count` frames that count `weight` each, between 0 and 1.

        Returns:
            True when the estimate moved: not when a moment is NaN or Inf, or nothing counts.
        """
        finite = np.isfinite(moments.mean).all() and np.isfinite(moments.mean_square).all()
        count = weight * moments.count
        if not finite or count <= 0.0:
            return False
        self._weight = min(self._weight + count, max(self.config.window_frames, count))
        share = count / self._weight
        self._mean += share * (moments.mean - self._mean)
        self._square += share * (moments.mean_square - self._square)
        self.frames += moments.count
        return True

    @property
    def mean(self) -> FloatArray:
        """[P] current mean."""
        return self._mean.astype(np.float32)

    @property
    def var(self) -> FloatArray:
        """[P] current variance, never below a floor that keeps the division finite."""
        return np.maximum(self._square - self._mean**2, 1e-8).astype(np.float32)


def distance_moved(before: tuple[FloatArray, FloatArray], after: tuple[FloatArray, FloatArray]) -> float:
    """How far [P] (mean, variance) moved: root mean square over channels.

    The mean's step counts in standard deviations before, the deviation's as half the logarithm of the
    variances' ratio: both are, to first order, what a normalised activation moves by.
    """
    (mean, var), (new_mean, new_var) = before, after
    step = (new_mean - mean) ** 2 / np.maximum(var, 1e-12)
    ratio = 0.5 * np.log(np.maximum(new_var, 1e-12) / np.maximum(var, 1e-12))
    return float(np.sqrt(np.mean(step + ratio**2, dtype=np.float64)))


def statistics_slots(manifest: Manifest, mean: FloatArray, var: FloatArray) -> dict[str, FloatArray]:
    """Cut [P] statistics into the mean and var slots of the layers that keep statistics."""
    values: dict[str, FloatArray] = {}
    for layer in manifest.norm_layers:
        if layer.mean:
            values[layer.mean] = _cut(mean, layer)
            values[layer.var] = _cut(var, layer)
    return values


def statistics_of_slots(
    manifest: Manifest, slots: dict[str, FloatArray], mean: FloatArray, var: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """The inverse: [P] statistics with the layers present in `slots` replaced, the rest as given."""
    mean, var = mean.copy(), var.copy()
    for layer in manifest.norm_layers:
        if layer.mean and layer.mean in slots and layer.var in slots:
            _cut(mean, layer)[:] = slots[layer.mean]
            _cut(var, layer)[:] = slots[layer.var]
    return mean, var


def _cut(vector: FloatArray, layer: NormLayer) -> FloatArray:
    return vector[layer.probe_offset : layer.probe_offset + layer.channels]
