"""One arm of the study: a method on the streams of one seed; its answers frame by frame, and its costs.

Arms: "frozen", "statistics" (devices alone), and the name of a strategy (devices with a cloud). All arms
of a seed see the very same frames. Labels are not read here.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass

import msgspec
import numpy as np
import numpy.typing as npt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from edgeadapt.bundle import Bundle
from edgeadapt.clock import Instant
from edgeadapt.patch import Evidence
from edgeadapt_cloud.config import BundleSection, CloudConfig, SigningSection, StrategySection
from edgeadapt_cloud.core.jobs.job import AdapterPort
from edgeadapt_cloud.core.rows import JobRow, PatchRow
from edgeadapt_cloud.io import keys
from edgeadapt_cloud.local import LocalCloud
from edgeadapt_device.config import DeviceConfig, DeviceSection
from edgeadapt_device.local import LocalDevice
from edgeadapt_sim.bench.pair import Pair
from edgeadapt_sim.demo.watch.shadows import Shadows

BASELINES = ("frozen", "statistics")
PACE = 30.0  # frames per second of virtual time
_TICK_FRAMES = 8
_START = Instant(0.0, 1_700_000_000.0)


@dataclass(frozen=True, slots=True)
class PatchFigures:
    """A published patch: `digest` is the generation name of frames scored under it."""

    cohort: str
    serial: int
    digest: str
    size_bytes: int
    stage: str


@dataclass(frozen=True, slots=True)
class JobFigures:
    """A job that ended: `state` is "published", "refused" or "failed"; `failed` names the checks."""

    cohort: str
    state: str
    samples: int
    seconds: float
    failed: tuple[str, ...]
    evidence: tuple[Evidence, ...]


@dataclass(frozen=True, slots=True)
class ArmResult:
    """Answers and costs of one arm.

    Attributes:
        arm: its name.
        seed: of the streams.
        labels: device id to int64 [N] predicted classes.
        generations: device id to N generation names; empty for the baselines.
        uploaded: samples the cloud acknowledged.
        bytes_up: topic and payload bytes that all devices sent.
        bytes_down: the same, received.
        jobs: jobs in order.
        patches: published patches in order.
        seconds: wall seconds of the whole arm.
    """

    arm: str
    seed: int
    labels: Mapping[str, npt.NDArray[np.int64]]
    generations: Mapping[str, tuple[str, ...]]
    uploaded: int
    bytes_up: int
    bytes_down: int
    jobs: tuple[JobFigures, ...]
    patches: tuple[PatchFigures, ...]
    seconds: float


Frames = Mapping[str, npt.NDArray[np.uint8]]


def run_baselines(bundle: Bundle, frames: Frames, seed: int) -> tuple[ArmResult, ...]:
    """Score every stream [N, H, W, C] with both baselines."""
    began = time.perf_counter()
    shadows = {name: Shadows(bundle, _device_config(name, ""), stream) for name, stream in frames.items()}
    for name, shadow in shadows.items():
        for _ in range(len(frames[name])):
            shadow.step()
    seconds = time.perf_counter() - began
    frozen = {name: shadow.labels["frozen"] for name, shadow in shadows.items()}
    statistics = {name: shadow.labels["statistics"] for name, shadow in shadows.items()}
    return (
        ArmResult("frozen", seed, frozen, {}, 0, 0, 0, (), (), seconds),
        ArmResult("statistics", seed, statistics, {}, 0, 0, 0, (), (), seconds),
    )


def run_loop(
    bundle: Bundle, adapter: AdapterPort, frames: Frames, *, strategy: str, seed: int, min_new: int = 200
) -> ArmResult:
    """Play the streams, all of one length, to devices that share a cloud."""
    began = time.perf_counter()
    key = Ed25519PrivateKey.generate()
    devices = {
        name: LocalDevice(
            bundle,
            _device_config(name, keys.public_hex(key)),
            rng=np.random.default_rng([seed, number]),
            now=_START,
        )
        for number, name in enumerate(frames)
    }
    cloud = LocalCloud(_cloud_config(strategy, min_new), bundle, adapter, key, now=_START)
    pair = Pair(cloud, devices, _START)
    count = min(len(stream) for stream in frames.values())
    labels = {name: np.full(count, -1, dtype=np.int64) for name in frames}
    generations: dict[str, list[str]] = {name: [] for name in frames}
    now = _START
    for index in range(count):
        now = Instant(_START.mono_s + index / PACE, _START.wall_s + index / PACE)
        images = {name: np.asarray(stream[index]) for name, stream in frames.items()}
        for name, answer in pair.step(images, now).items():
            labels[name][index] = answer.label
            generations[name].append(answer.generation)
        if index % _TICK_FRAMES == 0:
            pair.tick(now)
    views = [device.view(now) for device in devices.values()]
    stored = cloud.store.snapshot()
    cloud.close()
    return ArmResult(
        arm=strategy,
        seed=seed,
        labels=labels,
        generations={name: tuple(names) for name, names in generations.items()},
        uploaded=len(stored.samples),
        bytes_up=sum(view.bytes_up for view in views),
        bytes_down=sum(view.bytes_down for view in views),
        jobs=tuple(_job(row) for row in stored.jobs),
        patches=tuple(_patch(row) for row in stored.patches),
        seconds=time.perf_counter() - began,
    )


def _device_config(name: str, public_key: str) -> DeviceConfig:
    config = DeviceConfig(device=DeviceSection(name=name, fleet="bench"))
    replace = msgspec.structs.replace
    return replace(
        config,
        trust=replace(config.trust, keys=(public_key,) if public_key else ()),
        source=replace(config.source, frames_per_second=PACE),
        # As in the demo: hours of drift in minutes, so an hour's bytes in minutes.
        budget=replace(config.budget, bytes_per_hour=12_000_000, burst_bytes=300_000),
    )


def _cloud_config(strategy: str, min_new: int) -> CloudConfig:
    config = CloudConfig(
        bundle=BundleSection(path="in-memory"),
        signing=SigningSection(key="in-memory"),
        strategy=StrategySection(name=strategy),
    )
    replace = msgspec.structs.replace
    return replace(
        config,
        cloud=replace(config.cloud, fleet="bench"),
        jobs=replace(config.jobs, min_new=min_new),
        rollout=replace(config.rollout, canary_deadline_s=20.0),
    )


def _job(row: JobRow) -> JobFigures:
    failed = tuple(line.check for line in row.evidence if not line.passed)
    return JobFigures(row.cohort, row.state, row.samples, row.seconds, failed, row.evidence)


def _patch(row: PatchRow) -> PatchFigures:
    return PatchFigures(row.cohort, row.serial, row.digest, len(row.sealed), row.stage.value)
