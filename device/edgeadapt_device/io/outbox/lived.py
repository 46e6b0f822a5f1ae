"""How old a row is, on a device whose clock may be wrong.

Retention must not wipe everything because a clock without a battery came up in 1970 and was set, or because
somebody set it ten years ahead; nor may it keep pictures for ever on a device that is switched off at night.
So rows are dated by a clock of the outbox's own, in seconds *lived*:

- while the process runs it goes by the monotonic clock, whatever happens to the wall clock;
- from one process to the next it goes on by the wall clock, if that went forward, and by no more than
  `most_gap_s`: half of the retention. No single jump reaches the rows of the last half.

What this gives: a row outlives its retention by at most the time that the device was switched off, and then
only while that was longer than half of the retention, or the wall clock was wrong.
"""

from __future__ import annotations

from edgeadapt.clock import Instant


class Lived:
    """Seconds lived, over restarts."""

    def __init__(self, lived_s: float, saved_wall_s: float, now: Instant, *, most_gap_s: float) -> None:
        """Go on from what an earlier process saved at `saved_wall_s` (0.0: there was none)."""
        gap_s = now.wall_s - saved_wall_s if saved_wall_s > 0.0 else 0.0
        # A comparison with a NaN is false: a clock without a time adds nothing.
        self._base_s = lived_s + (min(gap_s, most_gap_s) if gap_s > 0.0 else 0.0)
        self._start_mono_s = now.mono_s

    def at(self, now: Instant) -> float:
        """Seconds lived until `now`."""
        return self._base_s + max(now.mono_s - self._start_mono_s, 0.0)
