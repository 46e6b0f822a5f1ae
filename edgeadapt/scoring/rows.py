"""Rows that are not finite: found once, kept from the arithmetic, and given the strangest score.

Every scorer passes its inputs through `scored`, so that one bad frame disturbs no other and raises no
warning. Arithmetic is in float64: float32 inputs can then be squared without overflow, and a batch of one
gives the same float32 as a batch of many.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from edgeadapt.scoring.base import STRANGEST
from edgeadapt.tensors import FloatArray

Array = npt.NDArray[np.float64]
_MOST = float(np.finfo(np.float32).max)
_SHORTEST = 1e-30


def scored(formula: Callable[..., Array], *inputs: FloatArray) -> FloatArray:
    """[N] float32 scores of a formula over the rows of `inputs`, [N, ...] each.

    Args:
        formula: takes the inputs as finite float64 and returns [N].
        inputs: what a model said of N frames.
    """
    wide = [value.astype(np.float64) for value in inputs]
    # Squares of float32 values do not overflow here, so their sum is finite when, and only when, all are. For
    # one frame a dot product costs a third of what a sum does.
    if all(math.isfinite(np.dot(flat, flat)) for flat in (value.reshape(-1) for value in wide)):
        return _narrow(formula(*wide))
    good = np.ones(len(wide[0]), dtype=np.bool_)
    for value in wide:
        good &= np.isfinite(value).reshape(len(value), -1).all(axis=1)
    result = np.full(len(good), STRANGEST, dtype=np.float32)
    if good.any():
        result[good] = _narrow(formula(*(value[good] for value in wide)))
    return result


def _narrow(score: Array) -> FloatArray:
    return np.minimum(np.maximum(score, STRANGEST), _MOST).astype(np.float32)


def log_sum_exp(x: Array) -> Array:
    """[N] of [N, K], shifted by the largest."""
    top = np.maximum.reduce(x, axis=1)
    result: Array = top + np.log(np.add.reduce(np.exp(x - top[:, None]), axis=1))
    return result


def wide_softmax(x: Array) -> Array:
    """[N, K] class probabilities of finite logits, in float64."""
    e: Array = np.exp(x - np.maximum.reduce(x, axis=1)[:, None])
    e /= np.add.reduce(e, axis=1)[:, None]
    return e


def unit(x: Array) -> Array:
    """Rows of [N, D] at length 1; a row of zeros stays so."""
    length = np.sqrt(np.add.reduce(x * x, axis=1))
    result: Array = x / np.maximum(length, _SHORTEST)[:, None]
    return result
