"""The daemon: one thread owns the core and the store, MQTT only enqueues, a worker runs the jobs.

    paho's thread --MessageArrived--> inbox --> this thread: performer, core, store --> publish
    worker thread <------StartJob---------------'     ^-------JobFinished-------- worker thread

Ctrl-C and SIGTERM stop it between two batches; a job that is running is abandoned and started again by
the next service, as it is after `kill -9`. Not here: decisions (`core`), building the parts (`wiring`).
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from edgeadapt.bundle import Bundle
from edgeadapt.bundle.manifest import InputSpec
from edgeadapt.clock import Instant
from edgeadapt.errors import EdgeAdaptError, TransportError
from edgeadapt.wire import ServerStatus, encode
from edgeadapt_cloud.config import CloudConfig
from edgeadapt_cloud.core.core import CloudCore
from edgeadapt_cloud.core.effects import Note, OutboundEffect, Publish, StartJob
from edgeadapt_cloud.core.events import BrokerConnected, Event, Tick
from edgeadapt_cloud.core.jobs.job import AdapterPort
from edgeadapt_cloud.io.announce import Announcer
from edgeadapt_cloud.io.blobs import FolderBlobs
from edgeadapt_cloud.io.lock import StateLock
from edgeadapt_cloud.io.mqtt import MqttLink
from edgeadapt_cloud.io.ports import Blobs
from edgeadapt_cloud.io.store import DATABASE_NAME, SqliteStore
from edgeadapt_cloud.performer import Performer, run_job

log = logging.getLogger("edgeadapt.cloud")

IDLE_S = 0.5
RETRY_S = 1.0
BLOBS_NAME = "blobs"


def system_now() -> Instant:
    """The machine's clocks."""
    return Instant(time.monotonic(), time.time())


class Worker:
    """The thread that runs jobs; it is left behind when the service stops.

    One only, however many jobs are under way: the adapter is one object, with one teacher and one student
    whose values a job changes.
    """

    def __init__(
        self, adapter: AdapterPort, blobs: Blobs, spec: InputSpec, inbox: queue.Queue[Event]
    ) -> None:
        self._adapter, self._blobs, self._spec, self._inbox = adapter, blobs, spec, inbox
        self._jobs: queue.Queue[StartJob] = queue.Queue()
        self.at_work = False
        threading.Thread(target=self._run, name="jobs", daemon=True).start()

    def start(self, job: StartJob) -> None:
        """Queue a job; its end comes back through the inbox."""
        self._jobs.put(job)

    def _run(self) -> None:
        while True:
            job = self._jobs.get()
            self.at_work = True
            end = run_job(job, self._adapter, self._blobs, self._spec)
            self.at_work = False
            self._inbox.put(end)


class Service:
    """A running service. `serve` blocks until `stop` is set."""

    def __init__(
        self,
        config: CloudConfig,
        bundle: Bundle,
        adapter: AdapterPort,
        key: Ed25519PrivateKey,
        state_dir: Path,
        now: Callable[[], Instant] = system_now,
    ) -> None:
        self._config, self._bundle, self._adapter, self._key = config, bundle, adapter, key
        self._state_dir = state_dir
        self._now = now
        self._inbox: queue.Queue[Event] = queue.Queue(config.mqtt.inbox)
        self._worker: Worker | None = None
        self._epoch = 0

    @property
    def at_work(self) -> bool:
        """True while a job's thread computes, also after `serve` has returned."""
        return self._worker is not None and self._worker.at_work

    def serve(self, stop: threading.Event) -> None:
        """Run until `stop` is set.

        Raises:
            ConfigError: another service runs on the state folder, or a file cannot be used.
        """
        with StateLock(self._state_dir):
            store = SqliteStore(
                self._state_dir / DATABASE_NAME, quarantine_kept=self._config.cloud.quarantine_kept
            )
            self._epoch = store.begin_epoch(self._now().wall_s)
            death = encode(ServerStatus(epoch=self._epoch, online=False))
            link = MqttLink(self._config.mqtt, self._config.cloud.fleet, self._inbox, death)
            announcer = self._announce()
            try:
                self._loop(store, link, stop)
            finally:
                if announcer is not None:
                    announcer.stop()
                link.stop()
                store.close()

    def _announce(self) -> Announcer | None:
        if not self._config.announce.enabled:
            return None
        announcer = Announcer(self._config.announce, self._config.mqtt, self._config.cloud.fleet)
        announcer.start()
        return announcer

    def _loop(self, store: SqliteStore, link: MqttLink, stop: threading.Event) -> None:
        blobs = FolderBlobs(self._state_dir / BLOBS_NAME)
        performer = Performer(self._core, store, blobs, self._now())
        worker = self._worker = Worker(self._adapter, blobs, self._bundle.manifest.input, self._inbox)
        link.start()
        log.info("serving fleet %s, bundle %s", self._config.cloud.fleet, self._bundle.digest[:12])
        while not stop.is_set():
            batch = self._take(performer.core.next_deadline())
            news = [BrokerConnected()] if link.take_new_session() else []
            for effect in self._perform(performer, [*news, *batch, Tick()], stop):
                if isinstance(effect, Publish):
                    link.publish(effect)
                elif isinstance(effect, StartJob):
                    worker.start(effect)
                else:
                    _log(effect)

    def _core(self) -> CloudCore:
        return CloudCore(self._config, self._bundle, self._key, epoch=self._epoch)

    def _take(self, deadline_mono_s: float | None) -> list[Event]:
        """Wait for an event until the deadline, then take what else is there."""
        wait_s = IDLE_S
        if deadline_mono_s is not None:
            wait_s = min(wait_s, max(0.0, deadline_mono_s - self._now().mono_s))
        batch: list[Event] = []
        try:
            batch.append(self._inbox.get(timeout=wait_s) if wait_s > 0 else self._inbox.get_nowait())
            while len(batch) < self._config.cloud.batch:
                batch.append(self._inbox.get_nowait())
        except queue.Empty:
            pass  # the inbox is drained, or nothing came in time: both are normal
        return batch

    def _perform(
        self, performer: Performer, batch: list[Event], stop: threading.Event
    ) -> list[OutboundEffect]:
        """Process a batch; when a defect meets it, the order and every event of it alone."""
        try:
            return self._stored(partial(performer.process, batch), stop)
        except EdgeAdaptError:
            raise
        except Exception:
            log.exception("a defect met one of %d events; taking them one by one", len(batch))
        outbound: list[OutboundEffect] = []
        for event in (None, *batch):
            outbound += self._stored(partial(performer.process_alone, event), stop)
        return outbound

    def _stored(
        self, attempt: Callable[[Instant], list[OutboundEffect]], stop: threading.Event
    ) -> list[OutboundEffect]:
        """Try again and again while the store cannot take it."""
        while not stop.is_set():
            try:
                return attempt(self._now())
            except TransportError as error:
                log.error("cannot store, trying again: %s", error)
                stop.wait(RETRY_S)
        return []


def _log(note: Note) -> None:
    log.info("%s", note.text)
