"""What the device runtime is meant to cost at most, and whether it does."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec

from edgeadapt_sim.bench.device.study import AGENT, BASE, PATCHED, SLOTS, Case

ENGINE_RATIO = 1.02
AGENT_RATIO_LARGE = 1.05
AGENT_RATIO_SMALL = 1.15
GAP_FRAMES = 2.0
MEMORY_BYTES = 30_000_000
START_S = 0.5
_LARGE_SIDE = 224


# What the verdicts are about.
ARM_WORDS = {
    BASE: "engine, base",
    PATCHED: "engine, patched",
    SLOTS: "engine, prompt and adapters",
    AGENT: "whole agent",
}
GAP, MEMORY, START = "gap in a swap", "memory above bare", "start above bare"


class Verdict(msgspec.Struct, frozen=True):
    """One target on one case: `met` when the figure is no more than the limit."""

    case: str
    what: str
    figure: float
    limit: float
    unit: str
    met: bool


def arm_limit(case: Case, arm: str) -> float:
    """Time of a frame over the bare runtime's, at most; the agent's goes by the size of a frame."""
    if arm != AGENT:
        return ENGINE_RATIO
    return AGENT_RATIO_LARGE if case.side >= _LARGE_SIDE else AGENT_RATIO_SMALL


def verdicts(cases: Sequence[Case]) -> tuple[Verdict, ...]:
    """Every target on every case."""
    return tuple(verdict for case in cases for verdict in _verdicts(case))


def _verdicts(case: Case) -> Iterator[Verdict]:
    def verdict(what: str, figure: float, limit: float, unit: str) -> Verdict:
        return Verdict(case.title, what, figure, limit, unit, figure <= limit)

    for arm, words in ARM_WORDS.items():
        yield verdict(words, case.arm(arm).ratio, arm_limit(case, arm), "x bare")
    yield verdict(GAP, case.gap.worst, GAP_FRAMES, "frame times")
    yield verdict(MEMORY, case.footprint.above_bytes / 1e6, MEMORY_BYTES / 1e6, "MB")
    yield verdict(START, case.footprint.start_above_s, START_S, "s")
