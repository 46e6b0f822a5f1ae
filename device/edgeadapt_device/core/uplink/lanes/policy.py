"""How the adapt lane chooses. A policy is one class; third parties register theirs by name.

The lane shows a policy every frame (`admits`), holds a fair sample of those that it admits until
`window_frames` were shown, then asks for an `order` and sends from its front what the bytes allow. What
was really sent is told with `sent`. A policy keeps no image, reads no clock and gets its random numbers.

    policy = make_policy("facility-location", FlaggingSection(), classes, rng)
    held = [item for item in window if policy.admits(item)]
    for index in policy.order(held, np.ones(len(held), np.float32), count=5):
        policy.sent(held[index])
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np

from edgeadapt.registry import Registry
from edgeadapt.tensors import FloatArray
from edgeadapt_device.config import FlaggingSection
from edgeadapt_device.core.uplink.lanes.item import Item


class Policy(Protocol):
    """Chooses among the frames of one segment.

    Attributes:
        window_frames: how many frames it wants to see before it chooses; 1: each at once.
    """

    window_frames: int

    def admits(self, item: Item) -> bool:
        """Whether the frame may be chosen at all."""
        ...

    def order(self, items: Sequence[Item], weights: FloatArray, count: int) -> list[int]:
        """Indices of at most `count` of N items, the best first, none twice.

        Args:
            items: those held at the end of a window.
            weights: [N] how many frames of the window each stands for.
            count: at most so many can be paid.
        """
        ...

    def sent(self, item: Item) -> None:
        """The item goes to the cloud."""
        ...

    def new_segment(self) -> None:
        """Forget what was sent: everything in a new domain is new."""
        ...


PolicyMaker = Callable[[FlaggingSection, int, np.random.Generator], Policy]
POLICIES: Registry[PolicyMaker] = Registry("selection policy")


def make_policy(name: str, config: FlaggingSection, classes: int, rng: np.random.Generator) -> Policy:
    """A policy by name for a model of so many classes; raises ConfigError that lists the known names."""
    return POLICIES.get(name)(config, classes, rng)
