"""How long a swap of sessions held frames up, and since when the present one scores.

A new session is built beside the running one and takes over between two frames; what a user may notice is
the longest pause between two frames from the begin of the build to the first frame afterwards. The pace
of the source is part of such a pause: 20 ms at 50 frames a second are no gap at all.
"""

from __future__ import annotations


class Swaps:
    """Told of builds, take-overs and frames, in order, by whoever performs them.

    Attributes:
        count: sessions that took over from another one.
        gap_ms: longest pause around the last take-over.
        since_s: monotonic second of the last take-over; None before the first session.
        frame_s: monotonic second of the last frame; None before the first.
    """

    def __init__(self) -> None:
        self.count = 0
        self.gap_ms = 0.0
        self.since_s: float | None = None
        self.frame_s: float | None = None
        self._builds = False
        self._took_over = False
        self._longest_s = 0.0

    def build(self) -> None:
        """A session is asked for."""
        self._builds, self._longest_s = True, 0.0

    def take_over(self, mono_s: float) -> None:
        """The next frame is scored by another session, just built or kept warm."""
        self.count += self.since_s is not None
        self.since_s = mono_s
        self._took_over = True

    def frame(self, mono_s: float) -> None:
        """A frame was scored."""
        if self.frame_s is not None and (self._builds or self._took_over):
            self._longest_s = max(self._longest_s, mono_s - self.frame_s)
        self.frame_s = mono_s
        if self._took_over:
            self.gap_ms = 1000.0 * self._longest_s
            self._builds = self._took_over = False
            self._longest_s = 0.0
