"""What a device would offer to its uplink, recorded once per stream and shared by all policies.

Real devices see the stream, each its own part, from the base on and without a cloud: they re-estimate their
statistics, name their segments and judge every frame as they do in the field. What they offer is recorded
in place of being chosen from. Nothing here sees a label.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np

from edgeadapt.bundle import Bundle
from edgeadapt.clock import Instant
from edgeadapt.tensors import FloatArray
from edgeadapt_cloud.core.fleet.pool import Statistics, pooled
from edgeadapt_cloud.core.rows import Origin, SignatureRow
from edgeadapt_device.config import DeviceConfig, DeviceSection
from edgeadapt_device.core.effects import Effect, StoreSample
from edgeadapt_device.core.uplink.candidate import Candidate
from edgeadapt_device.local import LocalDevice
from edgeadapt_sim.bench.uplink.streams import Frames

_PACE = 30.0  # frames per second of virtual time
_START = Instant(0.0, 1_700_000_000.0)


@dataclass(frozen=True, slots=True)
class Question:
    """Clusters that a device would ask about, after it had offered so many frames."""

    after: int
    about: tuple[Candidate, ...]


@dataclass(frozen=True, slots=True)
class Offered:
    """What one device offered, in order; `Candidate.index` is the frame's place in its part."""

    frames: tuple[Candidate, ...]
    questions: tuple[Question, ...]


@dataclass(frozen=True, slots=True)
class Recording:
    """One cohort in one domain.

    Attributes:
        devices: what each device offered.
        statistics: of the devices' own, at the end, pooled as the cloud does.
    """

    devices: tuple[Offered, ...]
    statistics: Statistics


def device_config(number: int) -> DeviceConfig:
    """How every device of the study is set up, but for what it uploads."""
    config = DeviceConfig(device=DeviceSection(name=f"device-{number + 1}", fleet="bench"))
    source = msgspec.structs.replace(config.source, frames_per_second=_PACE)
    return msgspec.structs.replace(config, source=source)


def _moment(index: int) -> Instant:
    """When frame `index` of a device's part comes."""
    return Instant(_START.mono_s + index / _PACE, _START.wall_s + index / _PACE)


def record(bundle: Bundle, frames: Frames, seed: int) -> Recording:
    """Show every device its part of the stream."""
    offered: list[Offered] = []
    rows: list[SignatureRow] = []
    for number, part in enumerate(frames.parts):
        device = LocalDevice(
            bundle, device_config(number), rng=np.random.default_rng([seed, number]), now=_moment(0)
        )
        listener = _Listener(device)
        for index, image in enumerate(frames.stream[part]):
            device.step(image, _moment(index))
        offered.append(Offered(tuple(listener.frames), tuple(listener.questions)))
        rows.append(_report(device, number))
    statistics = pooled(rows)
    assert statistics is not None
    return Recording(tuple(offered), statistics)


class _Listener:
    """Stands where a device's uplink chooses, writes down what it is offered, and chooses nothing."""

    def __init__(self, device: LocalDevice) -> None:
        self.frames: list[Candidate] = []
        self.questions: list[Question] = []
        # The one place where the study looks inside a device.
        uploads: Any = device.core._uploads
        uploads.offer, uploads.ask = self._offer, self._ask

    def _offer(self, frame: Candidate, now: Instant) -> tuple[list[Effect], bool]:
        self.frames.append(frame)
        return [], False

    def _ask(self, questions: Sequence[Candidate], now: Instant) -> list[StoreSample]:
        if questions:
            self.questions.append(Question(len(self.frames), tuple(questions)))
        return []


def _report(device: LocalDevice, number: int) -> SignatureRow:
    statistics = device.core.adaptation.statistics
    mean, var = statistics.current
    nothing: FloatArray = np.zeros(0, np.float32)
    return SignatureRow(
        Origin(f"device-{number + 1}", "", 0), 0, max(statistics.frames, 1), nothing, mean, var, 0.0
    )
