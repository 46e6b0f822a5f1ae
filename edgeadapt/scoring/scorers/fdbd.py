"""Fast decision boundary distance, fDBD (Liu and Qin, ICML 2024).

    mean over c != y of (z_y - z_c) / ||w_y - w_c||, over ||f - mu||

How far a frame lies from the boundaries of its class, in units of its distance to the middle of the source.
What travels is mu [D] and the distances between rows of the head [K, K]: with 1,000 classes that is 2 MB, so
it is for models of up to a few hundred.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from edgeadapt.errors import ConfigError
from edgeadapt.scoring.base import SCORERS, Need, Outputs, Source
from edgeadapt.scoring.rows import Array, scored
from edgeadapt.scoring.shipped import arrived, full, half
from edgeadapt.tensors import FloatArray

_NEAREST = 1e-8


@dataclass(frozen=True, slots=True)
class FittedFdbd:
    """Mean embedding [D] and 1 / (||w_y - w_c|| (K - 1)) [K, K], 0 where two rows of the head are equal."""

    mean: Array
    inverse: Array

    def score(self, outputs: Outputs) -> FloatArray:
        """[N] float32."""
        assert outputs.embedding is not None
        return scored(self._formula, outputs.logits, outputs.embedding)

    def _formula(self, logits: Array, embedding: Array) -> Array:
        chosen = logits.argmax(axis=1)
        behind = np.maximum.reduce(logits, axis=1)[:, None] - logits
        boundary = np.add.reduce(behind * self.inverse[chosen], axis=1)
        away = embedding - self.mean
        score: Array = boundary / np.maximum(np.sqrt(np.add.reduce(away * away, axis=1)), _NEAREST)
        return score

    def tensors(self) -> Mapping[str, npt.NDArray[Any]]:
        """mean [D], inverse [K, K]."""
        return {"mean": full(self.mean), "inverse": half(self.inverse)}


class Fdbd:
    """Needs the linear head."""

    name = "fdbd"
    needs: frozenset[Need] = frozenset({"logits", "embedding", "head"})
    semantic = True

    def fit(self, source: Source) -> FittedFdbd:
        """Measure the middle of the source and the head."""
        if source.outputs.embedding is None or source.head is None:
            raise ConfigError(f"scorer {self.name!r} needs embeddings and a linear head")
        weight = source.head.weight.astype(np.float64)
        squares = (weight**2).sum(axis=1)
        distance = np.sqrt(np.maximum(squares[:, None] + squares - 2 * weight @ weight.T, 0.0))
        known = distance > _NEAREST * max(float(np.sqrt(squares.max())), _NEAREST)
        others = max(len(weight) - 1, 1)
        inverse = np.where(known, 1.0 / np.where(known, distance, 1.0), 0.0) / others
        return FittedFdbd(source.outputs.embedding.mean(axis=0, dtype=np.float64), inverse)

    def load(self, tensors: Mapping[str, npt.NDArray[Any]]) -> FittedFdbd:
        """From `FittedFdbd.tensors`."""
        return FittedFdbd(*arrived(self.name, tensors, mean="D", inverse="KK"))


SCORERS.add(Fdbd.name, Fdbd())
