"""Scorers that are a formula over logits: nothing to fit, nothing that travels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy.typing as npt

from edgeadapt.errors import WireError
from edgeadapt.scoring.base import Need, Outputs, Source
from edgeadapt.scoring.rows import Array, scored
from edgeadapt.tensors import FloatArray


class OfLogits:
    """A kind that is its own fitted scorer. Subclasses give a name and `formula`."""

    name = ""
    needs: frozenset[Need] = frozenset({"logits"})
    semantic = True

    def formula(self, logits: Array) -> Array:
        """[N] scores of finite logits [N, K]."""
        raise NotImplementedError

    def fit(self, source: Source) -> OfLogits:
        """Nothing is learned."""
        return self

    def load(self, tensors: Mapping[str, npt.NDArray[Any]]) -> OfLogits:
        """Raises WireError when there are tensors."""
        if tensors:
            raise WireError(f"scorer {self.name!r} has no tensors, got {', '.join(sorted(tensors))}")
        return self

    def tensors(self) -> Mapping[str, npt.NDArray[Any]]:
        """None."""
        return {}

    def score(self, outputs: Outputs) -> FloatArray:
        """[N] float32."""
        return scored(self.formula, outputs.logits)
