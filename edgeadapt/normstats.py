"""A device's own normalisation statistics, from forward passes only.

The probe graph returns the mean and the mean square of every norm layer's input. `NormEstimator` keeps a
slow average of both that starts at the source values and is shrunk towards them (`edgeadapt.balanced`: after
n frames (N0 source + n measured) / (N0 + n), less while few classes were seen). Small frequent updates come
close to live batch statistics because deep layers settle after shallow ones (each moment was taken under
the statistics then in force). Not here: which frames are probed, and writing the values into a model.
"""

from __future__ import annotations

import msgspec
import numpy as np
import numpy.typing as npt

from edgeadapt.balanced import BalancedMean
from edgeadapt.bundle.manifest import Manifest, NormLayer
from edgeadapt.tensors import FloatArray


class StatisticsConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How the device re-estimates its normalisation statistics, forward only."""

    # False leaves the base statistics (or a patch's own) untouched, and measures nothing for them.
    enabled: bool = True
    # The source statistics count as this many frames (N0).
    prior_frames: float = 16.0
    # After this many frames the oldest are forgotten.
    window_frames: float = 512.0
    # Probed frames per update of the statistics.
    frames_per_update: int = 16
    # A session with new statistics is built when they have moved by this much since the last one: root mean
    # square over channels, in standard deviations.
    min_move: float = 0.01
    # Share of the time that building such sessions may take; a new segment may take five times as much.
    build_share: float = 0.1
    # Statistics of a stretch of few classes are not the domain's: they are shrunk to the source until more
    # were seen, and where neighbouring frames are alike, every class counts alike.
    diversity_guard: bool = True
    # For a model without statistics (LayerNorm): move the embedding's mean to where the source has it.
    embedding_shift: bool = False
    # ... by this share of the way.
    embedding_gain: float = 1.0


class NormEstimator:
    """Running mean and variance of every norm layer's input."""

    def __init__(self, mean: FloatArray, var: FloatArray, config: StatisticsConfig, classes: int) -> None:
        """Start at the source's [P] statistics; the model tells K `classes` apart."""
        self._moments = BalancedMean(
            _moments(mean, var),
            prior_frames=config.prior_frames,
            window_frames=config.window_frames,
            classes=classes,
            guarded=config.diversity_guard,
        )

    def restart(self, mean: FloatArray, var: FloatArray) -> None:
        """Forget what was measured and start at the given [P] statistics, worth `prior_frames`."""
        self._moments.restart(_moments(mean, var))

    def relax(self) -> None:
        """Keep the estimate but let new frames move it quickly: the world has changed."""
        self._moments.relax()

    def update(
        self,
        means: FloatArray,
        squares: FloatArray,
        labels: npt.NDArray[np.int64],
        excess: float = 0.0,
        nearness: float = 0.0,
    ) -> bool:
        """Fold in frames.

        Args:
            means: [N, P] per-frame means.
            squares: [N, P] per-frame mean squares.
            labels: [N] predicted classes.
            excess: `balanced.Correlation.excess` of the stream.
            nearness: as in `BalancedMean.update`.

        Returns:
            True when the estimate moved; frames with NaN or Inf are left out.
        """
        values = np.concatenate([means, squares], axis=1, dtype=np.float64)
        finite = np.isfinite(values).all(axis=1)
        if not finite.any():
            return False
        self._moments.update(values[finite], labels[finite], excess, nearness)
        return True

    @property
    def frames(self) -> int:
        """Frames behind the estimate."""
        return self._moments.frames

    @property
    def mean(self) -> FloatArray:
        """[P] current mean."""
        return self._moments.value[: self._moments.value.size // 2].astype(np.float32)

    @property
    def var(self) -> FloatArray:
        """[P] current variance, never below a floor that keeps the division finite."""
        mean, square = np.split(self._moments.value, 2)
        return np.maximum(square - mean**2, 1e-8).astype(np.float32)


def _moments(mean: FloatArray, var: FloatArray) -> npt.NDArray[np.float64]:
    """[2 P] mean and mean square."""
    centre = mean.astype(np.float64)
    return np.concatenate([centre, var.astype(np.float64) + centre**2])


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
