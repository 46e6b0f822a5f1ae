"""The ask lane: of the clusters of what stays strange, ask about the most different first (k-centre).

Farthest-first traversal (Gonzalez, 1985) seeded with what was asked before: the next question is the one
that is farthest from every question so far, asked or chosen. Not here: quarantine, its clusters, and that
each is asked about once (`core.flagging`).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgeadapt_device.core.uplink.lanes.item import Item
from edgeadapt_device.core.uplink.lanes.memory import Memory


class AskLane:
    """Remembers what was asked, over all segments."""

    def __init__(self) -> None:
        self._memory = Memory()

    def order(self, items: Sequence[Item]) -> list[int]:
        """Indices of all items, in the order in which to ask about them."""
        if not items:
            return []
        vectors = np.stack([item.vector for item in items])
        nearest = self._memory.nearest(vectors).astype(np.float64)
        order: list[int] = []
        for _ in items:
            best = int(nearest.argmin())
            order.append(best)
            nearest = np.maximum(nearest, vectors @ vectors[best])
            nearest[order] = np.inf
        return order

    def asked(self, item: Item) -> None:
        """The question goes to the cloud."""
        self._memory.add(item.vector)
