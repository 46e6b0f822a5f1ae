"""Energy (Liu et al., NeurIPS 2020): logsumexp of the logits, at temperature 1."""

from __future__ import annotations

from edgeadapt.scoring.base import SCORERS
from edgeadapt.scoring.rows import Array, log_sum_exp
from edgeadapt.scoring.scorers.of_logits import OfLogits


class Energy(OfLogits):
    """Minus the free energy: high where some logit is high."""

    name = "energy"

    def formula(self, logits: Array) -> Array:
        """[N] of [N, K]."""
        return log_sum_exp(logits)


SCORERS.add(Energy.name, Energy())
