"""What can happen to the cloud core. Frozen values, valid once constructed."""

from __future__ import annotations

from dataclasses import dataclass

from edgeadapt_cloud.core.jobs.job import JobResult
from edgeadapt_cloud.core.rows import Commit


@dataclass(frozen=True, slots=True)
class MessageArrived:
    """An MQTT message, as it came."""

    topic: str
    payload: bytes


@dataclass(frozen=True, slots=True)
class MessageFailed:
    """A message met a defect of this service; it is set aside so that the others go on."""

    topic: str
    payload: bytes
    error: str


@dataclass(frozen=True, slots=True)
class Committed:
    """The store took a `Commit`: `fresh` is False for a redelivery; `arrival` rises with every row."""

    row: Commit
    fresh: bool
    arrival: int


@dataclass(frozen=True, slots=True)
class JobFinished:
    """The worker has a result."""

    result: JobResult


@dataclass(frozen=True, slots=True)
class JobFailed:
    """A job could not run; `reason` is for people."""

    job: int
    reason: str


@dataclass(frozen=True, slots=True)
class RollbackOrdered:
    """An operator wants a cohort back on its previous patch, or on the base bundle."""

    cohort: str
    to_base: bool


@dataclass(frozen=True, slots=True)
class BrokerConnected:
    """A session with the broker began: what it should retain may be gone and is published again."""


@dataclass(frozen=True, slots=True)
class Tick:
    """Time passed."""


Event = (
    MessageArrived
    | MessageFailed
    | Committed
    | JobFinished
    | JobFailed
    | RollbackOrdered
    | BrokerConnected
    | Tick
)
