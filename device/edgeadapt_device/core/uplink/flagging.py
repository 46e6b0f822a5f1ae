"""Which frames go to the teacher: an adapt lane by entropy and redundancy, and a uniform lane.

The adapt lane keeps E_min < E < E_max and what does not look like the kept ones (EATA, CEMA; see
`edgeadapt.scoring`). The uniform lane draws frames at random so that they make a fixed share of the
uploads: statistics and gates computed on entropy-filtered samples alone would be biased.
"""

from __future__ import annotations

import numpy as np

from edgeadapt.scoring import RedundancyFilter, entropy_bounds
from edgeadapt.tensors import FloatArray
from edgeadapt.wire import Lane
from edgeadapt_device.config import FlaggingSection

# A due uniform draw waits a random number of frames, so that it is not tied to the frame that earned it.
_DRAW_CHANCE = 0.25


class Flagger:
    """Judges one frame at a time; the budget has the last word, so keeping is a second call."""

    def __init__(self, config: FlaggingSection, classes: int, rng: np.random.Generator) -> None:
        self._config = config
        self._classes = classes
        self._rng = rng
        self._low, self._high = entropy_bounds(classes, config.entropy_low, config.entropy_high)
        self._per_adapt = config.uniform_share / (1.0 - config.uniform_share)
        self._credit = 0.0
        self.new_segment()

    def new_segment(self) -> None:
        """Forget what was kept: everything in a new domain is new."""
        self._redundancy = RedundancyFilter(self._classes, self._config.redundancy_margin)

    def judge(self, probabilities: FloatArray, entropy: float, *, at_home: bool) -> Lane | None:
        """The lane in which the frame [K] is worth uploading, or None; at home only the uniform lane is."""
        if not self._config.enabled:
            return None
        self._credit = min(self._credit + self._config.uniform_per_frame, 4.0)
        if self._credit >= 1.0 and self._rng.random() < _DRAW_CHANCE:
            return "audit"
        if not at_home and self._low < entropy < self._high and self._redundancy.is_new(probabilities):
            return "adapt"
        return None

    def keep(self, lane: Lane, probabilities: FloatArray) -> None:
        """Count a frame as uploaded in `lane`."""
        if lane == "audit":
            self._credit -= 1.0
        else:
            self._credit += self._per_adapt
            self._redundancy.keep(probabilities)
