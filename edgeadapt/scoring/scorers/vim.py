"""Virtual logit matching, ViM (Wang et al., CVPR 2022): energy - alpha r.

r is the length of the embedding's part outside the space in which source embeddings vary most, seen from
u = -pinv(W) b, where all logits are equal; alpha makes r as large on source data as the largest logit.

The paper keeps 512 to 1,000 principal directions of networks with a D of 768 to 2,048. Embeddings of trained
classifiers vary in few directions; `principal_directions` says how many are kept here, and either they travel
or those that remain, whichever are fewer.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from edgeadapt.errors import ConfigError
from edgeadapt.scoring.base import SCORERS, Need, Outputs, Source
from edgeadapt.scoring.rows import Array, log_sum_exp, scored
from edgeadapt.scoring.shipped import arrived, full, half
from edgeadapt.tensors import FloatArray

_FEWEST = 20
_MOST = 64
_NOTHING = 1e-12


def principal_directions(width: int, classes: int) -> int:
    """How many of `width` directions are principal: a quarter, or two a class; 20 to 64, and at most half.

    Measured on networks with D of 64, 128 and 256 (docs/scorers.md): more help little, fewer cost some AUROC.
    """
    return min(min(max(width // 4, 2 * classes, _FEWEST), _MOST), width // 2)


@dataclass(frozen=True, slots=True)
class FittedVim:
    """Origin u [D], directions [D, J], alpha [1], and whether the directions are those that remain [1].

    With principal directions r^2 = ||f - u||^2 - ||P'(f - u)||^2, with those that remain r = ||R'(f - u)||.
    """

    origin: Array
    directions: Array
    alpha: Array
    remaining: Array

    def score(self, outputs: Outputs) -> FloatArray:
        """[N] float32."""
        assert outputs.embedding is not None
        return scored(self._formula, outputs.logits, outputs.embedding)

    def residual(self, embedding: Array) -> Array:
        """r of finite embeddings: [N] of [N, D]."""
        away = embedding - self.origin
        along = away @ self.directions
        inside = np.add.reduce(along * along, axis=1)
        if self.remaining[0]:
            return np.asarray(np.sqrt(inside))
        return np.asarray(np.sqrt(np.maximum(np.add.reduce(away * away, axis=1) - inside, 0.0)))

    def _formula(self, logits: Array, embedding: Array) -> Array:
        score: Array = log_sum_exp(logits) - self.alpha[0] * self.residual(embedding)
        return score

    def tensors(self) -> Mapping[str, npt.NDArray[Any]]:
        """origin [D], directions [D, J], alpha [1], remaining [1]."""
        return {
            "origin": full(self.origin),
            "directions": half(self.directions),
            "alpha": full(self.alpha),
            "remaining": full(self.remaining),
        }


class Vim:
    """Needs the linear head, for u."""

    name = "vim"
    needs: frozenset[Need] = frozenset({"logits", "embedding", "head"})
    semantic = True

    def fit(self, source: Source) -> FittedVim:
        """With as many directions as `principal_directions` says."""
        if source.outputs.embedding is None or source.head is None:
            raise ConfigError(f"scorer {self.name!r} needs embeddings and a linear head")
        return self.fit_with(source, principal_directions(*source.head.weight.shape[::-1]))

    def fit_with(self, source: Source, principal: int) -> FittedVim:
        """With a given number of principal directions, 0 <= principal <= D."""
        assert source.outputs.embedding is not None
        assert source.head is not None
        weight, bias = (part.astype(np.float64) for part in (source.head.weight, source.head.bias))
        origin = -np.linalg.pinv(weight) @ bias
        away = source.outputs.embedding.astype(np.float64) - origin
        _, vectors = np.linalg.eigh(away.T @ away / len(away))
        rest = away.shape[1] - principal
        remaining = rest <= principal or principal == 0
        directions = vectors[:, :rest] if remaining else vectors[:, rest:]
        if directions.shape[1] == 0:  # all are principal: nothing remains
            directions = np.zeros((away.shape[1], 1))
        fitted = FittedVim(origin, directions, np.ones(1), np.array([float(remaining)]))
        largest = source.outputs.logits.max(axis=1).mean(dtype=np.float64)
        # Constant embeddings have no residual: alpha of 0 leaves the energy.
        length = float(fitted.residual(away + origin).mean())
        alpha = largest / length if length > _NOTHING * max(float(np.abs(away).max()), _NOTHING) else 0.0
        return FittedVim(origin, directions, np.array([alpha]), fitted.remaining)

    def load(self, tensors: Mapping[str, npt.NDArray[Any]]) -> FittedVim:
        """From `FittedVim.tensors`."""
        return FittedVim(*arrived(self.name, tensors, origin="D", directions="DJ", alpha="1", remaining="1"))


SCORERS.add(Vim.name, Vim())
