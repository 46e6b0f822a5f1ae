"""What an adaptation job gets and gives: the border between the service and `edgeadapt_cloud.adapt`.

Values only. The service decides when a job starts (`jobs.schedule`) and what becomes of its result
(`core.rollout`); the worker loads the images; the adapter teaches and runs the gate. A gate that says
no is a result with a verdict, not an error. Nothing here knows a strategy, a teacher or torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import numpy.typing as npt

from edgeadapt.patch import Evidence
from edgeadapt.tensors import FloatArray

ImageArray = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class AuditDraw:
    """A frame that the audit lane drew, and what its device said of it.

    Attributes:
        sha256: of the sample's data (hex).
        predicted: the class.
        chance: with which it was drawn, in (0, 1]; 0 where the device does not tell.
        generation: what scored it: a patch's name, or the base.
        strange: to a model that had adapted, or beyond judgement.
        recent: not older than what the job looks at.
    """

    sha256: str
    predicted: int
    chance: float
    generation: str
    strange: bool
    recent: bool = True


@dataclass(frozen=True, slots=True)
class JobRequest:
    """One adaptation job for one cohort.

    Attributes:
        cohort: its name.
        bundle_digest: SHA-256 (hex) of the bundle that the cohort runs.
        job: rises by one with every job of this service.
        strategy: name of the strategy to run.
        sample_ids: SHA-256 (hex) of each sample's data, in arrival order, oldest first.
        mean: [P] float32 mean of every norm layer's input on the cohort's devices: their newest reports,
            pooled by frames (P = manifest.probe_channels).
        var: [P] float32 variance of the same.
        frames: how many frames stand behind `mean` and `var`.
        serial: the next serial, that a patch made from this job is expected to get.
        state: what the strategy handed back from this cohort's last finished job, whatever its gate said
            (a job that could not run is not finished); b"" at first, and when that was another strategy.
        serving: slot name to the float32 values now served to the cohort; empty means the base bundle.
        lossy: places in `sample_ids` of samples whose pixels are not as the device saw them (JPEG, made
            smaller): good for labels, never for statistics.
        altered: places of those that devices changed for privacy: for statistics only where few others are.
        draws: what the audit lane drew in the cohort, whether or not among `sample_ids`.
    """

    cohort: str
    bundle_digest: str
    job: int
    strategy: str
    sample_ids: tuple[str, ...]
    mean: FloatArray
    var: FloatArray
    frames: int
    serial: int
    state: bytes
    serving: Mapping[str, FloatArray]
    lossy: frozenset[int] = frozenset()
    altered: frozenset[int] = frozenset()
    draws: tuple[AuditDraw, ...] = ()


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the gate says: `passed`, and every check with its measured value and bound."""

    passed: bool
    evidence: tuple[Evidence, ...]


@dataclass(frozen=True, slots=True)
class JobResult:
    """What a job gives.

    Attributes:
        cohort: as requested.
        job: as requested.
        verdict: the gate's answer; nothing is published unless it passed.
        values: slot name to float32 array in the slot's shape; empty when there is nothing to publish.
        strategy: name of the strategy that ran.
        samples: how many uploads were used.
        seconds: wall time that the job took.
        state: opaque state for the next job of this cohort.
        note: a line for people.
        thresholds: scorer's name to the [64] knots under `values`; empty: devices judge by the bundle's.
        audit: how right the devices were, for each generation that they ran; empty where nothing was drawn.
    """

    cohort: str
    job: int
    verdict: Verdict
    values: Mapping[str, FloatArray]
    strategy: str
    samples: int
    seconds: float
    state: bytes
    note: str
    thresholds: Mapping[str, FloatArray] = field(default_factory=dict)
    audit: tuple[AuditFigures, ...] = ()


@dataclass(frozen=True, slots=True)
class AuditEstimate:
    """A share (0 to 1) of the frames that the audit covers.

    Attributes:
        value: the estimate; 0.5 without samples.
        low: lower end of the 95 % interval.
        high: upper end.
        samples: behind it.
        effective: as many equally weighted samples would say as much.
    """

    value: float
    low: float
    high: float
    samples: int
    effective: float

    def __str__(self) -> str:
        return f"{self.value:.3f} ({self.low:.3f} to {self.high:.3f}) on {self.samples} audit samples"


@dataclass(frozen=True, slots=True)
class AuditFigures:
    """What the audit lane says of one generation; see `core.audit`.

    Attributes:
        generation: what scored the frames.
        right: of the frames that devices took for known, the share in which they said the teacher's class;
            estimated from those with a picture, with an interval for all of them.
        strange: of all frames, the share that was strange to a model that had adapted, or beyond judgement.
        blind: draws among the known ones that came without a picture.
    """

    generation: str
    right: AuditEstimate
    strange: AuditEstimate
    blind: int = 0


class AdapterPort(Protocol):
    """Runs jobs; `edgeadapt_cloud.adapt.Adapter` is the real one."""

    def run(self, request: JobRequest, images: ImageArray, lanes: list[str]) -> JobResult:
        """Adapt.

        Args:
            request: what to do.
            images: [N, H, W, C] uint8, one for each of `request.sample_ids`.
            lanes: N lane names, "adapt" or "audit"; or "strange", what the audit lane drew and no label is
                to be believed of.

        Raises:
            EdgeAdaptError: the job could not run at all; the service reports it and goes on.
        """
        ...
