"""The audit lane: every frame has the same known chance, whatever it shows.

The chance is fixed before a frame is looked at, by what the lane has left to spend: full while it has
plenty, falling to nothing before it is empty. A frame that is drawn is sent with its chance, so the cloud
can weigh it by 1 / chance (Horvitz and Thompson, 1952): the only unbiased view of what the device sees.
Frames while the chance is 0 are not covered, and do not count as covered either.

What the lane has left is not reckoned for every frame: a number that not even the largest chance would draw
is no draw, whatever the chance is.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np


class AuditLane:
    """Draws frames."""

    def __init__(self, most: float, rng: np.random.Generator) -> None:
        """`most` is the chance of a frame while there is plenty to spend."""
        self._most, self._rng = most, rng

    def chance(self, left_bytes: float, dearest_bytes: float, full_bytes: float) -> float:
        """The chance of the next frame.

        Args:
            left_bytes: what the lane may spend now.
            dearest_bytes: the most that one frame may cost; what is drawn must be affordable.
            full_bytes: what the lane can save up.
        """
        plenty = max(full_bytes / 2.0 - dearest_bytes, 1.0)
        return self._most * float(np.clip((left_bytes - dearest_bytes) / plenty, 0.0, 1.0))

    def draw(self, chance: Callable[[], float]) -> float:
        """The chance by which this frame is sent, 0 when it is not; one random number for every frame.

        Args:
            chance: gives the chance, at most the largest; it is called when the frame may be drawn.
        """
        number = self._rng.random()
        if number >= self._most:
            return 0.0
        known = chance()
        return known if number < known else 0.0
