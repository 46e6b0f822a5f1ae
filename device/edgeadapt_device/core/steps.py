"""Notices that the wall clock was set: a board without a clock chip starts in 1970 and is put right later.

Both clocks count seconds, so their difference stays; when it changes by more than a correction would make,
the wall clock has stepped. Timers do not follow it; what was judged by the wrong time is judged again.
"""

from __future__ import annotations

from edgeadapt.clock import Instant

# Daemons that keep the time correct it by parts of a second; steps that matter to an expiry are larger.
_STEP_S = 60.0


class ClockSteps:
    """Compares each moment with the one before.

    >>> steps = ClockSteps()
    >>> [steps.step_s(Instant(mono, wall)) for mono, wall in ((0.0, 0.0), (10.0, 10.5), (11.0, 1000.5))]
    [0.0, 0.0, 989.0]
    """

    def __init__(self) -> None:
        self._offset_s: float | None = None

    def step_s(self, now: Instant) -> float:
        """By how much the wall clock has stepped since the last moment; 0 when it has not."""
        offset_s, before_s = now.wall_s - now.mono_s, self._offset_s
        self._offset_s = offset_s
        step_s = offset_s - before_s if before_s is not None else 0.0
        return step_s if abs(step_s) > _STEP_S else 0.0
