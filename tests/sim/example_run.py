"""A made-up run with known properties, for tests of what is computed and drawn from a run."""

from __future__ import annotations

import numpy as np

from edgeadapt_sim.records import (
    Check,
    DeviceRecord,
    JobRecord,
    Method,
    PatchEvent,
    RunRecord,
    Stretch,
    Traffic,
)

_LEVELS: dict[str, tuple[float, float, float]] = {
    "clean": (0.91, 0.905, 0.91),
    "fog:5": (0.42, 0.66, 0.71),
    "gaussian_noise:5": (0.25, 0.62, 0.70),
    "contrast:5": (0.30, 0.72, 0.74),
}


def example_run(*, devices: int = 3, frames: int = 1500, loop_gain: float = 0.0) -> RunRecord:
    """Three devices through four domains, the first of them returning."""
    orders = (("clean", "fog:5", "clean", "contrast:5"), ("clean", "gaussian_noise:5", "fog:5", "clean"))
    records = [_device(f"camera-{n + 1}", orders[n % 2], frames, n, loop_gain) for n in range(devices)]
    checks = (
        Check("source-holdout-drop", 0.002, 0.01, True, "5,000 labelled source images"),
        Check("agreement-gain-lower", 0.018, 0.0, True, "96 unseen uploads"),
    )
    jobs = (
        JobRecord("c-1a2b3c4d-0", 1, "anchored", 256, 5.8, True, checks, 3210, "stable"),
        JobRecord(
            "c-1a2b3c4d-1",
            0,
            "anchored",
            261,
            6.1,
            False,
            (Check("agreement-gain-lower", -0.004, 0.0, False, "64 unseen uploads"),),
            0,
            "",
        ),
    )
    facts = (("broker", "mosquitto"), ("data set", "fashion-mnist"), ("seed", "0"))
    return RunRecord(tuple(records), jobs, facts, "2026-01-02T03:04:05+00:00", 154.0, 540.0)


def _device(name: str, order: tuple[str, ...], frames: int, seed: int, loop_gain: float) -> DeviceRecord:
    rng = np.random.default_rng(seed)
    stretches = tuple(Stretch(domain, n * frames, (n + 1) * frames) for n, domain in enumerate(order))
    methods: tuple[Method, ...] = ("frozen", "statistics", "loop")
    correct = {
        method: np.concatenate(
            [
                rng.random(frames) < _LEVELS[domain][number] + (loop_gain if method == "loop" else 0.0)
                for domain in order
            ]
        )
        for number, method in enumerate(methods)
    }
    events = (
        PatchEvent(frames + 900, "trial", "c-1a2b3c4d-0 #1"),
        PatchEvent(frames + 1100, "confirmed", "c-1a2b3c4d-0 #1", "entropy 0.61 to 0.52"),
        PatchEvent(2 * frames + 100, "reapplied", "c-1a2b3c4d-0 #1"),
    )
    return DeviceRecord(name, 80.0, stretches, correct, events, Traffic(900, 840, 520_000, 14_000))
