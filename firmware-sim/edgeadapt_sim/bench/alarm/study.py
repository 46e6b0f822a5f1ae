"""The study: clean streams in four orders, then drift that begins after clean frames; real test images."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import msgspec
import numpy as np
import numpy.typing as npt

from edgeadapt.clock import Instant
from edgeadapt.drift import DriftAlarm
from edgeadapt.whitening import CLIP, clipped, whiten
from edgeadapt_device.config import DeviceConfig, DeviceSection, MqttSection
from edgeadapt_device.local import LocalDevice
from edgeadapt_sim.bench.alarm.distance import DistanceRule
from edgeadapt_sim.bench.alarm.material import Material, Probed, gather
from edgeadapt_sim.bench.alarm.plan import (
    LEVELS,
    ORDERS,
    AlarmPlan,
    Delay,
    DriftRow,
    FalseRow,
    Source,
    Study,
)

_RUN_FRAMES = 50  # of one class, in the order "runs"
_SCENE_FRAMES, _SCENE_IMAGES = 125, 20  # frames of one scene, and the images that it shows in turns
_PACE = 30.0  # frames per second of virtual time
_START = Instant(0.0, 1_700_000_000.0)

Indices = npt.NDArray[np.intp]


def pieces(plan: AlarmPlan) -> list[str]:
    """What a progress bar counts."""
    domains = [f"{c} {s}" for c in plan.corruptions for s in plan.severities]
    return [f"{network}: {part}" for network in plan.networks for part in ("probed", *ORDERS, *domains)]


def run_study(plan: AlarmPlan, on_done: Callable[[str], None]) -> Study:
    """Run everything, one network after the other; `on_done` hears of every piece.

    Raises:
        ConfigError: weights or a data set are not there.
    """
    sources, false_alarms, drifts = [], [], []
    for network in plan.networks:
        material = gather(plan, network)
        on_done(f"{network}: probed")
        sources.append(source_of(material))
        for order in ORDERS:
            false_alarms.append(false_row(plan, material, order))
            on_done(f"{network}: {order}")
        for corruption, severity in material.domains:
            drifts.append(drift_row(plan, material, corruption, severity))
            on_done(f"{network}: {corruption} {severity}")
    return Study(tuple(sources), tuple(false_alarms), tuple(drifts))


def source_of(material: Material) -> Source:
    """The network's own figures."""
    calibration = material.bundle.calibration
    tolerance = round(float(calibration.drift_tolerance[0]), 4)
    return Source(material.network, material.clean.accuracy, tolerance, len(calibration.signature_std))


# False alarms


def false_row(plan: AlarmPlan, material: Material, order: str) -> FalseRow:
    """Play clean streams in one order to both rules."""
    calibration, clean = material.bundle.calibration, material.clean
    largest, distance, segments, played = [], 0, 0, 0
    for number in range(plan.streams):
        chosen = ordered(clean, order, plan.stream_frames, np.random.default_rng([number, 7]))
        alarm, rule, began = DriftAlarm.of(calibration), DistanceRule(calibration), 0
        for index in chosen.tolist():
            alarm.update(clean.vectors[index], int(clean.predicted[index]))
            began += rule.update(clean.vectors[index], int(clean.predicted[index]))
        largest.append(1.0 / alarm.p_value)
        distance += began > 0
        segments, played = segments + began, played + len(chosen)
    return FalseRow(
        network=material.network,
        order=order,
        streams=plan.streams,
        alarms=tuple(sum(e >= 1.0 / level for e in largest) for level in LEVELS),
        largest=round(max(largest), 3),
        distance=distance,
        segments=round(1e4 * segments / played, 2),
    )


