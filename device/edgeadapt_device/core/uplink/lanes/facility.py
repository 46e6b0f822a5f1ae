"""Facility location: send the frames that stand best for all frames of the window and were not sent yet.

f(S) = sum_i w_i max_{s in S or sent} max(v_i . v_s, 0) over the held frames i, with vectors of length 1. It
is submodular, so taking the largest gain again and again is within 1 - 1/e of the best set (Nemhauser,
Wolsey and Fisher, 1978). Weights w_i make a window's frequent kinds of frames count as often as they
came. Gains also fall by what the segment has sent already, so a stretch that repeats itself sends less
and less: an item nearer than `min_novelty` to one that was sent is not chosen at all.

All frames of a window count alike. To let the strange ones count for less keeps two or three in a hundred
more of no known class out of the uploads, but costs what can be taught: 2 points of accuracy at 5 % of the
stream (docs/uplink.md).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgeadapt.tensors import FloatArray
from edgeadapt.wire import Verdict
from edgeadapt_device.config import FlaggingSection
from edgeadapt_device.core.uplink.lanes.item import Item
from edgeadapt_device.core.uplink.lanes.memory import Memory
from edgeadapt_device.core.uplink.lanes.policy import POLICIES

# Only what the model knows: a teacher's label on an unknown object would teach a mistake.
LEARNABLE: frozenset[Verdict] = frozenset(("familiar", "informative", "shifted"))


class FacilityLocation:
    """The default policy."""

    def __init__(self, config: FlaggingSection, classes: int, rng: np.random.Generator) -> None:
        """Without randomness of its own; `classes` and `rng` are what every policy gets."""
        self.window_frames = config.window_frames
        self._min_novelty = config.min_novelty
        self._sent = Memory()

    def admits(self, item: Item) -> bool:
        """What is known to the model."""
        return item.decision.verdict in LEARNABLE

    def order(self, items: Sequence[Item], weights: FloatArray, count: int) -> list[int]:
        """Greedy, the largest gain first."""
        if not items:
            return []
        vectors = np.stack([item.vector for item in items])
        return greedy(vectors, weights, self._sent.nearest(vectors), count, self._min_novelty)

    def sent(self, item: Item) -> None:
        """Remember it for this segment."""
        self._sent.add(item.vector)

    def new_segment(self) -> None:
        """Nothing was sent yet."""
        self._sent.clear()


def greedy(
    vectors: FloatArray, weights: FloatArray, nearest: FloatArray, count: int, min_novelty: float
) -> list[int]:
    """Indices of at most `count` of N vectors in the order in which they add most to f.

    Args:
        vectors: [N, D] of length 1.
        weights: [N] how much each counts.
        nearest: [N] scalar product with the nearest vector that was sent; -1: none was.
        count: at most so many.
        min_novelty: least distance (1 - scalar product) of a choice from what was sent or chosen before.
    """
    similar = np.maximum(vectors @ vectors.T, 0.0)
    covered = np.maximum(nearest, 0.0).astype(np.float64)
    closest = nearest.astype(np.float64)
    chosen: list[int] = []
    for _ in range(min(count, len(vectors))):
        gains = weights @ np.maximum(similar - covered[:, None], 0.0)
        gains[1.0 - closest < min_novelty] = -1.0
        best = int(gains.argmax())
        if gains[best] <= 0.0:
            break
        chosen.append(best)
        covered = np.maximum(covered, similar[:, best])
        closest = np.maximum(closest, similar[:, best])
    return chosen


POLICIES.add("facility-location", FacilityLocation)
