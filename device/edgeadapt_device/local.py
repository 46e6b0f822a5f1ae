"""A device inline: the same core, engine and effects as the daemon, without threads or sockets.

For the simulator, benchmarks and tests, and for anyone who owns the loop. Builds are done at once, so a
new generation scores the very next frame. With `config.mqtt.enabled = false` it is the
statistics-only baseline; with `config.statistics.enabled = false` as well, the frozen model.
"""

from __future__ import annotations

import numpy as np

from edgeadapt.bundle import Bundle, SlotValues
from edgeadapt.clock import Instant
from edgeadapt.errors import EdgeAdaptError
from edgeadapt.patch import TrustedKeys
from edgeadapt.wire import NO_PROPERTIES, SPEAKS, MessageProperties, Versions
from edgeadapt_device.config import DeviceConfig, check, trusted_key_bytes
from edgeadapt_device.core import CoreView, DeviceCore
from edgeadapt_device.core import events as ev
from edgeadapt_device.core.effects import Predicted
from edgeadapt_device.core.events import Image
from edgeadapt_device.flags.journal import FlagJournal
from edgeadapt_device.flags.recorder import Recorder
from edgeadapt_device.io.engines import check_shape, open_engine
from edgeadapt_device.io.leaving import Leaving
from edgeadapt_device.io.link import NoLink
from edgeadapt_device.io.outbox import MemoryOutbox, Outbox
from edgeadapt_device.io.store import GenerationStore
from edgeadapt_device.performer import Performer
from edgeadapt_device.scored import score


class _Drawer(NoLink):
    """A link that keeps what is published until somebody takes it."""

    def __init__(self) -> None:
        self.messages: list[tuple[str, bytes, bool]] = []
        self.topics: set[str] = set()

    def publish(
        self,
        topic: str,
        payload: bytes,
        *,
        qos: int,
        retain: bool,
        properties: MessageProperties = NO_PROPERTIES,
    ) -> None:
        self.messages.append((topic, payload, retain))

    def subscribe(self, topic: str) -> None:
        self.topics.add(topic)

    def unsubscribe(self, topic: str) -> None:
        self.topics.discard(topic)


class LocalDevice:
    """One device, stepped frame by frame."""

    def __init__(
        self,
        bundle: Bundle,
        config: DeviceConfig,
        *,
        rng: np.random.Generator,
        now: Instant,
        outbox: Outbox | None = None,
        store: GenerationStore | None = None,
        speaks: Versions = SPEAKS,
        journal: FlagJournal | None = None,
    ) -> None:
        """Build the first generation; raises BundleError when the model cannot be run.

        With a `journal`, what is flagged is written there; whoever opened it closes it.
        """
        check(config)
        self._engine = open_engine(bundle, config.engine)
        self._bundle = bundle
        self._drawer = _Drawer()
        self._answer: Predicted | None = None
        self._index = 0
        self.log: list[str] = []
        outbox = outbox if outbox is not None else MemoryOutbox(max_bytes=config.delivery.outbox_bytes)
        state, envelopes = store.load() if store is not None else (None, {})
        self.core = DeviceCore(
            bundle,
            config,
            TrustedKeys(trusted_key_bytes(config.trust)),
            rng=rng,
            outbox=outbox.outbox_id,
            state=state,
            envelopes=envelopes,
            pending=outbox.pending(),
            failed_starts=store.failed_starts() if store is not None else 0,
            speaks=speaks,
        )
        self._builds: list[tuple[int, SlotValues]] = []
        self._performer = Performer(
            self.core,
            outbox,
            store,
            self._drawer,
            lambda token, values: self._builds.append((token, values)),
            leaving=Leaving(config.privacy, bundle.manifest.classes),
            fleet=config.device.fleet,
            device=config.device.name,
            on_predicted=self._take_answer,
            on_log=self.log.append,
            recorder=Recorder(journal, self.core, bundle, config, outbox) if journal is not None else None,
        )
        self._performer.perform(self.core.start(now))
        self._performer.drain(now)
        self._finish_builds(now)

    def _take_answer(self, answer: Predicted) -> None:
        self._answer = answer

    def _finish_builds(self, now: Instant) -> None:
        while self._builds:
            token, values = self._builds.pop(0)
            try:
                self._performer.put_session(token, self._engine.build(values))
            except EdgeAdaptError as error:
                self._performer.handle(ev.GenerationFailed(token, str(error)), now)
            else:
                self._performer.handle(ev.GenerationReady(token), now)

    def step(self, image: Image, now: Instant) -> Predicted:
        """Score one [H, W, C] uint8 frame and learn from it; raises ConfigError on another shape."""
        check_shape(self._bundle, image.shape)
        route = self.core.route if self.core.routes_frames else None
        (event,) = score(self._performer.sessions, self.core.plan(), self._index, image[None], route).events
        self._index += 1
        self._handle(event, now)
        deadline = self.core.next_deadline()
        if deadline is not None and deadline <= now.mono_s:
            self._handle(ev.Tick(), now)
        if self._answer is None:
            raise RuntimeError("the core gave no answer for a frame")
        answer, self._answer = self._answer, None
        return answer

    def _handle(self, event: ev.Event, now: Instant) -> None:
        self._performer.handle(event, now)
        self._finish_builds(now)

    def connected(self, now: Instant, *, max_packet_bytes: int = 0) -> None:
        """The broker is there."""
        self._handle(ev.Connected(max_packet_bytes), now)

    def disconnected(self, now: Instant) -> None:
        """The broker is gone."""
        self._handle(ev.Disconnected(), now)

    def deliver(
        self, topic: str, payload: bytes, now: Instant, *, response_topic: str = "", correlation: bytes = b""
    ) -> None:
        """A message arrived from the broker."""
        self._handle(ev.Received(topic, payload, response_topic, correlation), now)

    def tick(self, now: Instant) -> None:
        """Let deadlines fire."""
        self._handle(ev.Tick(), now)

    def stop(self) -> None:
        """End on purpose, as a daemon does when it is told to; the object is of no more use."""
        self._performer.perform(self.core.stop())

    def outgoing(self) -> list[tuple[str, bytes, bool]]:
        """Take the (topic, payload, retain) published since the last call."""
        messages, self._drawer.messages = self._drawer.messages, []
        return messages

    @property
    def subscriptions(self) -> frozenset[str]:
        """Topics the device listens to."""
        return frozenset(self._drawer.topics)

    def view(self, now: Instant) -> CoreView:
        """What can be seen of the device now."""
        return self.core.view(now)
