"""How much longer a frame takes in a changed graph: measured, because nodes that do not fold are not free.

Both sessions run the same input in turn, one frame at a time and one thread, and each pair of times gives a
ratio; the median of these hardly depends on what else the machine does. Of a noisy machine believe the
first digit behind the point.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median
from typing import Protocol

from edgeadapt.tensors import FloatArray

_WARM_UP = 3
_MIN_ROUND_S = 2e-3
_BUDGET_S = 0.5
_MIN_ROUNDS = 7


class Runs(Protocol):
    """A session."""

    def run(self, x: FloatArray) -> object:
        """Compute the outputs for a batch."""
        ...


def cost_ratio(
    plain: Runs,
    changed: Runs,
    x: FloatArray,
    *,
    budget_s: float = _BUDGET_S,
    clock: Callable[[], float] = time.perf_counter,
) -> float:
    """Time of `changed` over time of `plain` for the batch `x`; takes about `budget_s`."""
    for session in (plain, changed):
        for _ in range(_WARM_UP):
            session.run(x)
    once_s = _time_s(plain, x, 1, clock)
    repeats = max(1, round(_MIN_ROUND_S / max(once_s, 1e-6)))
    ratios: list[float] = []
    end_s = clock() + budget_s
    while len(ratios) < _MIN_ROUNDS or clock() < end_s:
        # In both orders by turns, so that what is in the caches favours neither.
        first, second = (plain, changed) if len(ratios) % 2 else (changed, plain)
        times = {id(session): _time_s(session, x, repeats, clock) for session in (first, second)}
        ratios.append(times[id(changed)] / times[id(plain)])
    return median(ratios)


def _time_s(session: Runs, x: FloatArray, repeats: int, clock: Callable[[], float]) -> float:
    started_s = clock()
    for _ in range(repeats):
        session.run(x)
    return clock() - started_s
