"""Performs a core's effects through ports: engine, outbox, store and link.

`Performer` is the one place where decisions meet the world. The daemon gives it a worker that builds
sessions in a thread and a link to a broker; `local` builds inline and keeps messages in a list. It runs
in the thread that owns the core. A full disk does not stop the model: it is counted and said.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import Protocol

from edgeadapt.bundle.materialise import SlotValues
from edgeadapt.clock import Instant
from edgeadapt.errors import TransportError, WireError
from edgeadapt.wire import (
    MAX_MESSAGE_BYTES,
    NO_PROPERTIES,
    PROTOCOL_VERSION,
    DescriptorItem,
    Descriptors,
    MessageProperties,
    Outcome,
    Sample,
    decode,
    encode,
    restamp,
    topics,
)
from edgeadapt_device.core import DeviceCore
from edgeadapt_device.core import effects as fx
from edgeadapt_device.core import events as ev
from edgeadapt_device.core.events import Image
from edgeadapt_device.core.state import DeviceState
from edgeadapt_device.core.uplink.rows import Waiting
from edgeadapt_device.flags.recorder import Recorder
from edgeadapt_device.io.engines import Session
from edgeadapt_device.io.leaving import ROW_BYTES, Leaving, TooDear, Withheld
from edgeadapt_device.io.link import Link
from edgeadapt_device.io.outbox import Outbox, Storable, kind_of
from edgeadapt_device.swaps import Swaps


class StatePort(Protocol):
    """Where the state is made durable."""

    def commit(self, state: DeviceState, envelopes: Mapping[str, bytes]) -> None:
        """Replace what is stored, atomically; raises TransportError when it cannot."""

    def count_starts(self, failed: int) -> None:
        """Make durable how many starts in a row have failed; raises TransportError when it cannot."""


class Performer:
    """Holds the sessions and performs effects.

    Attributes:
        sessions: token to session, as the core asked for them.
        storage_errors: writes that failed (full or read-only disk); the device goes on.
        too_large: messages that no server would take, and that were therefore not stored.
        withheld: messages that the privacy switches kept here.
        swaps: how sessions took over from one another.
        reverts: patches that the core reported as taken back.
    """

    def __init__(
        self,
        core: DeviceCore,
        outbox: Outbox,
        store: StatePort | None,
        link: Link,
        build: Callable[[int, SlotValues], None],
        *,
        leaving: Leaving,
        fleet: str,
        device: str,
        on_predicted: Callable[[fx.Predicted], None],
        on_log: Callable[[str], None],
        retire: Callable[[Session], None] = lambda session: None,
        recorder: Recorder | None = None,
    ) -> None:
        """Join the core to its ports.

        `retire` is given the sessions that nobody uses any more; `recorder` watches events and effects.
        """
        self._recorder = recorder
        self._core, self._outbox, self._store, self._link = core, outbox, store, link
        self._build, self._on_predicted, self._on_log = build, on_predicted, on_log
        self._fleet, self._device, self._retire = fleet, device, retire
        self._leaving = leaving
        self.sessions: dict[int, Session] = {}
        self._events: deque[ev.Event] = deque()
        self.storage_errors = 0
        self.too_large = self.withheld = 0
        self.swaps = Swaps()
        self.reverts = 0
        self._mono_s = 0.0

    def handle(self, event: ev.Event, now: Instant) -> None:
        """Give the core an event, and perform what follows until nothing is left to do."""
        self._events.append(event)
        self.drain(now)
        if isinstance(event, ev.FrameScored):
            self.swaps.frame(now.mono_s)

    def drain(self, now: Instant) -> None:
        """Handle the events that effects performed outside `handle` have caused."""
        self._mono_s = now.mono_s
        while self._events:
            event = self._events.popleft()
            effects = self._core.handle(event, now)
            if self._recorder is not None:
                self._recorder.saw(event, effects, now)
            self.perform(effects)

    def flush(self, now: Instant) -> None:
        """No frame will follow: keep what the core still chooses of those that it holds."""
        effects = self._core.flush()
        if self._recorder is not None:
            self._recorder.saw(ev.Tick(), effects, now)
        self.perform(effects)
        self.drain(now)

    def put_session(self, token: int, session: Session) -> None:
        """A build ended; the caller tells the core with GenerationReady."""
        self.sessions[token] = session

    def perform(self, effects: Iterable[fx.Effect]) -> None:
        """Perform effects in order; events they cause wait for `handle` or `drain`."""
        for effect in effects:
            try:
                self._perform(effect)
            except TransportError as error:
                self.storage_errors += 1
                self._on_log(f"storage: {error}")

    def _perform(self, effect: fx.Effect) -> None:
        match effect:
            case fx.Predicted():
                self._on_predicted(effect)
            case fx.Flagged() | fx.LeftOut():
                # For the recorder alone.
                pass
            case fx.ScoreAgain(token, image):
                self._events.append(self._score_again(token, image))
            case fx.BuildGeneration(token, values):
                self.swaps.build()
                self._build(token, values)
            case fx.Activate():
                # The core's next plan names the generation; its sessions are here already.
                self.swaps.take_over(self._mono_s)
            case fx.Release(token):
                if (session := self.sessions.pop(token, None)) is not None:
                    self._retire(session)
            case fx.StoreSample():
                self._keep_sample(effect)
            case fx.StoreMessage(message):
                self.reverts += isinstance(message, Outcome) and message.state == "reverted"
                self._keep(message, 0)
            case fx.Publish():
                self._publish(effect)
            case fx.Forget(sequences):
                self._outbox.forget(sequences)
            case fx.FreeHeld(sequences):
                self._outbox.free(sequences)
            case fx.PublishNow(topic, payload, retain, qos, properties):
                self._link.publish(topic, payload, qos=qos, retain=retain, properties=properties)
            case fx.Subscribe(topic):
                self._link.subscribe(topic)
            case fx.Unsubscribe(topic):
                self._link.unsubscribe(topic)
            case fx.CommitState(state, envelopes):
                if self._store is not None:
                    self._store.commit(state, envelopes)
            case fx.CountStarts(failed):
                if self._store is not None:
                    self._store.count_starts(failed)
            case fx.Log(text):
                self._on_log(text)

    def _score_again(self, token: int, image: Image) -> ev.Rescored:
        session = self.sessions.get(token)
        if session is None:
            return ev.Rescored(token)
        try:
            scores = session.run(image[None], probe=False)
        except TransportError:
            # Nothing hangs on it; a runtime that refuses is told of when it refuses a frame.
            return ev.Rescored(token)
        return ev.Rescored(token, scores.logits[0], scores.embedding[0])

    def _keep_sample(self, effect: fx.StoreSample) -> None:
        """Encode a frame for no more than was paid for it, and keep it; what must not leave is counted."""
        price = effect.price_bytes
        try:
            sample, picture_bytes = self._leaving.encoder.encode(effect)
        except TooDear as error:
            self._events.append(ev.NotStored("sample", error.size_bytes, price, False, effect.lane))
        except Withheld as error:
            self._withhold("sample", price, effect.lane, error)
        else:
            self._keep(sample, price, self._waiting(effect, sample), picture_bytes)

    def _withhold(self, kind: str, price_bytes: int, lane: str, error: Withheld) -> None:
        self.withheld += 1
        self._events.append(ev.NotStored(kind, 0, price_bytes, False, lane))
        self._on_log(f"a {kind} was withheld: {error}")

    def _waiting(self, effect: fx.StoreSample, sample: Sample) -> Waiting | None:
        """What a sample that is to be held waits with; None for one that is sent at once."""
        vector = self._core.asking.vector(sample.lane, effect.descriptor, len(sample.data))
        if vector is None:
            return None
        item = DescriptorItem(
            sample=0,
            lane=sample.lane,
            verdict=sample.verdict,
            predicted=sample.predicted,
            entropy=sample.entropy,
            p_value=sample.p_value,
            size_bytes=0,
            members=effect.members,
            vector=vector,
        )
        return Waiting(item, sample.segment, sample.generation)

    def _keep(
        self, message: Storable, price_bytes: int, waiting: Waiting | None = None, picture_bytes: int = 0
    ) -> None:
        kind, size_bytes = kind_of(message), len(encode(message)) + ROW_BYTES
        lane = message.lane if isinstance(message, Sample) else ""
        try:
            self._leaving.door.check(message)
        except Withheld as error:
            self._withhold(kind, price_bytes, lane, error)
            return
        if size_bytes > MAX_MESSAGE_BYTES:
            self.too_large += 1
            self._events.append(ev.NotStored(kind, size_bytes, price_bytes, True, lane))
            return
        before = self._outbox.outbox_id
        try:
            stored = self._outbox.store(message, waiting=waiting)
        except TransportError:
            self._events.append(ev.NotStored(kind, size_bytes, price_bytes, False, lane))
            raise
        if self._outbox.outbox_id != before:
            # The disk has refused, and what it holds waits there until it can be written again.
            self.storage_errors += 1
            self._events.append(ev.OutboxChanged(self._outbox.outbox_id, ()))
        about = tuple(item.sample for item in message.items) if isinstance(message, Descriptors) else ()
        self._events.append(
            ev.Stored(
                stored.sequence,
                kind,
                stored.size_bytes,
                price_bytes,
                lane,
                stored.waiting,
                about,
                picture_bytes,
            )
        )
        if stored.dropped:
            self._events.append(ev.Dropped(stored.dropped))

    def _publish(self, effect: fx.Publish) -> None:
        row = self._outbox.payload(effect.sequence)
        if row is None:
            return
        kind, payload = row
        if not self._leaving.door.open and not self._may_leave(effect.sequence, kind, payload):
            return
        if self._core.protocol != PROTOCOL_VERSION:
            try:
                payload = restamp(payload, self._core.protocol)
            except WireError:
                self._outbox.forget((effect.sequence,))
                self._events.append(ev.Dropped((effect.sequence,), "the disk has damaged it"))
                return
        properties = MessageProperties(expiry_s=effect.expiry_s) if effect.expiry_s else NO_PROPERTIES
        topic = topics.up(self._fleet, self._device, kind)
        self._link.publish(topic, payload, qos=1, retain=False, properties=properties)

    def _may_leave(self, sequence: int, kind: str, payload: bytes) -> bool:
        """Rows of an earlier process may be older than what the privacy switches say now."""
        if kind not in ("sample", "descriptor"):
            return True
        try:
            message = decode(payload, Sample if kind == "sample" else Descriptors)
            assert isinstance(message, (Sample, Descriptors))
            self._leaving.door.check(message)
        except Withheld as error:
            self.withheld += 1
            self._outbox.forget((sequence,))
            self._events.append(ev.Dropped((sequence,), f"withheld: {error}"))
            return False
        return True
