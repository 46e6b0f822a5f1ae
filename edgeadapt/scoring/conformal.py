"""Scores to p-values by split conformal calibration, and several p-values to one.

A score s among n scores of calibration frames that nothing was fitted on has the p-value
(1 + #{calibration <= s}) / (n + 1): a familiar frame has one of at most alpha with probability at most alpha
(Vovk, Gammerman and Shafer 2005; Laxhammar and Falkman 2011). What ships is 64 knots: the scores at which
the p-value reaches each of `LEVELS`, which are the same for every scorer and every n. They are dense near 0,
where decisions are made: 33 in geometric steps from 1/4096 to 1/16, then 31 in even steps to 1.

n needs no place of its own. Levels below 1/(n + 1) cannot be reached by n scores; their knots are
`STRANGEST`, so no score that a scorer gives to a finite frame gets a p-value below 1/(n + 1), nor below
1/4096 however many frames there were.

Not here: which threshold a frame is held against, and what follows from it.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from edgeadapt.errors import ConfigError
from edgeadapt.scoring.base import STRANGEST
from edgeadapt.tensors import FloatArray

KNOTS = 64
_TAIL = 33
#: p-values of the knots, ascending; the last is 1.
LEVELS: npt.NDArray[np.float64] = np.concatenate(
    [np.geomspace(1 / 4096, 1 / 16, _TAIL), np.linspace(1 / 16, 1.0, KNOTS - _TAIL + 1)[1:]]
)
_LEVELS: list[float] = LEVELS.tolist()
LARGEST = 0.99
"""p-values above count as this much in a combination: see `cauchy`."""
_SMALLEST = 1e-15


def knots(scores: FloatArray) -> FloatArray:
    """The knots of calibration scores.

    Args:
        scores: [n] scores of frames that the scorer was not fitted on, n >= 1; higher is more familiar.

    Returns:
        [64] float32, ascending: the score at which the p-value reaches each of `LEVELS`.

    Raises:
        ConfigError: there are no scores, or one is NaN.
    """
    ordered = np.sort(np.asarray(scores, dtype=np.float64).reshape(-1))
    n = len(ordered)
    if not n or np.isnan(ordered[-1]):
        raise ConfigError(f"knots need scores of at least one frame and no NaN, got {n} scores")
    reached = np.arange(2, n + 2) / (n + 1.0)
    found = np.interp(LEVELS, reached, ordered)
    found[1.0 / (n + 1.0) > LEVELS] = STRANGEST
    return np.maximum(found, STRANGEST).astype(np.float32)


def p_values(scores: FloatArray, knots: FloatArray) -> FloatArray:
    """[N] float32 p-values of scores [N] under knots [64]; interpolated between knots, never 0.

    Ties with calibration scores count as not stranger, as in the formula. NaN is the strangest score.
    """
    known = np.asarray(scores, dtype=np.float64)
    known = np.where(np.isnan(known), STRANGEST, known)
    return np.interp(known, knots.astype(np.float64), LEVELS).astype(np.float32)


def p_value(score: float, knots: Sequence[float]) -> float:
    """The p-value of one score, as `p_values`, in half a microsecond: a device asks for each frame."""
    after = bisect_right(knots, score)
    if after == 0 or score != score:
        return _LEVELS[0]
    if after == KNOTS:
        return _LEVELS[-1]
    low, high = knots[after - 1], knots[after]
    start = _LEVELS[after - 1]
    return start + (_LEVELS[after] - start) * ((score - low) / (high - low))


def cauchy(p_values: FloatArray | Sequence[FloatArray]) -> FloatArray:
    """One p-value [N] for each column of [M, N]: the Cauchy combination of Liu and Xie (2020).

    T = mean tan((0.5 - p) pi), p = 0.5 - atan(T) / pi; valid in the tail whatever the dependence between the
    scores. p-values above 0.99 count as 0.99: a score that saturates (a softmax of 1) would otherwise weigh
    as much for a frame as the strangest of another weighs against it. NaN is a score that was not measured
    and is left out; where none was, the result is 1. p of 0 and 1 are safe.
    """
    p = np.asarray(p_values, dtype=np.float64)
    if not p.shape[0]:
        return np.ones(p.shape[1:], dtype=np.float32)
    measured = ~np.isnan(p)
    held = np.minimum(np.maximum(np.where(measured, p, 0.5), _SMALLEST), LARGEST)
    total = np.where(measured, 1.0 / np.tan(np.pi * held), 0.0).sum(axis=0)
    count = measured.sum(axis=0)
    # atan2(1, T) / pi is 0.5 - atan(T) / pi without its cancellation for large T.
    combined = np.arctan2(1.0, total / np.maximum(count, 1)) / np.pi
    return np.where(count > 0, combined, 1.0).astype(np.float32)


def cauchy_one(p_values: Sequence[float]) -> float:
    """`cauchy` of one frame's p-values, without the cost of arrays."""
    held = [min(max(p, _SMALLEST), LARGEST) for p in p_values if p == p]
    if not held:
        return 1.0
    total = sum(1.0 / math.tan(math.pi * p) for p in held)
    return math.atan2(1.0, total / len(held)) / math.pi
