"""Relative Mahalanobis distance, RMDS (Ren et al. 2021), in the form of a linear discriminant analysis.

RMDS is -min_c ((f - m_c)' S_w^-1 (f - m_c) - (f - m)' S_t^-1 (f - m)), with the covariance S_w of embeddings
within classes and S_t of all. With S_t v = lambda S_w v, V' S_w V = 1 and y = V'(f - m) it is

    -min_c ||y - V'(m_c - m)||^2 + sum_j y_j^2 / lambda_j

Directions with lambda = 1 cancel, and at most K - 1 others exist, since S_t - S_w has the rank of the class
means. So D x (K - 1) numbers travel in place of two D x D matrices, and the score is the same.

The variant "rmds-normalised" takes embeddings at length 1 (Mueller and Hein 2025, Mahalanobis++): lengths of
embeddings differ between classes, which Gaussians of one covariance do not allow for.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from edgeadapt.errors import ConfigError
from edgeadapt.scoring.base import SCORERS, Need, Outputs, Source
from edgeadapt.scoring.rows import Array, scored, unit
from edgeadapt.scoring.shipped import arrived, full, half
from edgeadapt.tensors import FloatArray

RIDGE = 1e-8
"""Of the mean variance, added to both covariances: directions without any are then kept apart from noise."""
_ONE = 1.0 + 1e-6
_SMALLEST = 1e-30


@dataclass(frozen=True, slots=True)
class FittedRmds:
    """Mean [D], directions V [D, J], class means V'(m_c - m) [K, J] and lambda [J]."""

    mean: Array
    directions: Array
    means: Array
    eigenvalues: Array
    normalise: bool

    def score(self, outputs: Outputs) -> FloatArray:
        """[N] float32."""
        assert outputs.embedding is not None
        return scored(self._formula, outputs.embedding)

    def _formula(self, embedding: Array) -> Array:
        placed = unit(embedding) if self.normalise else embedding
        y = (placed - self.mean) @ self.directions
        # -||y - m||^2 = 2 y.m - ||m||^2 - ||y||^2, of which only the first two depend on the class.
        nearest = np.maximum.reduce(2.0 * y @ self.means.T - np.add.reduce(self.means**2, axis=1), axis=1)
        score: Array = nearest - (y * y) @ (1.0 - 1.0 / self.eigenvalues)
        return score

    def tensors(self) -> Mapping[str, npt.NDArray[Any]]:
        """mean [D], directions [D, J], means [K, J], eigenvalues [J]."""
        return {
            "mean": full(self.mean),
            "directions": half(self.directions),
            "means": full(self.means),
            "eigenvalues": full(self.eigenvalues),
        }


class Rmds:
    """Of embeddings as they are, or at length 1."""

    needs: frozenset[Need] = frozenset({"embedding"})
    semantic = True

    def __init__(self, name: str, *, normalise: bool) -> None:
        self.name = name
        self._normalise = normalise

    def fit(self, source: Source) -> FittedRmds:
        """Of the classes that occur among the labels."""
        if source.outputs.embedding is None:
            raise ConfigError(f"scorer {self.name!r} needs embeddings")
        f = source.outputs.embedding.astype(np.float64)
        f = unit(f) if self._normalise else f
        mean = f.mean(axis=0)
        classes, index = np.unique(source.labels, return_inverse=True)
        centres = np.stack([f[index == k].mean(axis=0) for k in range(len(classes))])
        inner, outer = f - centres[index], f - mean
        within, total = inner.T @ inner / len(f), outer.T @ outer / len(f)
        ridge = max(RIDGE * float(np.trace(total)) / len(mean), _SMALLEST) * np.eye(len(mean))
        directions, eigenvalues = _discriminants(within + ridge, total + ridge, len(classes) - 1)
        return FittedRmds(mean, directions, (centres - mean) @ directions, eigenvalues, self._normalise)

    def load(self, tensors: Mapping[str, npt.NDArray[Any]]) -> FittedRmds:
        """From `FittedRmds.tensors`; an eigenvalue below 1, which no fit gives, counts as 1."""
        mean, directions, means, eigenvalues = arrived(
            self.name, tensors, mean="D", directions="DJ", means="KJ", eigenvalues="J"
        )
        return FittedRmds(mean, directions, means, np.maximum(eigenvalues, 1.0), self._normalise)


def _discriminants(within: Array, total: Array, most: int) -> tuple[Array, Array]:
    """(V [D, J], lambda [J]), lambda > 1, at most `most` of them; where there is none, one of no effect."""
    values, vectors = np.linalg.eigh(within)
    whiten = vectors / np.sqrt(np.maximum(values, _SMALLEST))
    found, rotated = np.linalg.eigh(whiten.T @ total @ whiten)
    kept = np.flatnonzero(found > _ONE)[::-1][:most]
    if not kept.size:
        return np.zeros((len(within), 1)), np.ones(1)
    return whiten @ rotated[:, kept], found[kept]


SCORERS.add("rmds", Rmds("rmds", normalise=False))
SCORERS.add("rmds-normalised", Rmds("rmds-normalised", normalise=True))
