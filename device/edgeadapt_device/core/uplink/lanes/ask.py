"""The ask lane: one frame for each cluster of what stays strange, the most different first (k-centre).

Farthest-first traversal (Gonzalez, 1985) seeded with what was asked before: the next question is the
cluster that is farthest from every question so far. A cluster is asked about once; a later offer of it
takes the place of its earlier one while that waits. Not here: quarantine and clusters (`core.flagging`).
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Generic, TypeVar

import numpy as np

from edgeadapt_device.core.uplink.lanes.item import Item
from edgeadapt_device.core.uplink.lanes.memory import Memory

T = TypeVar("T")
# Cluster numbers that are remembered as asked.
_REMEMBERED = 1024


class AskLane(Generic[T]):
    """Questions that wait for their bytes, at most `limit`."""

    def __init__(self, limit: int = 16) -> None:
        self._limit = limit
        self._waiting: dict[int, tuple[Item, T]] = {}
        self._asked: OrderedDict[int, None] = OrderedDict()
        self._memory = Memory()

    def __len__(self) -> int:
        """Questions that wait."""
        return len(self._waiting)

    def offer(self, cluster: int, item: Item, thing: T) -> bool:
        """A frame that stands for a cluster; False when that was asked about, or there is no room."""
        if cluster in self._asked:
            return False
        if cluster not in self._waiting and len(self._waiting) >= self._limit:
            return False
        self._waiting[cluster] = (item, thing)
        return True

    def next(self) -> tuple[int, Item, T] | None:
        """The cluster to ask about next, or None; it waits on until it is `asked`."""
        if not self._waiting:
            return None
        clusters = list(self._waiting)
        vectors = np.stack([self._waiting[cluster][0].vector for cluster in clusters])
        farthest = clusters[int(self._memory.nearest(vectors).argmin())]
        return farthest, *self._waiting[farthest]

    def asked(self, cluster: int) -> None:
        """The question goes to the cloud."""
        item, _ = self._waiting.pop(cluster)
        self._memory.add(item.vector)
        self._asked[cluster] = None
        if len(self._asked) > _REMEMBERED:
            self._asked.popitem(last=False)
