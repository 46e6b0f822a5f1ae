"""Bytes within the last hour or day, never counted too low.

Time comes as seconds of a clock that only runs forward. It is cut into slices; a sum counts every slice
that reaches into the window as a whole, so it is never less than what was spent in any stretch of that
length, and more by at most one slice's bytes.
"""

from __future__ import annotations

from collections import deque

# Slices of a window.
_SLICES = 60


class SlidingWindow:
    """What was spent in the last `length_s` seconds."""

    def __init__(self, length_s: float) -> None:
        self._slice_s = length_s / _SLICES
        self._slices: deque[list[int]] = deque()
        self._sum = 0

    def add(self, cost_bytes: int, clock_s: float) -> None:
        """Spend at this moment."""
        index = self._forget(clock_s)
        if not self._slices or self._slices[-1][0] != index:
            self._slices.append([index, 0])
        self._slices[-1][1] += cost_bytes
        self._sum += cost_bytes

    def used_bytes(self, clock_s: float) -> int:
        """No less than what was spent in the window that ends now."""
        self._forget(clock_s)
        return self._sum

    def wait_s(self, room_bytes: int, clock_s: float) -> float:
        """Seconds until no more than `room_bytes` are counted, if nothing is spent; 0 when it is so now."""
        left = self.used_bytes(clock_s)
        for index, spent_bytes in self._slices:
            if left <= room_bytes:
                break
            left -= spent_bytes
            due_s = (index + _SLICES + 1) * self._slice_s
            if left <= room_bytes:
                return max(due_s - clock_s, 0.0)
        return 0.0

    def record(self) -> tuple[tuple[int, int], ...]:
        """(slice, bytes) pairs, for `restore`."""
        return tuple((index, spent_bytes) for index, spent_bytes in self._slices)

    def restore(self, record: tuple[tuple[int, int], ...]) -> None:
        """Go on with what an earlier process counted, on the same clock."""
        self._slices = deque([index, max(spent_bytes, 0)] for index, spent_bytes in sorted(record))
        self._sum = sum(spent_bytes for _, spent_bytes in self._slices)

    def _forget(self, clock_s: float) -> int:
        index = int(clock_s // self._slice_s)
        while self._slices and self._slices[0][0] < index - _SLICES:
            self._sum -= self._slices.popleft()[1]
        return index
