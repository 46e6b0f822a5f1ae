"""What survives a restart, as MessagePack structs. Writing it to a disk is `io.store`."""

from __future__ import annotations

import msgspec

STATE_FORMAT = 1


class _Record(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    pass


class BankRecord(_Record, frozen=True):
    """A remembered patch: its envelope's digest, the domain it is for, the statistics last held under it."""

    cohort: str
    digest: str
    signature: bytes
    mean: bytes
    var: bytes
    confirmed: bool


class TrialRecord(_Record, frozen=True):
    """A patch on trial, or built for it. A device that starts with one was cut off, and reverts."""

    cohort: str
    serial: int
    digest: str
    previous: str
    deadline_wall_s: float


class Assignment(_Record, frozen=True):
    """The cohort of a segment, and the channel to hear it on."""

    segment: int
    cohort: str
    canary: bool


class BudgetRecord(_Record, frozen=True):
    """The byte budget; amounts may be negative. A record of an older release has `tokens` and `wall_s` only.

    `clock_s` is the budget's running clock at `mono_s` of the monotonic one (-1: unknown). `ahead_bytes` may
    have been spent after this was written. `lanes` are the lanes' accounts; `hour` and `day` (slice, bytes).
    """

    tokens: float
    wall_s: float
    clock_s: float = 0.0
    mono_s: float = -1.0
    ahead_bytes: int = 0
    lanes: tuple[float, ...] = ()
    hour: tuple[tuple[int, int], ...] = ()
    day: tuple[tuple[int, int], ...] = ()


class ClusterRecord(_Record, frozen=True):
    """A cluster of what stays strange: its centre as a descriptor, and what was asked about it."""

    number: int
    centre: bytes
    members: int
    asked_members: int
    asked_wall_s: float


class DeviceState(_Record, frozen=True):
    """Everything the core needs to go on as the same generation.

    `patch` is the digest of the running patch ("" for the base); `mean` and `var` [P] are its
    statistics; `reference` [S] is the running segment's signature, with `reference_frames` behind it;
    `blocked` are digests of patches and names of their values (a state of an older device has no names);
    `commands` are the ids of the last orders that were obeyed; `cloud_speaks` the lowest and the highest
    version of the protocol that the cloud said it speaks.
    """

    bundle: str
    epoch: int
    segment: int
    frames: int
    patch: str
    mean: bytes
    var: bytes
    reference: bytes
    reference_frames: int
    serials: dict[str, int]
    assignments: tuple[Assignment, ...]
    blocked: tuple[str, ...]
    bank: tuple[BankRecord, ...]
    trial: TrialRecord | None = None
    budget_bytes_per_hour: int | None = None
    budget_bytes_per_day: int | None = None
    budget: BudgetRecord | None = None
    commands: tuple[str, ...] = ()
    cloud_speaks: tuple[int, int] | None = None
    clusters: tuple[ClusterRecord, ...] = ()
    format: int = STATE_FORMAT
