"""Generalised entropy, GEN (Liu, Lochman and Zach, CVPR 2023): -sum over the top M of p^g (1 - p)^g.

g = 0.1 and M = min(K, 100), as in the paper. Small probabilities count for much more than in the entropy.
"""

from __future__ import annotations

import numpy as np

from edgeadapt.scoring.base import SCORERS
from edgeadapt.scoring.rows import Array
from edgeadapt.scoring.scorers.of_logits import OfLogits

GAMMA = 0.1
MOST_CLASSES = 100


class Gen(OfLogits):
    """The score is at most 0, which is reached where one class has all."""

    name = "gen"

    def formula(self, logits: Array) -> Array:
        """[N] of [N, K]."""
        e = np.exp(logits - np.maximum.reduce(logits, axis=1)[:, None])
        if e.shape[1] > MOST_CLASSES:
            e = np.partition(e, e.shape[1] - MOST_CLASSES, axis=1)
            total = np.add.reduce(e, axis=1)[:, None]
            e = e[:, -MOST_CLASSES:]
        else:
            total = np.add.reduce(e, axis=1)[:, None]
        p = e / total
        score: Array = -np.add.reduce(np.power(p * (1.0 - p), GAMMA), axis=1)
        return score


SCORERS.add(Gen.name, Gen())
