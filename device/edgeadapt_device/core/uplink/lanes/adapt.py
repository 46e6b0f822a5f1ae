"""The adapt lane: a window and a reservoir around a policy.

The window ends after the policy's number of frames, after `window_s`, or with the segment. At its end the
policy puts what is held in order, and the caller takes from the front what it can pay. Images are copied
when they are held: a caller's buffer is its own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

import numpy as np

from edgeadapt_device.config import FlaggingSection
from edgeadapt_device.core.uplink.lanes.item import Item
from edgeadapt_device.core.uplink.lanes.policy import Policy, make_policy
from edgeadapt_device.core.uplink.lanes.reservoir import Reservoir

T = TypeVar("T")


class AdaptLane(Generic[T]):
    """Holds frames of one window; T is whatever belongs to an item (its image and the rest)."""

    def __init__(self, config: FlaggingSection, classes: int, rng: np.random.Generator) -> None:
        """With the policy that the configuration names; raises ConfigError when there is none such."""
        self.policy: Policy = make_policy(config.policy, config, classes, rng)
        self._window_s = config.window_s
        self._held: Reservoir[tuple[Item, T]] = Reservoir(
            config.reservoir_per_class, config.reservoir_bytes, rng
        )
        self._shown = 0
        self._since_s = 0.0

    def __len__(self) -> int:
        """Frames that are held."""
        return len(self._held)

    def show(self, item: Item, size_bytes: int, keep: Callable[[], T], mono_s: float) -> bool:
        """Show a frame of this window; True when it is held. `keep` makes a copy that may be held."""
        if not self._shown:
            self._since_s = mono_s
        self._shown += 1
        if not self.policy.admits(item):
            return False
        slot = self._held.place(item.predicted, size_bytes)
        if slot is None:
            return False
        self._held.put(item.predicted, slot, (item, keep()), size_bytes)
        return True

    def due(self, mono_s: float) -> bool:
        """True when the window is over."""
        if not self._shown:
            return False
        return self._shown >= self.policy.window_frames or mono_s - self._since_s >= self._window_s

    def close(self, count: int) -> list[tuple[Item, T]]:
        """End the window: at most `count` of what was held, the best first. `sent` each that is sent."""
        self._shown = 0
        held, weights = self._held.drain()
        order = self.policy.order([item for item, _ in held], weights, count)
        return [held[index] for index in order]

    def sent(self, item: Item) -> None:
        """The item goes to the cloud."""
        self.policy.sent(item)

    def new_segment(self) -> None:
        """Forget what was sent, and what of the old segment is still held."""
        self._shown = 0
        self._held.drain()
        self.policy.new_segment()
