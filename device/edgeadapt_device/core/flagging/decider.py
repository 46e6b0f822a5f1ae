"""From a scored frame to its verdict."""

from __future__ import annotations

import math

from edgeadapt.bundle.bundle import Bundle
from edgeadapt.scoring import entropy_bounds
from edgeadapt_device.config import FlaggingSection
from edgeadapt_device.core.events import FrameScored
from edgeadapt_device.core.flagging.decision import Decision


class Decider:
    """Judges every frame of one device."""

    def __init__(self, bundle: Bundle, config: FlaggingSection) -> None:
        self._low, self._high = entropy_bounds(
            len(bundle.manifest.classes), config.entropy_low, config.entropy_high
        )

    def judge(self, event: FrameScored, entropy: float) -> Decision:
        """The verdict about one frame, with the entropy of its prediction in nats."""
        if not math.isfinite(entropy):
            return Decision("unreliable", reason="the outputs are not finite")
        if self._low < entropy < self._high:
            return Decision("informative", reason="the prediction is unsure")
        return Decision("familiar")
