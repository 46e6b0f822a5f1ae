"""What a run leaves behind, as values: what the report, the summary and the exit code are made from.

Labels enter here and nowhere else: `correct` is made by the evaluator from a stream's truth file, which
neither a device nor the cloud ever reads. All methods of one device saw the same frames in the same
order, so their `correct` arrays have equal length and are compared frame by frame.
Not here: how the values are measured (`demo`, `bench`) or drawn (`report`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from edgeadapt.errors import ConfigError

BoolArray = npt.NDArray[np.bool_]
Method = Literal["frozen", "statistics", "loop"]
METHODS: tuple[Method, ...] = ("frozen", "statistics", "loop")
LABELS: Mapping[Method, str] = {
    "frozen": "frozen model",
    "statistics": "own statistics only",
    "loop": "full loop",
}
EventKind = Literal["trial", "confirmed", "reverted", "reapplied", "refused"]


@dataclass(frozen=True, slots=True)
class Stretch:
    """Frames `start` (inclusive) to `stop` (exclusive) of a stream, all of one domain."""

    domain: str
    start: int
    stop: int


@dataclass(frozen=True, slots=True)
class PatchEvent:
    """What became of a patch on a device, and at which frame; `patch` is `cohort #serial`."""

    frame: int
    kind: EventKind
    patch: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Traffic:
    """What a device chose and what crossed its link.

    Attributes:
        flagged: frames its filters chose.
        uploaded: samples the cloud acknowledged.
        bytes_up: payload and topic bytes sent, resent ones included.
        bytes_down: payload and topic bytes received.
    """

    flagged: int
    uploaded: int
    bytes_up: int
    bytes_down: int


@dataclass(frozen=True, slots=True)
class DeviceRecord:
    """One device's run.

    Attributes:
        name: device id.
        frames_per_second: pace of its source.
        stretches: its domains in order, covering all frames.
        correct: bool [N] per method.
        events: patch events in order of frame.
        traffic: counters at the end.

    Raises:
        ConfigError: on construction, when a method is missing or the arrays differ in length.
    """

    name: str
    frames_per_second: float
    stretches: tuple[Stretch, ...]
    correct: Mapping[Method, BoolArray]
    events: tuple[PatchEvent, ...]
    traffic: Traffic

    def __post_init__(self) -> None:
        lengths = {method: len(self.correct.get(method, ())) for method in METHODS}
        if len(set(lengths.values())) != 1 or not self.frames:
            raise ConfigError(f"device {self.name!r} has results of different lengths: {lengths}")

    @property
    def frames(self) -> int:
        """Number of frames that every method has scored."""
        return len(self.correct["frozen"])


@dataclass(frozen=True, slots=True)
class Check:
    """One line of a gate's evidence."""

    name: str
    value: float
    bound: float
    passed: bool
    detail: str = ""


@dataclass(frozen=True, slots=True)
class JobRecord:
    """One adaptation job and, when its gate passed, the patch that came of it.

    Attributes:
        cohort: cohort name.
        serial: serial of the published patch, 0 when refused.
        strategy: name of the strategy.
        samples: uploads it learned from.
        seconds: cloud seconds it took.
        passed: the gate's verdict.
        checks: the gate's evidence.
        size_bytes: bytes of the signed patch, 0 when refused.
        rollout: last state of its rollout, such as "stable" or "halted".
        note: anything the job had to say.
    """

    cohort: str
    serial: int
    strategy: str
    samples: int
    seconds: float
    passed: bool
    checks: tuple[Check, ...]
    size_bytes: int
    rollout: str
    note: str = ""


@dataclass(frozen=True, slots=True)
class RunRecord:
    """A whole run of the demo.

    Attributes:
        devices: one record per device.
        jobs: every adaptation job, in order.
        facts: what to know about the run (broker, dataset, seed, versions ...), in the order shown.
        started_at: ISO 8601, UTC.
        duration_s: wall seconds from the first process to the last frame.
        frame_png_bytes: mean size of one frame as PNG: what sending every frame would cost.
    """

    devices: tuple[DeviceRecord, ...]
    jobs: tuple[JobRecord, ...]
    facts: tuple[tuple[str, str], ...]
    started_at: str
    duration_s: float
    frame_png_bytes: float
