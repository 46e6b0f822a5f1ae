"""Whether the model has adapted to the domain that it sees: before it has, nothing is called unknown.

No score tells a new domain from a new class before adaptation; after a good one they do. Adapted is

    a patch that passed its trial here, or one that the bank remembers, while it runs
    the base whose own statistics have followed the segment for long enough; in another domain than the
    source's, a window must have shown that not too much is strange all the same
    a model that nothing on the device can move, or that is never probed, while the domain is the source's

and what is on trial has not proved that it fits. Not here: how statistics move (`core.adapt`).
"""

from __future__ import annotations

from edgeadapt_device.core.adapt.adaptation import Adaptation
from edgeadapt_device.core.flagging.decision import WindowVerdict

# Measured frames per frame of the prior, from which on statistics are the domain's: four fifths of them.
_SETTLED_TIMES = 4.0
# Share of a window: with more strange frames it is the domain that is strange. On Fashion-MNIST under fog and
# contrast, own statistics left 60 to 75 % of known frames strange, and 45 to 55 % rightly classified.
_MOST_STRANGE = 1 / 3
# Probed frames that say whether this is the source's domain.
_ENOUGH_FRAMES = 16


class Settled:
    """Asks the parts that know."""

    def __init__(self, adaptation: Adaptation, prior_frames: float) -> None:
        """`prior_frames` is what the source's statistics count for in the device's own."""
        self._adaptation = adaptation
        self._frames = max(int(_SETTLED_TIMES * prior_frames), 1)

    def adapted(self, token: int, window: WindowVerdict | None = None) -> bool:
        """True when what scored a frame (a generation's token) had adapted to the present domain.

        `window` is the verdict about the segment's last whole window, None before the first.
        """
        adaptation = self._adaptation
        if adaptation.routes.is_elsewhere(token):
            return True
        trial = adaptation.patches.trial
        if trial.watched:
            return False
        entry = adaptation.switching.running.entry
        if entry is not None and entry.confirmed and entry.patch.values:
            return True
        return self._own() and not (self.drifted and _overwhelmed(window))

    def _own(self) -> bool:
        adaptation = self._adaptation
        statistics, probing = adaptation.statistics, adaptation.probing
        if statistics.moves_statistics and probing.enabled:
            # A switch to the base is on its way: what is held still belongs to the domain before.
            return adaptation.switching.coming is None and statistics.frames >= self._frames
        if not probing.enabled:
            return True
        return adaptation.tracker.frames >= _ENOUGH_FRAMES and not self.drifted

    @property
    def drifted(self) -> bool:
        """True when probed frames say that this is not the source's domain: the alarm, or the last."""
        tracker, home = self._adaptation.tracker, self._adaptation.home
        return tracker.alarm.alarm or (tracker.frames >= _ENOUGH_FRAMES and home.nearness <= 1.0)


def _overwhelmed(window: WindowVerdict | None) -> bool:
    return window is None or window.strange > _MOST_STRANGE * window.frames
