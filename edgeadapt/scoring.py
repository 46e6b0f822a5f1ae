"""Scores that a device can afford: softmax, entropy and redundancy, in numpy.

The entropy bounds and the redundancy rule are those of EATA (Niu et al., ICML 2022) and CEMA
(Chen et al., ICLR 2024): keep a frame when E_min < E < E_max and |cos(p, running mean of kept p)| is
below a margin. Both defined for every input: NaN logits give a uniform prediction of maximal entropy.
"""

from __future__ import annotations

import math

import numpy as np

from edgeadapt.tensors import FloatArray


def softmax(logits: FloatArray) -> FloatArray:
    """Class probabilities [..., K] of logits [..., K]; rows with NaN or Inf become uniform."""
    if logits.ndim == 1:
        return _softmax_of_one(logits)
    finite = np.isfinite(logits).all(axis=-1, keepdims=True)
    safe = np.where(finite, logits, 0.0).astype(np.float64)
    shifted = np.exp(safe - safe.max(axis=-1, keepdims=True))
    return np.asarray(shifted / shifted.sum(axis=-1, keepdims=True), dtype=np.float32)


def entropy(probabilities: FloatArray) -> FloatArray:
    """Entropy in nats [...] of probabilities [..., K]; between 0 and ln K."""
    if probabilities.ndim == 1:
        return _entropy_of_one(probabilities)
    p = np.clip(probabilities.astype(np.float64), 1e-12, 1.0)
    return np.asarray(-(p * np.log(p)).sum(axis=-1), dtype=np.float32)


# A device scores one frame at a time. At a few hundred microseconds a frame every call counts: these two do
# what the others do, on one row, with the fewest and barest operations. A test holds that they agree.


def _softmax_of_one(logits: FloatArray) -> FloatArray:
    values = logits.astype(np.float64)
    # float32 values do not overflow in this sum, so it is finite when, and only when, they all are.
    if not math.isfinite(np.add.reduce(values)):
        return np.full(len(values), 1.0 / len(values), dtype=np.float32)
    values -= np.maximum.reduce(values)
    np.exp(values, out=values)
    values /= np.add.reduce(values)
    return values.astype(np.float32)


def _entropy_of_one(probabilities: FloatArray) -> FloatArray:
    p = probabilities.astype(np.float64)
    np.maximum(p, 1e-12, out=p)
    np.minimum(p, 1.0, out=p)
    logs = np.log(p)
    logs *= p
    return np.asarray(-np.add.reduce(logs), dtype=np.float32)


def entropy_bounds(classes: int, low: float, high: float) -> tuple[float, float]:
    """(E_min, E_max) in nats from fractions of ln K."""
    return low * math.log(classes), high * math.log(classes)


class RedundancyFilter:
    """Drops frames whose prediction looks like what was kept already."""

    def __init__(self, classes: int, margin: float, decay: float = 0.9) -> None:
        self.margin = margin
        self.decay = decay
        self._mean = np.zeros(classes, dtype=np.float64)
        self._kept = 0

    def is_new(self, probabilities: FloatArray) -> bool:
        """True when the prediction [K] differs enough from the running mean of kept ones."""
        if not self._kept:
            return True
        p = probabilities.astype(np.float64)
        cosine = float(p @ self._mean) / max(float(np.linalg.norm(p) * np.linalg.norm(self._mean)), 1e-12)
        return abs(cosine) < self.margin

    def keep(self, probabilities: FloatArray) -> None:
        """Count a prediction [K] as kept."""
        p = probabilities.astype(np.float64)
        self._mean = p if not self._kept else self.decay * self._mean + (1.0 - self.decay) * p
        self._kept += 1
