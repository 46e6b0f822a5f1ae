"""Many moments, of which the first is asked for again and again: a heap that has stale entries."""

from __future__ import annotations

import heapq

# Stale entries that are let be before all are sorted out.
_SLACK = 64


class Deadlines:
    """At most one moment (monotonic seconds) for each number; `first` is O(1), the rest O(log n), amortised.

    >>> deadlines = Deadlines()
    >>> deadlines.set(7, 20.0); deadlines.set(8, 10.0); deadlines.set(8, 30.0)
    >>> deadlines.first, deadlines.due(25.0), len(deadlines)
    (20.0, [7], 1)
    """

    def __init__(self) -> None:
        self._at: dict[int, float] = {}
        self._heap: list[tuple[float, int]] = []

    def __len__(self) -> int:
        """How many numbers have a moment."""
        return len(self._at)

    def __contains__(self, number: object) -> bool:
        """Whether a number has a moment."""
        return number in self._at

    def set(self, number: int, at_s: float) -> None:
        """It is due then, and not when it was before."""
        self._at[number] = at_s
        heapq.heappush(self._heap, (at_s, number))
        if len(self._heap) > 2 * len(self._at) + _SLACK:
            self._rebuild()
        self._meet()

    def drop(self, number: int) -> None:
        """It is never due; one that has no moment is ignored."""
        self._at.pop(number, None)
        self._meet()

    def shift(self, seconds: float) -> None:
        """All that there are come so much later."""
        self._at = {number: at_s + seconds for number, at_s in self._at.items()}
        self._rebuild()

    @property
    def first(self) -> float | None:
        """The next moment, None when there is none."""
        return self._heap[0][0] if self._heap else None

    def due(self, now_s: float) -> list[int]:
        """Numbers whose moment has come, the first first; they have none any more."""
        numbers = []
        while self._heap and self._heap[0][0] <= now_s:
            number = self._heap[0][1]
            numbers.append(number)
            self.drop(number)
        return numbers

    def _meet(self) -> None:
        """Let go of what is stale until the first entry is not."""
        while self._heap and self._at.get(self._heap[0][1]) != self._heap[0][0]:
            heapq.heappop(self._heap)

    def _rebuild(self) -> None:
        self._heap = [(at_s, number) for number, at_s in self._at.items()]
        heapq.heapify(self._heap)
