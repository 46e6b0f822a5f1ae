"""Carries the core's effects out: the store's part in one transaction, the rest after it.

For a batch of events: begin, handle each event and store what it asks (a `CommitMessage` is answered at
once by `Committed`), commit; only then hand out what leaves the service (acknowledgements, patches,
jobs). When anything fails, the transaction is undone, nothing leaves, and the devices send again; the
core is stale then, and handles nothing before it has been rebuilt from the store. So the core and the
store never disagree, and no message is acknowledged that is not durable.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import replace

import numpy as np

from edgeadapt.bundle.manifest import InputSpec
from edgeadapt.clock import Instant
from edgeadapt.errors import ConfigError, EdgeAdaptError
from edgeadapt_cloud.core.core import CloudCore
from edgeadapt_cloud.core.effects import (
    CommitMessage,
    Effect,
    ForgetCohort,
    ForgetWants,
    OutboundEffect,
    Quarantine,
    Save,
    StartJob,
)
from edgeadapt_cloud.core.events import (
    Committed,
    Event,
    JobFailed,
    JobFinished,
    MessageArrived,
    MessageFailed,
)
from edgeadapt_cloud.core.jobs.job import AdapterPort, ImageArray
from edgeadapt_cloud.core.rows import SampleRow
from edgeadapt_cloud.io.images import decode_image, is_lossless
from edgeadapt_cloud.io.ports import Blobs, Store
from edgeadapt_cloud.io.rowcodec import DAMAGED

log = logging.getLogger("edgeadapt.cloud")


class Performer:
    """Owns the core and its store. One thread."""

    def __init__(self, make_core: Callable[[], CloudCore], store: Store, blobs: Blobs, now: Instant) -> None:
        """Build the core from the store; raises ConfigError or TransportError when that fails."""
        self._make_core = make_core
        self._store = store
        self._blobs = blobs
        self._stale = False
        self.restart(now)

    @property
    def core(self) -> CloudCore:
        """The core now in charge (another one after a failure)."""
        return self._core

    def process(self, events: Iterable[Event], now: Instant) -> list[OutboundEffect]:
        """Handle an operator's order, if there is one, and a batch.

        Returns:
            What is to leave the service, in order. Everything it rests on is durable.

        Raises:
            TransportError: nothing was stored, nothing is to leave, and the next call begins from the store.
        """
        return self._handle(events, now, with_order=True)

    def process_alone(self, event: Event | None, now: Instant) -> list[OutboundEffect]:
        """Handle one event of a batch that met a defect, or the order (None); what meets it is set aside.

        A message is quarantined, a job's result is that the job failed, an order is logged and forgotten.

        Raises:
            TransportError: as `process`.
        """
        try:
            return self._handle([event] if event is not None else [], now, with_order=event is None)
        except EdgeAdaptError:
            raise
        except Exception as error:
            words = f"{type(error).__name__}: {error}"
            if isinstance(event, MessageArrived):
                return self._handle([MessageFailed(event.topic, event.payload, words)], now)
            if isinstance(event, JobFinished):
                return self._handle([JobFailed(event.result.job, words)], now)
            if event is not None:
                raise
            with self._store.transaction():
                log.exception("%s is set aside: it met a defect", self._store.take_order())
            return []

    def _handle(
        self, events: Iterable[Event], now: Instant, *, with_order: bool = False
    ) -> list[OutboundEffect]:
        if self._stale:
            self._build(now, going_on=True)
        outbound: list[OutboundEffect] = []
        try:
            with self._store.transaction():
                order = self._store.take_order() if with_order else None
                for event in (*([order] if order is not None else []), *events):
                    self._perform(self._core, self._core.handle(event, now), outbound, now)
        except BaseException:
            self._stale = True
            raise
        return outbound

    def restart(self, now: Instant) -> None:
        """Forget the core and its jobs, as a new process does, and build it from the store."""
        self._build(now, going_on=False)

    def _build(self, now: Instant, *, going_on: bool) -> None:
        """A core that cannot be built whole is never used."""
        core = self._make_core()
        try:
            effects = core.restore(self._store.snapshot(), now, going_on=going_on)
        except ConfigError as error:
            raise ConfigError(f"{self._store.name}: {error}; {DAMAGED}") from error
        with self._store.transaction():
            self._perform(core, effects, [], now)
        self._core, self._stale = core, False

    def _perform(
        self, core: CloudCore, effects: Iterable[Effect], outbound: list[OutboundEffect], now: Instant
    ) -> None:
        waiting = deque(effects)
        while waiting:
            effect = waiting.popleft()
            if isinstance(effect, CommitMessage):
                if isinstance(effect.row, SampleRow):
                    self._blobs.put(effect.row.sha256, effect.row.data)
                fresh, arrival = self._store.commit(effect.row, now.wall_s)
                waiting.extend(core.handle(Committed(effect.row, fresh, arrival), now))
            elif isinstance(effect, Save):
                self._store.save(effect.record)
            elif isinstance(effect, ForgetCohort):
                self._store.forget_cohort(effect.cohort)
            elif isinstance(effect, ForgetWants):
                self._store.forget_wants(effect.keys)
            elif isinstance(effect, Quarantine):
                self._store.quarantine(effect, now.wall_s)
            else:
                outbound.append(effect)


def run_job(job: StartJob, adapter: AdapterPort, blobs: Blobs, spec: InputSpec) -> JobFinished | JobFailed:
    """Load a job's images and run it. Samples whose image cannot be read are left out of the request."""
    images: list[ImageArray] = []
    lanes, digests, lossy, altered = list[str](), list[str](), set[int](), set[int]()
    try:
        for place, (digest, lane) in enumerate(zip(job.request.sample_ids, job.lanes, strict=True)):
            data = blobs.get(digest)
            pixels = decode_image(data, spec) if data is not None else None
            if data is not None and pixels is not None:
                if not is_lossless(data, spec):
                    lossy.add(len(images))
                if place in job.request.altered:
                    altered.add(len(images))
                images.append(pixels)
                lanes.append(lane)
                digests.append(digest)
        if not images:
            return JobFailed(job.request.job, "none of its samples can be read")
        request = replace(
            job.request, sample_ids=tuple(digests), lossy=frozenset(lossy), altered=frozenset(altered)
        )
        return JobFinished(adapter.run(request, np.stack(images), lanes))
    except Exception as error:
        # A job must not take its worker down, or it would be running for ever; its failure is stored and
        # shown with its reason. An error that is not one of ours is a defect, so its traceback is kept too.
        if not isinstance(error, EdgeAdaptError):
            log.exception("job %d met a defect", job.request.job)
        return JobFailed(job.request.job, f"{type(error).__name__}: {error}")
