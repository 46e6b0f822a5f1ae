"""Hyperdimensional computing, after HDFF (Wilson et al., WACV 2023): project, bundle, cosine.

Embeddings at length 1 are thrown into many more dimensions by a random projection; the sum over a class is
its bundle, and a frame's score is its largest cosine to a bundle, both seen from the middle of all bundles.
Only the seed and the bundles travel: the projection is made of bits that every release of numpy draws alike.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from edgeadapt.errors import ConfigError, WireError
from edgeadapt.scoring.base import SCORERS, Need, Outputs, Source
from edgeadapt.scoring.rows import Array, scored, unit
from edgeadapt.scoring.shipped import arrived, full, half
from edgeadapt.tensors import FloatArray

DIMENSIONS = 512
SEED = 74755
_WORD = 64
_MOST_SIGNS = 1 << 22
"""A projection takes 8 bytes for each on a device."""


@dataclass(frozen=True, slots=True)
class FittedHdc:
    """Seed [1] and bundles [K, H]: mean projections of each class; the rest follows from them."""

    seed: Array
    bundles: Array
    width: int
    _projection: Array = field(init=False, repr=False)
    _middle: Array = field(init=False, repr=False)
    _around: Array = field(init=False, repr=False)

    def __post_init__(self) -> None:
        several = len(self.bundles) > 1
        middle = self.bundles.mean(axis=0) if several else np.zeros(self.bundles.shape[1])
        put = object.__setattr__
        put(self, "_projection", projection(int(self.seed[0]), self.width, self.bundles.shape[1]))
        put(self, "_middle", middle)
        put(self, "_around", unit(self.bundles - middle))

    def score(self, outputs: Outputs) -> FloatArray:
        """[N] float32, a cosine."""
        assert outputs.embedding is not None
        return scored(self._formula, outputs.embedding)

    def _formula(self, embedding: Array) -> Array:
        away = unit(unit(embedding) @ self._projection - self._middle)
        nearest: Array = np.maximum.reduce(away @ self._around.T, axis=1)
        return nearest

    def tensors(self) -> Mapping[str, npt.NDArray[Any]]:
        """seed [1], width [1] and bundles [K, H]."""
        return {"seed": full(self.seed), "width": full(self.width), "bundles": half(self.bundles)}


class Hdc:
    """512 dimensions, bundles of the classes that occur among the labels."""

    name = "hdc"
    needs: frozenset[Need] = frozenset({"embedding"})
    semantic = True

    def fit(self, source: Source) -> FittedHdc:
        """Bundle source embeddings by class."""
        if source.outputs.embedding is None:
            raise ConfigError(f"scorer {self.name!r} needs embeddings")
        f = unit(source.outputs.embedding.astype(np.float64))
        thrown = f @ projection(SEED, f.shape[1], DIMENSIONS)
        bundles = [thrown[source.labels == k].mean(axis=0) for k in np.unique(source.labels)]
        return FittedHdc(np.array([float(SEED)]), np.stack(bundles), f.shape[1])

    def load(self, tensors: Mapping[str, npt.NDArray[Any]]) -> FittedHdc:
        """From `FittedHdc.tensors`."""
        seed, width, bundles = arrived(self.name, tensors, seed="1", width="1", bundles="KH")
        if not (0 <= seed[0] < 1 << 31 and 1 <= width[0] <= _MOST_SIGNS / bundles.shape[1]):
            raise WireError(f"scorer {self.name!r}: seed {seed[0]:g} or width {width[0]:g} is out of range")
        return FittedHdc(seed, bundles, int(width[0]))


def projection(seed: int, width: int, dimensions: int) -> Array:
    """[width, dimensions] of +-1 / sqrt(dimensions), so that lengths are kept on the mean.

    Signs are the bits of PCG64's raw output, low bit first: the distributions of `numpy.random.Generator` may
    change from release to release, its bit generators' streams do not.
    """
    count = width * dimensions
    words = np.random.PCG64(seed).random_raw(-(-count // _WORD)).astype("<u8")
    bits = np.unpackbits(words.view(np.uint8), bitorder="little")[:count]
    signs: Array = (bits * 2.0 - 1.0).reshape(width, dimensions) / np.sqrt(dimensions)
    return signs


SCORERS.add(Hdc.name, Hdc())
