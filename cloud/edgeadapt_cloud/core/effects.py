"""What the core wants done. Performed in order; store effects are durable before any other is begun."""

from __future__ import annotations

from dataclasses import dataclass

from edgeadapt.wire import NO_PROPERTIES, MessageProperties
from edgeadapt_cloud.core.jobs.job import JobRequest
from edgeadapt_cloud.core.rows import Commit, Record


@dataclass(frozen=True, slots=True)
class CommitMessage:
    """Keep a device's message once; the answer comes back as `events.Committed`."""

    row: Commit


@dataclass(frozen=True, slots=True)
class Save:
    """Keep this record in place of the one with the same key."""

    record: Record


@dataclass(frozen=True, slots=True)
class ForgetCohort:
    """Take a cohort out of the store; its segments have none then. Jobs and messages stay."""

    cohort: str


@dataclass(frozen=True, slots=True)
class ForgetWants:
    """These announced samples, by (device, outbox, sample), are of no more interest."""

    keys: tuple[tuple[str, str, int], ...]


@dataclass(frozen=True, slots=True)
class Quarantine:
    """Count a bad message under `reason` and keep its beginning for a look."""

    topic: str
    reason: str
    detail: str
    payload: bytes


@dataclass(frozen=True, slots=True)
class Publish:
    """Send an MQTT message with QoS 1. An empty retained payload clears the topic."""

    topic: str
    payload: bytes
    retain: bool
    properties: MessageProperties = NO_PROPERTIES


@dataclass(frozen=True, slots=True)
class StartJob:
    """Run a job in the worker; `lanes` holds the lane of each of `request.sample_ids`."""

    request: JobRequest
    lanes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Note:
    """A line for the log."""

    text: str


Effect = CommitMessage | Save | ForgetCohort | ForgetWants | Quarantine | Publish | StartJob | Note
OutboundEffect = Publish | StartJob | Note
