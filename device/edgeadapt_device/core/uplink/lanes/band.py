"""Entropy band and redundancy (EATA, CEMA; see `edgeadapt.scoring`): each frame for itself, at once.

Takes a frame with E_min < E < E_max whose prediction does not look like the mean of the kept ones. Cheap,
holds no frame back, and biased towards what the model finds hard.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgeadapt.scoring import RedundancyFilter, entropy_bounds
from edgeadapt.tensors import FloatArray
from edgeadapt_device.config import FlaggingSection
from edgeadapt_device.core.uplink.lanes.facility import LEARNABLE
from edgeadapt_device.core.uplink.lanes.item import Item
from edgeadapt_device.core.uplink.lanes.policy import POLICIES


class EntropyBand:
    """The rule of CEMA."""

    window_frames = 1

    def __init__(self, config: FlaggingSection, classes: int, rng: np.random.Generator) -> None:
        """Without randomness of its own; `rng` is what every policy gets."""
        self._classes, self._margin = classes, config.redundancy_margin
        self._low, self._high = entropy_bounds(classes, config.entropy_low, config.entropy_high)
        self.new_segment()

    def admits(self, item: Item) -> bool:
        """In the band, and new."""
        return (
            item.decision.verdict in LEARNABLE
            and self._low < item.entropy < self._high
            and self._redundancy.is_new(item.probabilities)
        )

    def order(self, items: Sequence[Item], weights: FloatArray, count: int) -> list[int]:
        """As they came."""
        return list(range(min(len(items), count)))

    def sent(self, item: Item) -> None:
        """Count its prediction as kept."""
        self._redundancy.keep(item.probabilities)

    def new_segment(self) -> None:
        """Nothing was kept yet."""
        self._redundancy = RedundancyFilter(self._classes, self._margin)


POLICIES.add("entropy-band", EntropyBand)
