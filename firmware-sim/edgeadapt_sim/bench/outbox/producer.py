"""A device that stores and sends, as a process to be killed: `python -m ... FOLDER PORT START PLAN`.

The real core, performer, SQLite outbox and MQTT link; only the model is left out: what is stored are
pictures of noise, each unlike all others, so that the server can be asked for every single one. Two of three
come with an embedding and are held until the server wants them; half of those repeat what was shown shortly
before, so that they are declined. Each commit and each publication is noted in `device.txt`. It stops making
samples when there is a file `stop`, and then only delivers; SIGTERM ends it.
"""

from __future__ import annotations

import logging
import queue
import signal
import sys
import threading
import time
from collections import deque
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from edgeadapt.bundle import read_folder
from edgeadapt.clock import Instant
from edgeadapt.patch import TrustedKeys
from edgeadapt.tensors import FloatArray
from edgeadapt.wire import NO_PROPERTIES, MessageProperties, Outcome, Sample, Status, encode, topics
from edgeadapt_device.config import (
    BudgetSection,
    DeliverySection,
    DeviceConfig,
    DeviceSection,
    MqttSection,
    PrivacySection,
)
from edgeadapt_device.core import DeviceCore
from edgeadapt_device.core import effects as fx
from edgeadapt_device.core import events as ev
from edgeadapt_device.core.uplink.rows import Waiting
from edgeadapt_device.io.leaving import Leaving
from edgeadapt_device.io.link.mqtt import MqttLink
from edgeadapt_device.io.outbox import Storable, StoredRow
from edgeadapt_device.io.outbox.sqlite import SqliteOutbox
from edgeadapt_device.performer import Performer
from edgeadapt_sim.bench.outbox.journal import Journal
from edgeadapt_sim.bench.outbox.plan import OutboxPlan

log = logging.getLogger("edgeadapt.chaos")
FLEET, DEVICE = "chaos", "device-1"
BUNDLE_NAME, OUTBOX_NAME, JOURNAL_NAME, STOP_NAME = "bundle", "outbox.sqlite", "device.txt", "stop"
_PLENTY = 1 << 40
_REPORT_EVERY = 10
_HELD_SHARE, _AGAIN_SHARE = 2 / 3, 0.5
# Things that may be shown again.
_RECENT = 24
_WAIT_S = 0.02


class _NotedOutbox(SqliteOutbox):
    """Notes what is durable, and what was let go unasked."""

    journal: Journal

    def store(self, message: Storable, *, waiting: Waiting | None = None, age_s: float = 0.0) -> StoredRow:
        row = super().store(message, waiting=waiting, age_s=age_s)
        content = message.sha256 if isinstance(message, Sample) else "-"
        vector = waiting.item.vector.hex() if waiting is not None else "-"
        self.journal.note("stored", self.outbox_id, row.sequence, content, vector)
        for sequence in row.dropped:
            self.journal.note("dropped", self.outbox_id, sequence)
        return row


class _NotedLink(MqttLink):
    """Notes what is handed to the client."""

    journal: Journal

    def publish(
        self,
        topic: str,
        payload: bytes,
        qos: int,
        retain: bool,
        properties: MessageProperties = NO_PROPERTIES,
    ) -> None:
        super().publish(topic, payload, qos, retain, properties)
        if topic.endswith(("/sample", "/outcome", "/descriptor")):
            self.journal.note("published")


def config(port: int, plan: OutboxPlan) -> DeviceConfig:
    """A device that has bytes enough, and loses patience soon."""
    return DeviceConfig(
        device=DeviceSection(name=DEVICE, fleet=FLEET),
        mqtt=MqttSection(host="127.0.0.1", port=port, keepalive_s=4, reconnect_max_s=1),
        budget=BudgetSection(bytes_per_hour=_PLENTY, bytes_per_day=_PLENTY, burst_bytes=_PLENTY),
        delivery=DeliverySection(
            resend_s=2.0,
            resend_max_s=8.0,
            drop_after_sends=10_000,
            durability=plan.durability,
            descriptors_first="always",
            descriptor_items=8,
            descriptor_pause_s=1.0,
            want_wait_s=10.0,
        ),
        privacy=PrivacySection(),
    )


