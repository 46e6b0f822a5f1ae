"""Learned temperature: AbeT (LeVine et al. 2024, arXiv 2401.12129), logsumexp(cos / T).

For models that were trained with a temperature head: their logits are cosines over a temperature T(f) in
(0, 1) that the model learned beside them, so T is in the logits already, and what AbeT leaves out of the free
energy is the factor T in front. A frame whose temperature is not a positive number is the strangest.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from edgeadapt.errors import WireError
from edgeadapt.scoring.base import SCORERS, STRANGEST, Need, Outputs, Source
from edgeadapt.scoring.rows import Array, log_sum_exp, scored
from edgeadapt.tensors import FloatArray


class Abet:
    """Nothing is fitted: the temperature was trained with the model."""

    name = "abet"
    needs: frozenset[Need] = frozenset({"logits", "temperature"})
    semantic = True

    def fit(self, source: Source) -> Abet:
        """Nothing is learned."""
        return self

    def load(self, tensors: Mapping[str, npt.NDArray[Any]]) -> Abet:
        """Raises WireError when there are tensors."""
        if tensors:
            raise WireError(f"scorer {self.name!r} has no tensors, got {', '.join(sorted(tensors))}")
        return self

    def tensors(self) -> Mapping[str, npt.NDArray[Any]]:
        """None."""
        return {}

    def score(self, outputs: Outputs) -> FloatArray:
        """[N] float32."""
        assert outputs.temperature is not None
        return scored(_formula, outputs.logits, outputs.temperature)


def _formula(logits: Array, temperature: Array) -> Array:
    return np.where(temperature > 0.0, log_sum_exp(logits), STRANGEST)


SCORERS.add(Abet.name, Abet())
