"""One transaction per batch: what cannot be stored is not acknowledged, and the core forgets it."""

from __future__ import annotations

import queue
import sqlite3
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from edgeadapt.bundle.manifest import InputSpec
from edgeadapt.clock import Instant
from edgeadapt.errors import TransportError
from edgeadapt_cloud.core.core import CloudCore
from edgeadapt_cloud.core.effects import Effect, Publish, StartJob
from edgeadapt_cloud.core.events import (
    Event,
    JobFailed,
    JobFinished,
    MessageArrived,
    RollbackOrdered,
    Tick,
)
from edgeadapt_cloud.core.jobs.job import ImageArray, JobRequest, JobResult
from edgeadapt_cloud.core.rows import CohortRow, Commit, Record, SignatureRow, Snapshot
from edgeadapt_cloud.io.blobs import MemoryBlobs
from edgeadapt_cloud.io.report import order_rollback
from edgeadapt_cloud.io.store import DATABASE_NAME, SqliteStore
from edgeadapt_cloud.performer import Performer, run_job
from edgeadapt_cloud.service import Service, Worker
from tests.cloud.fleet import BUNDLE, FOG, KEY, NOISE, REFUSED, DeviceDouble, FixedAdapter, at, config, png

SPEC = InputSpec((1, 8, 8))


class FullDisk(SqliteStore):
    """The real store, whose disk is full when `full` is set: cohorts cannot be written."""

    full = False

    def save(self, record: Record) -> None:
        """Fail in the middle of a transaction."""
        if self.full and isinstance(record, CohortRow):
            raise TransportError("the database: disk I/O error")
        super().save(record)


class Unreadable(FullDisk):
    """A store that can, when it is broken, not even be read."""

    def snapshot(self) -> Snapshot:
        """Fail like the rest."""
        if self.full:
            raise TransportError("the database: disk I/O error")
        return super().snapshot()


def made(store: SqliteStore, core: type[CloudCore] = CloudCore) -> Performer:
    """A performer over `store`."""
    return Performer(lambda: core(config(), BUNDLE, KEY), store, MemoryBlobs(), at(0))


def arrived(*messages: tuple[str, bytes]) -> list[Event]:
    """Events, and the tick that sends what is due."""
    return [*(MessageArrived(*message) for message in messages), Tick()]


def test_failing_store_acknowledges_nothing_and_a_resend_succeeds() -> None:
    store, device = FullDisk(None), DeviceDouble("one")
    performer = made(store)
    messages = [device.sample(), device.signature()]
    store.full = True
    with pytest.raises(TransportError):
        performer.process(arrived(*messages), at(1))
    assert performer.process([Tick()], at(2)) == []
    assert not store.snapshot().samples, "the sample before the failure is undone with the rest"
    assert not performer.core.cohorts.rows
    store.full = False
    outbound = performer.process(arrived(*messages), at(3))
    topics = [effect.topic for effect in outbound if isinstance(effect, Publish)]
    assert [topic.rsplit("/", 1)[1] for topic in topics] == ["assign", "ack"]
    assert len(store.snapshot().samples) == 1


def test_core_that_could_not_be_rebuilt_writes_nothing_over_a_full_store() -> None:
    store, device = Unreadable(None), DeviceDouble("one")
    performer = made(store)
    performer.process(arrived(device.sample(), device.signature()), at(1))
    store.full = True
    for _ in range(2):
        with pytest.raises(TransportError):
            performer.process(arrived(device.signature()), at(2))
    store.full = False
    performer.process(arrived(DeviceDouble("two").signature(NOISE)), at(3))
    numbers = {row.number: row.frames for row in store.snapshot().cohorts}
    assert numbers == {1: 64, 2: 64}, "the other domain founds a second cohort, the first is as it was"
    assert performer.core.pool.count(next(iter(performer.core.cohorts.rows))) == 1


def test_locked_database_is_a_transport_error(tmp_path: Path) -> None:
    path = tmp_path / "cloud.sqlite"
    store = SqliteStore(path, timeout_s=0.05)
    performer = made(store)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(TransportError, match="locked"):
        performer.process(arrived(DeviceDouble("one").sample()), at(1))
    other.execute("ROLLBACK")
    other.close()
    assert performer.process(arrived(DeviceDouble("one").sample()), at(2))
    store.close()


class Defective(CloudCore):
    """A core with a defect that the signatures of one device meet."""

    def _signature(self, row: SignatureRow, now: Instant) -> list[Effect]:
        if row.origin.device == "poison":
            raise ZeroDivisionError("a defect")
        return super()._signature(row, now)


def test_message_that_meets_a_defect_is_set_aside_and_the_others_go_on() -> None:
    store = SqliteStore(None)
    performer = made(store, Defective)
    poison, good = DeviceDouble("poison"), DeviceDouble("good")
    batch = arrived(good.signature(), poison.signature(), good.sample())
    with pytest.raises(ZeroDivisionError):
        performer.process(batch, at(1))
    outbound = [effect for event in batch for effect in performer.process_alone(event, at(1))]
    acks = [
        effect.topic for effect in outbound if isinstance(effect, Publish) and effect.topic.endswith("ack")
    ]
    assert sorted(topic.split("/")[3] for topic in acks) == ["good", "poison"]
    assert performer.core.counters["quarantined.defect"] == 1
    saved = store.snapshot()
    assert (len(saved.samples), len(saved.signatures), len(saved.cohorts)) == (1, 1, 1)


