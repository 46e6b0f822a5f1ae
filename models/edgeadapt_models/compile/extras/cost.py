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
from edgeadapt_models.compile.extras.build import Ground, add_extras
from edgeadapt_models.compile.extras.request import VARIANTS, ExtrasRequest
from edgeadapt_models.compile.runtime import Runner

_WARM_UP = 3
_MIN_ROUND_S = 2e-3
_BUDGET_S = 0.5
_MIN_ROUNDS = 7


class Runs(Protocol):
    """A session."""

    def run(self, x: FloatArray) -> object:
        """Compute the outputs for a batch."""
        ...


def group_costs(ground: Ground, request: ExtrasRequest, x: FloatArray) -> dict[str, float]:
    """Time of a frame over that of the plain model, for each group of slots that puts nodes into the graph.

    Args:
        ground: the plain model.
        request: what was asked for; groups are named as in `sizes.GROUPS`.
        x: float32 [1, *shape].
    """
    variants = tuple(adapter for adapter in request.adapters if adapter.kind in VARIANTS)
    parts = {
        "input prompt": ExtrasRequest(request.prompt, head=False),
        "tokens and bottlenecks": ExtrasRequest(adapters=variants, head=False),
    }
    plain: bytes = ground.model.SerializeToString()
    costs: dict[str, float] = {}
    for group, part in parts.items():
        extras = add_extras(ground, part)
        if extras.added_nodes:
            changed: bytes = extras.model.SerializeToString()
            costs[group] = cost_ratio(Runner(plain), Runner(changed), x)
    return costs


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
