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
    finite = np.isfinite(logits).all(axis=-1, keepdims=True)
    safe = np.where(finite, logits, 0.0).astype(np.float64)
    shifted = np.exp(safe - safe.max(axis=-1, keepdims=True))
    return np.asarray(shifted / shifted.sum(axis=-1, keepdims=True), dtype=np.float32)


def entropy(probabilities: FloatArray) -> FloatArray:
    """Entropy in nats [...] of probabilities [..., K]; between 0 and ln K."""
    p = np.clip(probabilities.astype(np.float64), 1e-12, 1.0)
    return np.asarray(-(p * np.log(p)).sum(axis=-1), dtype=np.float32)


def softmax_and_entropy(logits: FloatArray) -> tuple[FloatArray, float]:
    """Class probabilities [K] of one row of logits [K], and their entropy in nats; NaN or Inf: uniform.

    As `softmax` and `entropy`, for a device that scores one frame at a time: where a frame takes a few
    hundred microseconds, each array operation counts. With x shifted to a maximum of 0, e = exp(x) and S its
    sum, the entropy is ln S - (e . x) / S.
    """
    x = logits.astype(np.float64)
    # float32 values do not overflow in this sum, so it is finite when, and only when, they all are.
    if not math.isfinite(np.add.reduce(x)):
        return np.full(len(x), 1.0 / len(x), dtype=np.float32), math.log(len(x))
    x -= np.maximum.reduce(x)
    e = np.exp(x)
    total = float(np.add.reduce(e))
    uncertainty = max(math.log(total) - float(np.dot(e, x)) / total, 0.0)
    e /= total
    return e.astype(np.float32), uncertainty


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