class Unwilling(CloudCore):
    """A core with a defect that orders and jobs' results meet."""

    def handle(self, event: Event, now: Instant) -> list[Effect]:
        """Fail on some."""
        if isinstance(event, (RollbackOrdered, JobFinished)):
            raise ZeroDivisionError("a defect")
        return super().handle(event, now)


def test_order_that_meets_a_defect_is_set_aside_with_its_error(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store, device = SqliteStore(tmp_path / DATABASE_NAME), DeviceDouble("one")
    performer = made(store, Unwilling)
    performer.process(arrived(device.signature()), at(1))
    (cohort,) = performer.core.cohorts.rows
    order_rollback(tmp_path, cohort, to_base=False)
    with pytest.raises(ZeroDivisionError):
        performer.process(arrived(device.sample()), at(2))
    assert performer.process_alone(None, at(2)) == []
    assert cohort in caplog.text
    assert "ZeroDivisionError" in caplog.text
    assert performer.process(arrived(device.sample()), at(3)), "the service goes on"
    store.close()


def test_result_that_meets_a_defect_is_a_failed_job() -> None:
    store, device, blobs = SqliteStore(None), DeviceDouble("one"), MemoryBlobs()
    performer = Performer(lambda: Unwilling(config(), BUNDLE, KEY), store, blobs, at(0))
    outbound = performer.process(arrived(device.signature(), *(device.sample() for _ in range(8))), at(1))
    (job,) = (effect for effect in outbound if isinstance(effect, StartJob))
    ended = run_job(job, FixedAdapter(), blobs, SPEC)
    performer.process_alone(ended, at(2))
    (row,) = store.snapshot().jobs
    assert (row.state, row.note) == ("failed", "ZeroDivisionError: a defect")


def test_job_outlives_a_core_that_had_to_be_rebuilt() -> None:
    store, device, blobs = FullDisk(None), DeviceDouble("one"), MemoryBlobs()
    performer = Performer(lambda: CloudCore(config(), BUNDLE, KEY), store, blobs, at(0))
    outbound = performer.process(arrived(device.signature(), *(device.sample() for _ in range(8))), at(1))
    (job,) = (effect for effect in outbound if isinstance(effect, StartJob))
    store.full = True
    with pytest.raises(TransportError):
        performer.process(arrived(DeviceDouble("two").signature()), at(2))
    store.full = False
    performer.process([run_job(job, FixedAdapter(), blobs, SPEC)], at(3))
    assert [row.state for row in store.snapshot().jobs] == ["published"]


def test_job_that_was_running_does_not_undo_an_operators_rollback() -> None:
    store, device, blobs = SqliteStore(None), DeviceDouble("one"), MemoryBlobs()
    performer = Performer(lambda: CloudCore(config(), BUNDLE, KEY), store, blobs, at(0))
    outbound = performer.process(arrived(device.signature(), *(device.sample() for _ in range(8))), at(1))
    (job,) = (effect for effect in outbound if isinstance(effect, StartJob))
    performer.process(arrived(*(device.sample() for _ in range(4))), at(2))
    performer.process([RollbackOrdered(job.request.cohort, to_base=True), Tick()], at(3))
    performer.process([run_job(job, FixedAdapter(), blobs, SPEC), Tick()], at(4))
    assert [(row.state, row.note) for row in store.snapshot().jobs] == [
        ("abandoned", "rollback ordered by an operator")
    ]
    (back,) = store.snapshot().patches
    assert dict(back.values) == {}
    outbound = performer.process(arrived(*(device.sample() for _ in range(11))), at(5))
    assert not any(isinstance(effect, StartJob) for effect in outbound), "12 samples have to double"
    outbound = performer.process(arrived(device.sample()), at(6))
    assert any(isinstance(effect, StartJob) for effect in outbound)


def test_next_job_is_for_the_cohort_with_most_new_samples() -> None:
    store, blobs = SqliteStore(None), MemoryBlobs()
    performer = Performer(lambda: CloudCore(config(), BUNDLE, KEY), store, blobs, at(0))
    devices = [DeviceDouble(name) for name in ("first", "few", "many")]
    started: list[StartJob] = []
    for device, domain, count in zip(devices, (FOG, NOISE, (0.0, 9.0, 0.0, 0.0)), (8, 9, 12), strict=True):
        messages = [device.signature(domain), *(device.sample() for _ in range(count))]
        outbound = performer.process(arrived(*messages), at(1))
        started += [effect for effect in outbound if isinstance(effect, StartJob)]
    (job,) = started  # one at a time
    outbound = performer.process([run_job(job, FixedAdapter(verdict=REFUSED), blobs, SPEC)], at(2))
    (following,) = (effect for effect in outbound if isinstance(effect, StartJob))
    assert len(following.request.sample_ids) == 12


class Moody(SqliteStore):
    """A store that fails once for every event that is taken alone."""

    failures = 0

    def commit(self, row: Commit, received_s: float) -> tuple[bool, int]:
        """Fail now and then."""
        self.failures += 1
        if self.failures in (3, 5):
            raise TransportError("the database: busy")
        return super().commit(row, received_s)


def test_passing_failure_of_the_store_after_a_defect_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgeadapt_cloud.service.RETRY_S", 0.0)
    store = Moody(None)
    performer = made(store, Defective)
    poison, good = DeviceDouble("poison"), DeviceDouble("good")
    service = Service(config(), BUNDLE, FixedAdapter(), KEY, tmp_path)
    batch = arrived(good.signature(), poison.signature(), good.sample())
    outbound = service._perform(performer, batch, threading.Event())
    topics = {effect.topic for effect in outbound if isinstance(effect, Publish)}
    assert {topic.rsplit("/", 1)[1] for topic in topics if "/good/" in topic} == {"assign", "ack"}
    saved = store.snapshot()
    assert (len(saved.samples), len(saved.signatures)) == (1, 1)
    assert store.failures > 5


def request(*digests: str) -> JobRequest:
    """A request for these samples."""
    zero = np.zeros(2, np.float32)
    return JobRequest("c", BUNDLE.digest, 1, "anchored", digests, zero, zero + 1, 10, 1, b"", {})


def test_job_leaves_out_samples_that_cannot_be_read() -> None:
    blobs, adapter = MemoryBlobs(), FixedAdapter(verdict=REFUSED)
    blobs.put("good", png(1))
    blobs.put("cut", png(2)[:-40])
    blobs.put("wide", png(3, (8, 9)))
    job = StartJob(request("cut", "good", "wide", "absent"), ("adapt", "audit", "adapt", "adapt"))
    ended = run_job(job, adapter, blobs, SPEC)
    assert isinstance(ended, JobFinished)
    assert adapter.requests[0].sample_ids == ("good",)
    assert adapter.lanes == [["audit"]]
    assert adapter.images[0].shape == (1, 8, 8, 1)


def test_job_without_a_readable_sample_fails_and_says_so() -> None:
    ended = run_job(StartJob(request("absent"), ("adapt",)), FixedAdapter(), MemoryBlobs(), SPEC)
    assert ended == JobFailed(1, "none of its samples can be read")


@pytest.mark.parametrize(
    "error", [KeyError("conv1"), AssertionError("odd"), AttributeError("x"), MemoryError(), OSError("gone")]
)
def test_job_that_meets_a_defect_fails_with_its_words_and_the_worker_goes_on(
    error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    blobs, inbox = MemoryBlobs(), queue.Queue[Event]()
    blobs.put("good", png(1))
    adapter = FixedAdapter(error=error)
    worker = Worker(adapter, blobs, SPEC, inbox)
    worker.start(StartJob(request("good"), ("adapt",)))
    assert inbox.get(timeout=10) == JobFailed(1, f"{type(error).__name__}: {error}")
    assert "Traceback" in caplog.text
    adapter.error = None
    worker.start(StartJob(request("good"), ("adapt",)))
    assert isinstance(inbox.get(timeout=10), JobFinished)


class Crowded(FixedAdapter):
    """An adapter that notices when two jobs are in it at once."""

    inside = 0
    most = 0

    def run(self, request: JobRequest, images: ImageArray, lanes: list[str]) -> JobResult:
        """Stay for a moment."""
        self.inside += 1
        self.most = max(self.most, self.inside)
        time.sleep(0.1)
        self.inside -= 1
        return super().run(request, images, lanes)


def test_jobs_share_the_adapter_one_after_another() -> None:
    blobs, inbox, adapter = MemoryBlobs(), queue.Queue[Event](), Crowded()
    blobs.put("good", png(1))
    worker = Worker(adapter, blobs, SPEC, inbox)
    for _ in range(2):
        worker.start(StartJob(request("good"), ("adapt",)))
    assert all(isinstance(inbox.get(timeout=10), JobFinished) for _ in range(2))
    assert adapter.most == 1


class Slow(FixedAdapter):
    """An adapter whose job ends when it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.entered, self.leave = threading.Event(), threading.Event()

    def run(self, request: JobRequest, images: ImageArray, lanes: list[str]) -> JobResult:
        """Wait."""
        self.entered.set()
        self.leave.wait(10)
        return super().run(request, images, lanes)


def test_a_worker_says_whether_it_is_at_work() -> None:
    blobs, inbox, adapter = MemoryBlobs(), queue.Queue[Event](), Slow()
    blobs.put("good", png(1))
    worker = Worker(adapter, blobs, SPEC, inbox)
    said = [worker.at_work]
    worker.start(StartJob(request("good"), ("adapt",)))
    assert adapter.entered.wait(10)
    said.append(worker.at_work)
    adapter.leave.set()
    inbox.get(timeout=10)
    assert [*said, worker.at_work] == [False, True, False]
