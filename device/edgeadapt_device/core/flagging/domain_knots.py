"""Knots of the device's own domain: what is strange where nobody has made thresholds for it.

Away from the source's domain the base's knots call too many known frames strange, even once the statistics
have followed. So the device keeps a bounded record of the scores of its present segment, whatever the
verdicts, and moves the base's knots to it: per scorer by the shift and the scale that bring the middle of the
base's knots (median and quartiles) onto the middle of the record. The shape of the tail stays the base's.

This takes most of the segment's frames for known ones. A share of unknowns among them moves the middle down,
so that "unknown" is said too seldom rather than too often; the record's strange frames in excess of alpha are
therefore taken for unknowns, and the quartiles looked up among the others. Two bounds hold the result,
whatever the scores look like:

    never stricter than the base    a camera that shows one easy class for a while must not make the next
                                    class strange; the worst is what the base would have said
    never laxer than the record     at least alpha of its frames are strange by each scorer, where the base
                                    agrees: a score that saturates has no scale to go by

A record in which more than half of those taken for known are strange by the base's knots says that the model
does not fit the domain at all (`overwhelmed`): nothing can be told from its scores, and there are no knots.

The record is of one segment and one patch; it goes on while statistics of the device's own move the model a
little. It is a uniform sample that forgets slowly (sampling as by Vitter's algorithm R, 1985), so a strange
thing that stands before the camera for a minute does not fill it. Memory only: a restart begins anew.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from edgeadapt.scoring.base import STRANGEST
from edgeadapt.scoring.conformal import LEVELS, cauchy, knots, p_values
from edgeadapt.tensors import FloatArray

FIRST_FRAMES = 128
"""Frames of a record that first give knots; then twice and four times as many, which is all it keeps."""
_MOST_FRAMES = 512
# Frames that the sample is of: what came long before them is forgotten.
_MEMORY_FRAMES = 16 * _MOST_FRAMES
# The middle, as p-values: the median and what the scale is taken from.
_MIDDLE = np.array([0.5, 0.25, 0.75])
# Rounds of taking strange frames in excess for unknown ones, and how many they may be: of more than that
# the middle cannot be told from the scores alone.
_ROUNDS, _MOST_UNKNOWN = 3, 0.3
# With ResNet-8 on Fashion-MNIST and own statistics the base's knots called 66 to 99 % of known frames strange
# under fog, contrast and glass blur (41 to 67 % rightly classified), and 5 to 46 % under others (78 to 92 %).
_MOST_STRANGE = 0.5


class DomainKnots:
    """The record of one segment and patch, and the knots that it gives.

    Attributes:
        frames: that were recorded, or would have been.
        knots: one list per scorer; None while there are too few frames, or when `overwhelmed`.
        overwhelmed: the model does not fit the domain.
    """

    def __init__(self, base: tuple[list[float], ...], alpha: float, rng: np.random.Generator) -> None:
        """Move `base`, the bundle's knots of each scorer that decides."""
        self._base = tuple(np.array(row, dtype=np.float32) for row in base)
        self._alpha, self._rng = alpha, rng
        self.restart()

    def restart(self) -> None:
        """Another segment, or another patch: what was recorded holds no more."""
        self._record: list[tuple[float, ...]] = []
        self._due = FIRST_FRAMES
        self.frames = 0
        self.knots: tuple[list[float], ...] | None = None
        self.overwhelmed = False

    def observe(self, scores: tuple[float, ...]) -> bool:
        """Record a frame's scores, in the order of the base's knots; True when that gave other knots."""
        self.frames += 1
        if len(self._record) < _MOST_FRAMES:
            self._record.append(scores)
        else:
            place = int(self._rng.random() * min(self.frames, _MEMORY_FRAMES))
            if place < _MOST_FRAMES:
                self._record[place] = scores
        if self.frames < self._due:
            return False
        self._due += min(self.frames, _MOST_FRAMES)
        record = np.array(self._record, dtype=np.float32)
        np.copyto(record, STRANGEST, where=np.isnan(record))
        found, unknown = moved(record, self._base, self._alpha)
        strange = (_strange(record, self._base, self._alpha) - unknown) / (1.0 - unknown)
        self.overwhelmed = strange > _MOST_STRANGE
        self.knots = None if self.overwhelmed else tuple(row.tolist() for row in found)
        return True


def moved(
    record: FloatArray, base: tuple[FloatArray, ...], alpha: float
) -> tuple[tuple[FloatArray, ...], float]:
    """The base's knots, moved to where the record's frames lie.

    Args:
        record: [n, M] scores of frames of the domain, no NaN, n >= 1.
        base: [64] knots of each of the M scorers.
        alpha: the bound of the combined p-value.

    Returns:
        ([64] float32 knots for each scorer, ascending; the share of frames that was taken for unknown).
    """
    floors = [knots(column) for column in record.T]
    unknown = 0.0
    for _ in range(_ROUNDS):
        found = _bounded(record, base, floors, unknown)
        excess = (_strange(record, found, alpha) - alpha) / (1.0 - alpha)
        unknown = min(max(excess, 0.0), _MOST_UNKNOWN)
    return _bounded(record, base, floors, unknown), unknown


def _bounded(
    record: FloatArray, base: tuple[FloatArray, ...], floors: list[FloatArray], unknown: float
) -> tuple[FloatArray, ...]:
    # Unknown frames are the strangest: quantiles of the known ones lie that much higher.
    middles = np.quantile(record, unknown + (1.0 - unknown) * _MIDDLE, axis=0).T
    return tuple(
        np.minimum(np.maximum(_moved(row, middle), floor), row)
        for row, middle, floor in zip(base, middles, floors, strict=True)
    )


def _moved(base: FloatArray, middle: npt.NDArray[np.float64]) -> FloatArray:
    """[64] base knots, their median and quartiles brought to `middle` [3]."""
    wide = base.astype(np.float64)
    median, low, high = np.interp(_MIDDLE, LEVELS, wide)
    scale = (middle[2] - middle[1]) / (high - low) if high > low else 1.0
    found = middle[0] + scale * (wide - median)
    # Levels that too few calibration frames could not reach stay out of reach.
    found[base <= STRANGEST] = STRANGEST
    return np.asarray(np.clip(found, STRANGEST, -STRANGEST), dtype=np.float32)


def _strange(record: FloatArray, rows: tuple[FloatArray, ...], alpha: float) -> float:
    """Share of frames whose combined p-value is below alpha."""
    p = [p_values(column, row) for column, row in zip(record.T, rows, strict=True)]
    return float((cauchy(p) < alpha).mean())
