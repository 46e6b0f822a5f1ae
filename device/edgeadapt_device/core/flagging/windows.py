"""The verdict about a window of frames: its share of strange ones, and the drift test.

Of n familiar frames about alpha n are strange by definition. A window has too many when the chance of as
many or more, as of independent draws, is below one in a hundred. Frames of a stream are not independent:
a strange thing that stands before the camera for a while fills a window, and that is what is to be seen.
"""

from __future__ import annotations

import math

from edgeadapt.wire import Verdict
from edgeadapt_device.core.flagging.decision import Decision, WindowVerdict

_CHANCE = 0.01
_INFORMATIVE_SHARE = 0.25


class Windows:
    """Counts the frames of one window after the other."""

    def __init__(self, frames: int, alpha: float) -> None:
        self._size, self._allowed = frames, most_by_chance(frames, alpha)
        self.restart()

    def restart(self) -> None:
        """Begin a window: with a new segment, so that none spans two domains."""
        self._frames = self._strange = self._informative = self._unreliable = 0

    def observe(self, decision: Decision) -> bool:
        """Count a frame; True when the window is full, and `close` says what it was."""
        self._frames += 1
        verdict = decision.verdict
        if verdict in ("shifted", "unknown"):
            self._strange += 1
        elif verdict == "informative":
            self._informative += 1
        elif verdict == "unreliable":
            self._unreliable += 1
        return self._frames >= self._size

    def close(self, *, drifted: bool, adapted: bool) -> WindowVerdict:
        """The verdict, and a new window."""
        found = WindowVerdict(
            self._verdict(drifted=drifted, adapted=adapted),
            self._frames,
            self._strange,
            self._allowed,
            drifted,
            adapted,
        )
        self.restart()
        return found

    def _verdict(self, *, drifted: bool, adapted: bool) -> Verdict:
        if 2 * self._unreliable > self._frames:
            return "unreliable"
        if drifted and not adapted:
            return "shifted"
        if self._strange > self._allowed:
            return "unknown" if adapted else "shifted"
        if self._informative >= _INFORMATIVE_SHARE * self._frames:
            return "informative"
        return "familiar"


def most_by_chance(frames: int, alpha: float) -> int:
    """The smallest k with P(Binomial(frames, alpha) > k) below `_CHANCE`.

    >>> most_by_chance(64, 0.05)
    8
    """
    if alpha >= 1.0:
        return frames
    log_odds = math.log(alpha) - math.log1p(-alpha) if alpha > 0.0 else -math.inf
    log_mass, below = frames * math.log1p(-alpha), 0.0
    for count in range(frames + 1):
        below += math.exp(log_mass)
        if 1.0 - below < _CHANCE:
            return count
        log_mass += math.log((frames - count) / (count + 1)) + log_odds if count < frames else 0.0
    return frames