class Producer:
    """The process's one thread."""

    def __init__(self, folder: Path, port: int, start: int, plan: OutboxPlan, journal: Journal) -> None:
        self._folder, self._journal, self._plan = folder, journal, plan
        self._rng = np.random.default_rng([plan.seed, start])
        self._inbox: queue.SimpleQueue[ev.Event] = queue.SimpleQueue()
        settings, bundle = config(port, plan), read_folder(folder / BUNDLE_NAME)
        self._outbox = _NotedOutbox(folder / OUTBOX_NAME, durability=plan.durability, retention_s=86_400.0)
        self._outbox.journal = journal
        self._core = DeviceCore(
            bundle,
            settings,
            TrustedKeys([]),
            rng=self._rng,
            outbox=self._outbox.outbox_id,
            pending=self._outbox.pending(),
        )
        journal.note("open", self._outbox.outbox_id, len(self._outbox))
        self._link = self._connect(settings.mqtt, bundle.digest)
        self._performer = Performer(
            self._core,
            self._outbox,
            None,
            self._link,
            lambda token, values: self._inbox.put(ev.GenerationReady(token)),
            leaving=Leaving(settings.privacy, bundle.manifest.classes),
            fleet=FLEET,
            device=DEVICE,
            on_predicted=lambda predicted: None,
            on_log=log.info,
        )
        self._shape = bundle.manifest.input.frame_shape
        self._width = bundle.calibration.prototypes.shape[1]
        self._recent: deque[FloatArray] = deque(maxlen=_RECENT)
        self._made = 0

    def _connect(self, settings: MqttSection, digest: str) -> _NotedLink:
        death = Status(epoch=self._core.epoch, online=False, bundle=digest)
        link = _NotedLink(
            settings,
            fleet=FLEET,
            device=DEVICE,
            will_topic=topics.up(FLEET, DEVICE, "status"),
            will_payload=encode(death),
            inbox=self._inbox.put,
        )
        link.journal = self._journal
        return link

    def run(self, stop: threading.Event) -> None:
        """Make samples until the file `stop` is there, and deliver until told to end."""
        self._performer.perform(self._core.start(_now()))
        self._performer.drain(_now())
        due_s, pause_s = time.monotonic(), 1.0 / self._plan.frames_per_second
        while not stop.is_set():
            self._work(min(max(due_s - time.monotonic(), 0.0), _WAIT_S))
            if time.monotonic() >= due_s:
                due_s += pause_s
                if not (self._folder / STOP_NAME).exists():
                    self._make()
        self._link.close()
        self._outbox.close()

    def _work(self, wait_s: float) -> None:
        try:
            self._performer.handle(self._inbox.get(timeout=max(wait_s, 0.001)), _now())
        except queue.Empty:
            now, due_s = _now(), self._core.next_deadline()
            if due_s is not None and due_s <= now.mono_s:
                self._performer.handle(ev.Tick(), now)

    def _make(self) -> None:
        self._made += 1
        self._performer.perform([self._report() if self._made % _REPORT_EVERY == 0 else self._sample()])
        self._performer.drain(_now())

    def _sample(self) -> fx.Effect:
        # The bytes are unlike any other's, which is what the count relies on.
        image = self._rng.integers(0, 256, self._shape, dtype=np.uint8)
        held = bool(self._rng.random() < _HELD_SHARE)
        return fx.StoreSample(
            image=image,
            segment=0,
            lane="ask" if held and self._rng.random() < 0.5 else "adapt",
            descriptor=self._thing() if held else None,
            hold=held,
            entropy=float(self._rng.uniform(0.1, 2.0)),
            predicted=0,
            generation="base",
            captured_s=time.time(),
            price_bytes=1 << 19,
        )

    def _thing(self) -> FloatArray:
        """The embedding of something new, or of something that was shown shortly before."""
        if self._recent and self._rng.random() < _AGAIN_SHARE:
            return self._recent[int(self._rng.integers(len(self._recent)))]
        self._recent.append(np.asarray(self._rng.standard_normal(self._width), np.float32))
        return self._recent[-1]

    def _report(self) -> fx.Effect:
        return fx.StoreMessage(
            Outcome(outbox="", sequence=0, cohort="none", serial=1, patch="p", state="trial")
        )


def _now() -> Instant:
    return Instant(time.monotonic(), time.time())


def main(arguments: list[str]) -> None:
    """Run until SIGTERM."""
    folder, port, start = Path(arguments[0]), int(arguments[1]), int(arguments[2])
    plan = msgspec.json.decode(arguments[3], type=OutboxPlan)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    stop = threading.Event()

    def end(*_: Any) -> None:
        stop.set()

    signal.signal(signal.SIGTERM, end)
    with Journal(folder / JOURNAL_NAME) as journal:
        Producer(folder, port, start, plan, journal).run(stop)


if __name__ == "__main__":
    main(sys.argv[1:])
