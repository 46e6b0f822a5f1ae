"""Which frames are probed: all of them when much is to be learnt, few when little is.

The first frames of a segment are all probed; then the share falls as 1/n to that of a settled segment.
When a glance at the frames says that the world has jumped, all are probed again for a while, and then fewer
and fewer likewise.
"""

from __future__ import annotations

import numpy as np

from edgeadapt_device.config import ProbeSection
from edgeadapt_device.core.adapt.statistics.glance import Watch, glance
from edgeadapt_device.core.events import Image

# Frames from one glance to the next.
_GLANCE_EVERY = 2


class Probing:
    """Draws the frames of one device."""

    def __init__(
        self, config: ProbeSection, channels: int, rng: np.random.Generator, *, young_frames: int
    ) -> None:
        """`channels` is the distance of neighbouring values of a frame; `young_frames` may be 0."""
        self._config, self._channels, self._rng = config, channels, rng
        self._young_frames = young_frames
        self._watch = Watch()
        self._frames = 0
        # Frame of the segment at which the world last jumped.
        self._jump: int | None = None

    @property
    def enabled(self) -> bool:
        """False when no frame is ever probed."""
        return self._config.share > 0.0

    @property
    def young(self) -> bool:
        """True while every frame of a new segment, or after a jump, is probed."""
        return self._frames < self._young_frames or (
            self._jump is not None and self._frames - self._jump < self._config.burst_frames
        )

    def new_segment(self) -> None:
        """Begin again with probing all."""
        self._frames, self._jump = 0, None
        self._watch.restart()

    def wanted(self) -> bool:
        """Draw whether to probe the next frame."""
        if not self.enabled:
            return False
        if self.young:
            return True
        share = max(self._config.share, self._young_frames / (self._frames + 1))
        if self._jump is not None:
            share = max(share, self._config.burst_frames / (self._frames - self._jump + 1))
        return bool(self._rng.random() < share)

    def saw(self, frame: Image, uncertainty: float) -> bool:
        """Count a frame and the entropy of its prediction; True when the world seems to have jumped."""
        self._frames += 1
        if not self.enabled or self._frames % _GLANCE_EVERY:
            return False
        if not self._watch.observe((uncertainty, *glance(frame, self._channels))):
            return False
        self._jump = self._frames
        return True
