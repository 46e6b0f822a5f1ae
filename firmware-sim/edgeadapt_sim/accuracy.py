"""From right-or-wrong per frame to the figures that are shown: running, per domain, mean. All in 0..1."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from edgeadapt_sim.records import METHODS, BoolArray, DeviceRecord, Method, Stretch

RUNNING_WINDOW = 500  # frames, in the live view
CHART_WINDOW = 300  # frames, in the report: shorter, so that a change of domain is not blurred


def running(correct: BoolArray, window: int = RUNNING_WINDOW) -> npt.NDArray[np.float64]:
    """Mean over the last `window` frames at every frame [N]; over fewer at the start."""
    total = np.concatenate([[0.0], np.cumsum(correct, dtype=np.float64)])
    stop = np.arange(1, len(correct) + 1)
    start = np.maximum(stop - window, 0)
    return np.asarray((total[stop] - total[start]) / (stop - start))


def stretches_of(names: Sequence[str], index: npt.NDArray[np.integer]) -> tuple[Stretch, ...]:
    """Cut the per-frame domain index [N] into stretches of one domain."""
    if not len(index):
        return ()
    edges = np.flatnonzero(np.diff(index)) + 1
    bounds = [0, *edges.tolist(), len(index)]
    return tuple(Stretch(names[int(index[start])], start, stop) for start, stop in pairwise(bounds))


def mean(device: DeviceRecord, method: Method) -> float:
    """Share of right predictions over a device's whole stream."""
    return float(device.correct[method].mean())


def fleet_mean(devices: Iterable[DeviceRecord], method: Method) -> float:
    """The same over all frames of all devices."""
    return float(np.concatenate([device.correct[method] for device in devices]).mean())


@dataclass(frozen=True, slots=True)
class DomainAccuracy:
    """Accuracy of every method, in the order of METHODS, over all frames of one domain."""

    domain: str
    frames: int
    values: tuple[float, ...]


def by_domain(devices: Sequence[DeviceRecord]) -> tuple[DomainAccuracy, ...]:
    """Accuracy per domain over all devices, in the order in which domains first appear."""
    rows = []
    for domain in domains_of(devices):
        parts = [
            (device, slice(stretch.start, min(stretch.stop, device.frames)))
            for device in devices
            for stretch in device.stretches
            if stretch.domain == domain and stretch.start < device.frames
        ]
        pooled = {
            method: np.concatenate([device.correct[method][part] for device, part in parts])
            for method in METHODS
        }
        rows.append(
            DomainAccuracy(
                domain, len(pooled["frozen"]), tuple(float(pooled[method].mean()) for method in METHODS)
            )
        )
    return tuple(rows)


def domains_of(devices: Iterable[DeviceRecord]) -> tuple[str, ...]:
    """All domains that were reached, in the order in which they first appear."""
    seen: dict[str, None] = {}
    for device in devices:
        for stretch in device.stretches:
            if stretch.start < device.frames:
                seen.setdefault(stretch.domain)
    return tuple(seen)