def ordered(clean: Probed, order: str, frames: int, rng: np.random.Generator) -> Indices:
    """Indices of a stream; fewer than `frames` where there are not so many.

    No image comes twice, but for the order "scenes", in which each scene shows a few, drawn again and again.
    """
    drawn = rng.permutation(len(clean.labels))
    if order == "iid":
        return drawn[:frames]
    classes = np.unique(clean.labels)
    if order == "sorted":
        rank = np.argsort(rng.permutation(len(classes)))[np.searchsorted(classes, clean.labels)]
        chosen = drawn[:frames]
        return chosen[np.argsort(rank[chosen], kind="stable")]
    left = {int(k): drawn[clean.labels[drawn] == k] for k in classes}
    if order == "scenes":
        shown = rng.choice(classes, size=max(frames // _SCENE_FRAMES, 1)).tolist()
        pools = [rng.permutation(left[label])[:_SCENE_IMAGES] for label in shown]
        return np.concatenate([rng.choice(pool, size=_SCENE_FRAMES) for pool in pools])
    runs = []
    for label in rng.choice(classes, size=max(frames // _RUN_FRAMES, 1)).tolist():
        runs.append(left[label][:_RUN_FRAMES])
        left[label] = left[label][_RUN_FRAMES:]
    return np.concatenate(runs)


# Drift


def drift_row(plan: AlarmPlan, material: Material, corruption: str, severity: int) -> DriftRow:
    """Let one domain begin after clean frames, several times; and once before a whole device."""
    clean, domain = material.clean, material.domains[corruption, severity]
    delays: tuple[list[int | None], list[int | None]] = ([], [])
    for number in range(plan.repeats):
        rng = np.random.default_rng([number, 11])
        before = ordered(clean, "iid", plan.clean_frames, rng)
        after = rng.permutation(len(domain.labels))[: plan.frames]
        for found, delay in zip(delays, _delays(material, domain, before, after), strict=True):
            found.append(delay)
    accuracy = domain.accuracy
    return DriftRow(
        network=material.network,
        corruption=corruption,
        severity=severity,
        accuracy=round(accuracy, 4),
        lost=round(material.unchanged - accuracy, 4),
        apart=round(apart(material, domain), 3),
        alarm=summed(delays[0]),
        distance=summed(delays[1]),
        device=device_delay(plan, material, domain) if severity in plan.device_severities else None,
    )


def _delays(
    material: Material, domain: Probed, before: Indices, after: Indices
) -> tuple[int | None, int | None]:
    """Frames of the new domain until the alarm and the distance rule see it; None: they do not.

    An alarm before the drift is none, and neither is a segment.
    """
    calibration, clean = material.bundle.calibration, material.clean
    alarm, rule = DriftAlarm.of(calibration), DistanceRule(calibration)
    for index in before.tolist():
        alarm.update(clean.vectors[index], int(clean.predicted[index]))
        rule.update(clean.vectors[index], int(clean.predicted[index]))
    if alarm.alarm:
        alarm.restart()
    first: list[int | None] = [None, None]
    for number, index in enumerate(after.tolist(), start=1):
        alarm.update(domain.vectors[index], int(domain.predicted[index]))
        for which, sounded in enumerate(
            (alarm.alarm, rule.update(domain.vectors[index], int(domain.predicted[index])))
        ):
            if sounded and first[which] is None:
                first[which] = number
    return first[0], first[1]


def summed(delays: Iterable[int | None]) -> Delay:
    """Share of streams in which it was seen, and the median delay of those."""
    every = list(delays)
    seen = [delay for delay in every if delay is not None]
    return Delay(len(seen) / len(every), float(np.median(seen)) if seen else None)


def apart(material: Material, domain: Probed) -> float:
    """Root mean square of the mean whitened residual, as the alarm sees it."""
    calibration = material.bundle.calibration
    residuals = whiten(domain.vectors - calibration.class_signatures[domain.predicted], calibration)
    return float(np.sqrt(np.mean(clipped(residuals, CLIP).mean(axis=0) ** 2)))


def device_delay(plan: AlarmPlan, material: Material, domain: Probed) -> int | None:
    """Frames of the domain until a device with default settings begins a segment after clean frames."""
    config = DeviceConfig(device=DeviceSection(name="bench"), mqtt=MqttSection(enabled=False))
    config = msgspec.structs.replace(
        config, engine=msgspec.structs.replace(config.engine, precision="float32")
    )
    device = LocalDevice(material.bundle, config, rng=np.random.default_rng(3), now=_START)
    before = ordered(material.clean, "iid", plan.device_clean, np.random.default_rng(5))
    images = [material.clean.images[before], domain.images[: plan.device_frames]]
    segment = 0
    for number, image in enumerate(np.concatenate(images)):
        seconds = number / _PACE
        answer = device.step(image, Instant(_START.mono_s + seconds, _START.wall_s + seconds))
        if number < len(before):
            segment = answer.segment
        elif answer.segment > segment:
            return number - len(before) + 1
    return None
