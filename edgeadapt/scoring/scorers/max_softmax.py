"""Maximum softmax probability (Hendrycks and Gimpel, ICLR 2017): max p.

Given as log p - log(1 - p), which orders frames as p does: near p = 1, where most frames of a good model
are, float32 cannot tell one p from another, and ties make p-values coarse.
"""

from __future__ import annotations

import numpy as np

from edgeadapt.scoring.base import SCORERS
from edgeadapt.scoring.rows import Array
from edgeadapt.scoring.scorers.of_logits import OfLogits


class MaxSoftmax(OfLogits):
    """log(p / (1 - p)) of the likeliest class: its logit minus the logsumexp of all others."""

    name = "max-softmax"

    def formula(self, logits: Array) -> Array:
        """[N] of [N, K]; of one class only, the score is 0."""
        if logits.shape[1] == 1:
            return np.zeros(len(logits))
        rest = np.sort(logits, axis=1)
        top = rest[:, -1]
        second = rest[:, -2]
        others = np.add.reduce(np.exp(rest[:, :-1] - second[:, None]), axis=1)
        score: Array = top - second - np.log(others)
        return score


SCORERS.add(MaxSoftmax.name, MaxSoftmax())
