"""Whether the model has adapted to the domain that it sees: before it has, nothing is called unknown.

No score tells a new domain from a new class before adaptation; after a good one they do. Adapted is

    a patch that passed its trial here, or one that the bank remembers, while it runs
    the base whose own statistics have followed the segment for long enough
    a model that nothing on the device can move, or that is never probed, while the domain is the source's

and what is on trial has not proved that it fits. Not here: how statistics move (`core.adapt`), and whether
there are thresholds for the domain (`basis`).
"""

from __future__ import annotations

from edgeadapt_device.core.adapt.adaptation import Adaptation

# Measured frames per frame of the prior, from which on statistics are the domain's: four fifths of them.
_SETTLED_TIMES = 4.0
# Probed frames that say whether this is the source's domain.
_ENOUGH_FRAMES = 16


class Settled:
    """Asks the parts that know."""

    def __init__(self, adaptation: Adaptation, prior_frames: float) -> None:
        """`prior_frames` is what the source's statistics count for in the device's own."""
        self._adaptation = adaptation
        self._frames = max(int(_SETTLED_TIMES * prior_frames), 1)

    def adapted(self, token: int) -> bool:
        """True when what scored a frame (a generation's token) had adapted to the present domain."""
        adaptation = self._adaptation
        if adaptation.routes.is_elsewhere(token):
            return True
        trial = adaptation.patches.trial
        if trial.watched:
            return False
        entry = adaptation.switching.running.entry
        if entry is not None and entry.confirmed and entry.patch.values:
            return True
        return self._own()

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
