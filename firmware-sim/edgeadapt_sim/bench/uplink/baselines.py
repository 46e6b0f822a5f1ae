"""Selection policies that ours is compared with, behind the device's own interface of a policy.

`uniform` takes any frame, `top-entropy` those that the model is least sure of (the opposite of a band, as
U-VPA, Gan et al., CVPR 2023), `k-centre` the one farthest from all that were sent (Sener and Savarese, ICLR
2018; greedy, Gonzalez 1985). Each puts a window's frames in order; the same lane, budget and codecs as for
ours do the rest. `entropy-band` (CEMA) is the device's own. None of them looks at a verdict.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgeadapt.tensors import FloatArray
from edgeadapt_device.config import FlaggingSection
from edgeadapt_device.core.uplink.lanes import POLICIES, Item
from edgeadapt_device.core.uplink.lanes.memory import Memory


class _Baseline:
    """Admits everything and remembers nothing."""

    def __init__(self, config: FlaggingSection, classes: int, rng: np.random.Generator) -> None:
        self.window_frames = config.window_frames
        self._rng = rng

    def admits(self, item: Item) -> bool:
        """Any frame."""
        return True

    def sent(self, item: Item) -> None:
        """Nothing follows."""

    def new_segment(self) -> None:
        """Nothing is forgotten."""


class Uniform(_Baseline):
    """Any frame, with equal chances."""

    def order(self, items: Sequence[Item], weights: FloatArray, count: int) -> list[int]:
        """At random."""
        return [int(index) for index in self._rng.permutation(len(items))[:count]]


class TopEntropy(_Baseline):
    """What the model is least sure of."""

    def order(self, items: Sequence[Item], weights: FloatArray, count: int) -> list[int]:
        """The largest entropy first."""
        entropies = np.array([item.entropy for item in items])
        return [int(index) for index in np.argsort(-entropies, kind="stable")[:count]]


class KCentre(_Baseline):
    """What is least like anything that was sent."""

    def __init__(self, config: FlaggingSection, classes: int, rng: np.random.Generator) -> None:
        super().__init__(config, classes, rng)
        self._sent = Memory(limit=4096)

    def order(self, items: Sequence[Item], weights: FloatArray, count: int) -> list[int]:
        """The farthest first, from what was sent and from those before it."""
        if not items:
            return []
        vectors = np.stack([item.vector for item in items])
        nearest = self._sent.nearest(vectors).astype(np.float64)
        chosen: list[int] = []
        for _ in range(min(count, len(items))):
            farthest = int(nearest.argmin())
            chosen.append(farthest)
            nearest = np.maximum(nearest, vectors @ vectors[farthest])
            nearest[farthest] = np.inf
        return chosen

    def sent(self, item: Item) -> None:
        """Keep away from it from now on."""
        self._sent.add(item.vector)

    def new_segment(self) -> None:
        """Everything in a new domain is new."""
        self._sent.clear()


def register() -> None:
    """Make the baselines known to the device's registry, once; only a study wants them there."""
    for name, policy in (("uniform", Uniform), ("top-entropy", TopEntropy), ("k-centre", KCentre)):
        if name not in POLICIES:
            POLICIES.add(name, policy)
