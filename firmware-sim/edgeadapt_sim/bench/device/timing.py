"""Arms side by side: in one process, on one thread, in rounds that take turns.

Whatever disturbs the machine disturbs all arms of a round alike, so ratios are taken within a round. The
clock is that of the calling thread's own CPU time; wall time is kept beside it. Not here: what the arms are.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgeadapt_sim.bench.device.bare import Step

Frames = npt.NDArray[np.uint8]
Times = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Laps:
    """Seconds per frame of one arm, a value a round: of this thread, of all threads, and by the wall."""

    thread_s: Times
    process_s: Times
    wall_s: Times


def frames_for(step: Step, frames: Frames, seconds: float) -> int:
    """How many frames an arm scores in about so many seconds; warms it up, too."""
    for frame in frames[:3]:
        step(frame)
    began_s, count = time.thread_time(), 0
    while time.thread_time() - began_s < max(seconds / 5, 0.02):
        step(frames[count % len(frames)])
        count += 1
    return max(round(count * seconds / (time.thread_time() - began_s)), 2)


def race(arms: Mapping[str, Step], frames: Frames, *, rounds: int, per_round: int) -> dict[str, Laps]:
    """Let every arm score `per_round` frames in each round; who begins moves on by one each time."""
    names = list(arms)
    laps: dict[str, list[tuple[float, float, float]]] = {name: [] for name in names}
    # A device has no training library loaded: what this process holds is not for the collector to walk.
    gc.collect()
    gc.freeze()
    try:
        for number in range(rounds):
            shift = number % len(names)
            for name in names[shift:] + names[:shift]:
                laps[name].append(_lap(arms[name], frames, per_round, number))
    finally:
        gc.unfreeze()
    return {
        name: Laps(*(np.array(column) for column in zip(*rows, strict=True))) for name, rows in laps.items()
    }


def _lap(step: Step, frames: Frames, count: int, number: int) -> tuple[float, float, float]:
    played = [frames[(number * count + index) % len(frames)] for index in range(count)]
    # The first frame after another arm finds its weights gone from the caches.
    step(played[-1])
    thread_s, process_s, wall_s = time.thread_time(), time.process_time(), time.perf_counter()
    for frame in played:
        step(frame)
    return (
        (time.thread_time() - thread_s) / count,
        (time.process_time() - process_s) / count,
        (time.perf_counter() - wall_s) / count,
    )


def ratios(laps: Sequence[float] | Times, base: Times) -> tuple[float, float, float]:
    """(ratio of the medians, lower and upper quartile of the ratios within rounds)."""
    within = np.asarray(laps) / base
    low, high = np.quantile(within, [0.25, 0.75])
    return float(np.median(laps) / np.median(base)), float(low), float(high)
