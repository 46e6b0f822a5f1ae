"""Margin: the largest logit minus the second (Scheffer, Decomain and Wrobel 2001, on logits)."""

from __future__ import annotations

import numpy as np

from edgeadapt.scoring.base import SCORERS
from edgeadapt.scoring.rows import Array
from edgeadapt.scoring.scorers.of_logits import OfLogits


class Margin(OfLogits):
    """How clearly one class wins; of one class only, the score is 0."""

    name = "margin"

    def formula(self, logits: Array) -> Array:
        """[N] of [N, K]."""
        if logits.shape[1] == 1:
            return np.zeros(len(logits))
        ordered = np.sort(logits, axis=1)
        score: Array = ordered[:, -1] - ordered[:, -2]
        return score


SCORERS.add(Margin.name, Margin())
