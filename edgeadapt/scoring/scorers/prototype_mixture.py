"""Prototype mixture: how likely a frame's direction is under several prototypes a class.

After PALM (Lu et al., ICLR 2024), which trains embeddings as a mixture of von Mises-Fisher distributions
around several prototypes a class. Here the embedding is what it is, and the prototypes are found in it:

    log sum over prototypes of w_p exp((cos(f, p) - 1) / tau)

Prototypes come from spherical k-means within each class, with a fixed seed; w_p is a prototype's share of all
frames, and 1 / tau the concentration of the frames about their prototypes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from edgeadapt.errors import ConfigError
from edgeadapt.scoring.base import SCORERS, Need, Outputs, Source
from edgeadapt.scoring.rows import Array, log_sum_exp, scored, unit
from edgeadapt.scoring.shipped import arrived, full, half
from edgeadapt.tensors import FloatArray

PER_CLASS = 4
_ROUNDS = 20
_SEED = 0
_LEAST_SPREAD = 1e-4


@dataclass(frozen=True, slots=True)
class FittedMixture:
    """Prototypes [J, D] of length 1, log of their shares [J], and 1 / tau [1]."""

    prototypes: Array
    log_shares: Array
    concentration: Array

    def score(self, outputs: Outputs) -> FloatArray:
        """[N] float32."""
        assert outputs.embedding is not None
        return scored(self._formula, outputs.embedding)

    def _formula(self, embedding: Array) -> Array:
        cosine = unit(embedding) @ self.prototypes.T
        return log_sum_exp((cosine - 1.0) * self.concentration[0] + self.log_shares)

    def tensors(self) -> Mapping[str, npt.NDArray[Any]]:
        """prototypes [J, D], log_shares [J], concentration [1]."""
        return {
            "prototypes": half(self.prototypes),
            "log_shares": full(self.log_shares),
            "concentration": full(self.concentration),
        }


class PrototypeMixture:
    """Several prototypes a class; fewer where a class has fewer frames."""

    name = "prototype-mixture"
    needs: frozenset[Need] = frozenset({"embedding"})
    semantic = True

    def fit(self, source: Source) -> FittedMixture:
        """Find prototypes in the directions of source embeddings."""
        if source.outputs.embedding is None:
            raise ConfigError(f"scorer {self.name!r} needs embeddings")
        rng = np.random.default_rng(_SEED)
        f = unit(source.outputs.embedding.astype(np.float64))
        found = [_cluster(f[source.labels == k], rng) for k in np.unique(source.labels)]
        prototypes = np.concatenate([centres for centres, _, _ in found])
        counts = np.concatenate([sizes for _, sizes, _ in found])
        spread = sum(lost for _, _, lost in found) / len(f)
        # About a prototype, 1 - cos is about half the sum of D - 1 variances of tau.
        tau = max(2.0 * spread / max(f.shape[1] - 1, 1), _LEAST_SPREAD)
        return FittedMixture(prototypes, np.log(counts / counts.sum()), np.array([1.0 / tau]))

    def load(self, tensors: Mapping[str, npt.NDArray[Any]]) -> FittedMixture:
        """From `FittedMixture.tensors`."""
        prototypes, log_shares, concentration = arrived(
            self.name, tensors, prototypes="JD", log_shares="J", concentration="1"
        )
        # Rounded to float16 they are a little longer or shorter, and 1 / tau is in the hundreds.
        return FittedMixture(unit(prototypes), log_shares, concentration)


def _cluster(f: Array, rng: np.random.Generator) -> tuple[Array, Array, float]:
    """Spherical k-means of [n, D]: (centres [k, D], sizes [k], sum of 1 - cos), k <= `PER_CLASS`."""
    centres = f[rng.choice(len(f), min(PER_CLASS, len(f)), replace=False)]
    for _ in range(_ROUNDS):
        nearest = (f @ centres.T).argmax(axis=1)
        sizes = np.bincount(nearest, minlength=len(centres))
        sums = np.zeros_like(centres)
        np.add.at(sums, nearest, f)
        moved = np.where(sizes[:, None] > 0, unit(sums), centres)
        if np.allclose(moved, centres):
            break
        centres = moved
    cosine = f @ centres.T
    sizes = np.bincount(cosine.argmax(axis=1), minlength=len(centres))
    used = sizes > 0
    return centres[used], sizes[used].astype(np.float64), float((1.0 - cosine.max(axis=1)).sum())


SCORERS.add(PrototypeMixture.name, PrototypeMixture())
