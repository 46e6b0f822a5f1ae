"""Rows that the store keeps: everything the core needs to be rebuilt after `kill -9`.

Frozen values. `Commit` rows come from a device and are kept once per (device, outbox, sequence); the
others replace the row with the same key.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from edgeadapt.patch import Evidence
from edgeadapt.tensors import FloatArray
from edgeadapt.wire import Descriptors, Lane, Outcome, Verdict
from edgeadapt_cloud.core.jobs.job import AuditFigures
from edgeadapt_cloud.core.rollout.stages import Stage


@dataclass(frozen=True, slots=True)
class Origin:
    """Who sent a message: the device (from the topic), its outbox, and the sequence in it."""

    device: str
    outbox: str
    sequence: int


@dataclass(frozen=True, slots=True)
class SampleRow:
    """A sample; `data` goes to the blob store under `sha256`."""

    origin: Origin
    segment: int
    lane: Lane
    codec: str
    sha256: str
    data: bytes
    entropy: float
    predicted: int
    generation: str
    captured_s: float
    chance: float = 0.0
    verdict: Verdict = "informative"
    altered: bool = False


@dataclass(frozen=True, slots=True)
class SignatureRow:
    """Newest report of a device's segment: `vector` [S], `mean` and `var` [P], all float32."""

    origin: Origin
    segment: int
    frames: int
    vector: FloatArray
    mean: FloatArray
    var: FloatArray
    drift: float


@dataclass(frozen=True, slots=True)
class OutcomeRow:
    """What became of a patch on a device."""

    origin: Origin
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class DescriptorsRow:
    """Samples that a device could send; not kept itself, only what follows from it is."""

    origin: Origin
    message: Descriptors


@dataclass(frozen=True, slots=True)
class RejectedRow:
    """A well-formed message whose content was refused: acknowledged so that it is not sent for ever."""

    origin: Origin


Commit = SampleRow | SignatureRow | OutcomeRow | DescriptorsRow | RejectedRow


@dataclass(frozen=True, slots=True)
class DeviceRow:
    """A device as last heard of. `segment` is its newest (-1 before any), in `outbox`.

    `speaks` are the lowest and the highest version of the protocol that it said it can speak.
    """

    device: str
    online: bool = False
    epoch: int = 0
    bundle: str = ""
    generation: str = ""
    outbox: str = ""
    segment: int = -1
    assigned: bytes = b""
    metric: bytes = b""
    seen_s: float = 0.0
    speaks: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class CohortRow:
    """A cohort: its centroid [S], the frames behind it, its last serial and its jobs' progress.

    `samples_at_job` is how many samples it had at its last job, or at an operator's rollback; `state` is the
    one of `core.jobs.job.JobRequest`, made by `strategy`.
    """

    cohort: str
    number: int
    bundle: str
    centroid: FloatArray
    frames: int
    serial: int = 0
    samples_at_job: int = 0
    strategy: str = ""
    state: bytes = b""


@dataclass(frozen=True, slots=True)
class SegmentRow:
    """The cohort of a device's segment."""

    device: str
    outbox: str
    segment: int
    cohort: str


JobState = Literal["running", "published", "refused", "failed", "abandoned"]


@dataclass(frozen=True, slots=True)
class JobRow:
    """A job, its verdict and its evidence; `serial` is the patch that came of it, or 0.

    `audit` is how right the cohort's devices were, for each generation that they ran, the newest last.
    """

    job: int
    cohort: str
    strategy: str
    state: JobState
    samples: int
    started_s: float
    seconds: float = 0.0
    serial: int = 0
    evidence: tuple[Evidence, ...] = ()
    note: str = ""
    sample_ids: tuple[str, ...] = ()
    audit: tuple[AuditFigures, ...] = ()


@dataclass(frozen=True, slots=True)
class PatchRow:
    """A sealed patch and where its rollout stands; `canary` is the last of the devices that tried it.

    `created_s` and `expires_s` are wall seconds, as in its header.
    """

    cohort: str
    serial: int
    digest: str
    job: int
    stage: Stage
    created_s: float
    sealed: bytes
    values: Mapping[str, FloatArray] = field(default_factory=dict)
    canary: str = ""
    tried_by: tuple[str, ...] = ()
    note: str = ""
    expires_s: float = 0.0


WantState = Literal["wanted", "waiting", "received", "declined"]


@dataclass(frozen=True, slots=True)
class WantRow:
    """An announced sample that shows `thing`: wanted, waiting as a substitute, received, or declined.

    `shelf` says what its thing is compared with; `vector` [64] is its descriptor; `asked_s` wall seconds;
    `members` is how many frames it stands for, `predicted` the class that its device took it for.
    """

    device: str
    outbox: str
    sample: int
    bundle: str
    shelf: str
    thing: int
    lane: str
    state: WantState
    members: int
    vector: bytes
    asked_s: float
    predicted: int = -1

    @property
    def key(self) -> tuple[str, str, int]:
        """Who can send it, and as what."""
        return (self.device, self.outbox, self.sample)


Record = DeviceRow | CohortRow | SegmentRow | JobRow | PatchRow | WantRow


@dataclass(frozen=True, slots=True)
class StoredSample:
    """What the core needs to know of a stored sample."""

    device: str
    outbox: str
    segment: int
    arrival: int
    sha256: str
    lane: str
    verdict: str = "informative"
    predicted: int = -1
    chance: float = 0.0
    generation: str = ""
    altered: bool = False


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything that the store holds for the core, each part in the order of arrival."""

    devices: tuple[DeviceRow, ...] = ()
    cohorts: tuple[CohortRow, ...] = ()
    segments: tuple[SegmentRow, ...] = ()
    signatures: tuple[SignatureRow, ...] = ()
    samples: tuple[StoredSample, ...] = ()
    jobs: tuple[JobRow, ...] = ()
    patches: tuple[PatchRow, ...] = ()
    outcomes: tuple[OutcomeRow, ...] = ()
    wants: tuple[WantRow, ...] = ()

    def of_bundle(self, digest: str) -> Snapshot:
        """What concerns one bundle: its cohorts and everything that hangs on them.

        The rest stays in the store for the day when its bundle is served again. Jobs are all kept: their
        numbers rise over all bundles. A segment without a cohort belongs to no bundle yet, and is kept.
        """
        mine = {row.cohort for row in self.cohorts if row.bundle == digest}
        away = {(row.device, row.outbox, row.segment) for row in self.segments if row.cohort not in mine}
        return replace(
            self,
            cohorts=tuple(row for row in self.cohorts if row.cohort in mine),
            segments=tuple(row for row in self.segments if row.cohort in mine),
            signatures=tuple(
                row
                for row in self.signatures
                if (row.origin.device, row.origin.outbox, row.segment) not in away
            ),
            samples=tuple(row for row in self.samples if (row.device, row.outbox, row.segment) not in away),
            patches=tuple(row for row in self.patches if row.cohort in mine),
            outcomes=tuple(row for row in self.outcomes if row.outcome.cohort in mine),
        )
