"""Negative entropy of the prediction, in nats: sum p ln p, between -ln K and 0."""

from __future__ import annotations

import numpy as np

from edgeadapt.scoring.base import SCORERS
from edgeadapt.scoring.rows import Array
from edgeadapt.scoring.scorers.of_logits import OfLogits


class Entropy(OfLogits):
    """(e . x) / S - ln S, with x shifted to a maximum of 0, e = exp(x) and S its sum."""

    name = "entropy"

    def formula(self, logits: Array) -> Array:
        """[N] of [N, K]."""
        x = logits - np.maximum.reduce(logits, axis=1)[:, None]
        e = np.exp(x)
        total = np.add.reduce(e, axis=1)
        score: Array = np.add.reduce(e * x, axis=1) / total - np.log(total)
        return score


SCORERS.add(Entropy.name, Entropy())
