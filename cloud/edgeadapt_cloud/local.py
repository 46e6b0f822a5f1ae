"""The service inline: same core, same store, no threads, no sockets, no clock.

For simulators, benchmarks and tests. Jobs run inside the call that makes them due, so virtual time
stands still meanwhile. Bytes go in and out as they would over MQTT.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from edgeadapt.bundle import Bundle
from edgeadapt.clock import Instant
from edgeadapt.wire import SPEAKS, Versions
from edgeadapt_cloud.config import CloudConfig
from edgeadapt_cloud.core.core import CloudCore
from edgeadapt_cloud.core.effects import OutboundEffect, Publish, StartJob
from edgeadapt_cloud.core.events import BrokerConnected, Event, MessageArrived, RollbackOrdered, Tick
from edgeadapt_cloud.core.jobs.job import AdapterPort
from edgeadapt_cloud.io.blobs import FolderBlobs, MemoryBlobs
from edgeadapt_cloud.io.ports import Blobs
from edgeadapt_cloud.io.store import DATABASE_NAME, SqliteStore
from edgeadapt_cloud.performer import Performer, run_job

_START = Instant(0.0, 0.0)


class LocalCloud:
    """The whole service for one bundle, driven by calls."""

    def __init__(
        self,
        config: CloudConfig,
        bundle: Bundle,
        adapter: AdapterPort,
        key: Ed25519PrivateKey,
        store_dir: Path | None = None,
        *,
        now: Instant = _START,
        speaks: Versions = SPEAKS,
    ) -> None:
        """Start, from what `store_dir` holds if given, else in memory; `speaks` are protocol versions."""
        self._bundle = bundle
        self._adapter = adapter
        path = store_dir / DATABASE_NAME if store_dir is not None else None
        self.store = SqliteStore(path, quarantine_kept=config.cloud.quarantine_kept)
        self._blobs: Blobs = FolderBlobs(store_dir / "blobs") if store_dir is not None else MemoryBlobs()
        epoch = self.store.begin_epoch(now.wall_s)
        self._performer = Performer(
            lambda: CloudCore(config, bundle, key, epoch=epoch, speaks=speaks), self.store, self._blobs, now
        )
        self._outgoing: list[tuple[str, bytes, bool]] = []

    @property
    def core(self) -> CloudCore:
        """The core, to look at."""
        return self._performer.core

    def deliver(self, topic: str, payload: bytes, now: Instant) -> None:
        """A message arrives; raises TransportError when it cannot be stored (it is not acknowledged then)."""
        self._process([MessageArrived(topic, payload), Tick()], now)

    def deliver_many(self, messages: Iterable[tuple[str, bytes]], now: Instant) -> None:
        """Several messages arrive and are stored in one transaction."""
        self._process([*(MessageArrived(topic, payload) for topic, payload in messages), Tick()], now)

    def connected(self, now: Instant) -> None:
        """A broker session begins: everything that it should retain is sent again."""
        self._process([BrokerConnected()], now)

    def rollback(self, cohort: str, now: Instant, *, to_base: bool = False) -> None:
        """An operator orders a cohort back."""
        self._process([RollbackOrdered(cohort, to_base)], now)

    def tick(self, now: Instant) -> None:
        """Let time pass: acknowledgements, deadlines and due jobs."""
        self._process([Tick()], now)

    def restart(self, now: Instant) -> None:
        """As after `kill -9`: only what is stored is known."""
        self._performer.restart(now)

    def outgoing(self) -> list[tuple[str, bytes, bool]]:
        """Take what was published since the last call: (topic, payload, retain)."""
        taken, self._outgoing = self._outgoing, []
        return taken

    def close(self) -> None:
        """Let go of the store."""
        self.store.close()

    def _process(self, events: list[Event], now: Instant) -> None:
        waiting = [self._performer.process(events, now)]
        while waiting:
            for effect in waiting.pop():
                self._one(effect, waiting, now)

    def _one(self, effect: OutboundEffect, waiting: list[list[OutboundEffect]], now: Instant) -> None:
        if isinstance(effect, Publish):
            self._outgoing.append((effect.topic, effect.payload, effect.retain))
        elif isinstance(effect, StartJob):
            ended = run_job(effect, self._adapter, self._blobs, self._bundle.manifest.input)
            waiting.append(self._performer.process([ended], now))
