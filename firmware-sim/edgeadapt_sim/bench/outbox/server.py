"""The cloud's ingest and store as a process to be killed: `python -m ... FOLDER PORT`.

The real service with its MQTT link, its core and its SQLite store; jobs never become due, so no teacher is
loaded. Each message that reaches it is noted in `server.txt`, before it is committed, and each sample that a
device is told to send or to let go, before it is told.
"""

from __future__ import annotations

import signal
import sys
import threading
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from edgeadapt.bundle import read_folder
from edgeadapt.errors import ConfigError
from edgeadapt.wire import AnyMessage, Want, decode
from edgeadapt_cloud.config import (
    BundleSection,
    CloudConfig,
    CloudSection,
    JobConfig,
    MqttSection,
    SigningSection,
)
from edgeadapt_cloud.core.effects import OutboundEffect, Publish
from edgeadapt_cloud.core.events import Event, MessageArrived
from edgeadapt_cloud.core.jobs.job import ImageArray, JobRequest, JobResult
from edgeadapt_cloud.performer import Performer
from edgeadapt_cloud.service import Service
from edgeadapt_sim.bench.outbox.journal import Journal
from edgeadapt_sim.bench.outbox.producer import BUNDLE_NAME, FLEET

STATE_NAME, JOURNAL_NAME = "cloud", "server.txt"
_NEVER = 1_000_000


class _NoAdapter:
    """There are no jobs."""

    def run(self, request: JobRequest, images: ImageArray, lanes: list[str]) -> JobResult:
        raise ConfigError("no job is ever due here")


class _NotedService(Service):
    """Notes what arrives, and what devices are told about samples that they hold."""

    journal: Journal

    def _take(self, deadline_mono_s: float | None) -> list[Event]:
        batch = super()._take(deadline_mono_s)
        for event in batch:
            if isinstance(event, MessageArrived) and event.topic.endswith(
                ("/sample", "/outcome", "/descriptor")
            ):
                self.journal.note("arrived")
        return batch

    def _perform(
        self, performer: Performer, batch: list[Event], stop: threading.Event
    ) -> list[OutboundEffect]:
        outbound = super()._perform(performer, batch, stop)
        for effect in outbound:
            if isinstance(effect, Publish) and effect.topic.endswith("/want"):
                self._note_want(decode(effect.payload))
        return outbound

    def _note_want(self, message: AnyMessage) -> None:
        if isinstance(message, Want):
            for word, samples in (("wanted", message.wanted), ("declined", message.declined)):
                for sample in samples:
                    self.journal.note(word, message.outbox, sample)


def main(arguments: list[str]) -> None:
    """Serve until SIGTERM."""
    folder, port = Path(arguments[0]), int(arguments[1])
    config = CloudConfig(
        bundle=BundleSection(path=str(folder / BUNDLE_NAME)),
        signing=SigningSection(key="none"),
        cloud=CloudSection(fleet=FLEET, state_dir=str(folder / STATE_NAME)),
        mqtt=MqttSection(host="127.0.0.1", port=port, keepalive_s=4, reconnect_max_s=1),
        jobs=JobConfig(min_new=_NEVER, max_samples=_NEVER),
    )
    stop = threading.Event()

    def end(*_: Any) -> None:
        stop.set()

    signal.signal(signal.SIGTERM, end)
    with Journal(folder / JOURNAL_NAME) as journal:
        bundle, key = read_folder(folder / BUNDLE_NAME), Ed25519PrivateKey.generate()
        service = _NotedService(config, bundle, _NoAdapter(), key, folder / STATE_NAME)
        service.journal = journal
        service.serve(stop)


if __name__ == "__main__":
    main(sys.argv[1:])
