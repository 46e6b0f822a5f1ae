"""Says once what happens a thousand times: lines of the log, and reports that anyone could provoke."""

from __future__ import annotations

from edgeadapt.clock import Instant


class Throttle:
    """Lets one thing through per pause, and counts those that it held back.

    >>> throttle = Throttle(10.0)
    >>> [throttle.admit(Instant(mono_s, 0.0)) for mono_s in (0.0, 1.0, 2.0, 10.0, 20.0)]
    [0, None, None, 2, 0]
    """

    def __init__(self, every_s: float) -> None:
        self._every_s = every_s
        self._next_mono_s: float | None = None
        self._held = 0

    def waits(self, now: Instant) -> bool:
        """True while `admit` would hold back; asking counts nothing."""
        return self._next_mono_s is not None and now.mono_s < self._next_mono_s

    def admit(self, now: Instant) -> int | None:
        """How many were held back since the last one; None: hold this one back too."""
        if self.waits(now):
            self._held += 1
            return None
        held, self._held = self._held, 0
        self._next_mono_s = now.mono_s + self._every_s
        return held


def and_more(held: int) -> str:
    """For the end of a line: how often the same was not said."""
    return f" (and {held} more since the last such line)" if held else ""
