"""A device without its source: core, engine, outbox, store, builder, link and status, put together.

The daemon feeds it frames from a source, the `Agent` from a caller's own loop. One thread at a time uses
it; the builder's and the client's threads only `post`. What runs between two frames is `work`; a frame,
or a batch of them, is `score`. After `kill -9` the next one goes on with the same generation and outbox.
Not here: where frames come from, their pace, and what becomes of the answers.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edgeadapt.bundle import Bundle
from edgeadapt.clock import Instant
from edgeadapt.errors import BundleError, TransportError
from edgeadapt.patch import TrustedKeys
from edgeadapt.wire import Status, encode, topics
from edgeadapt_device.config import DeviceConfig, MqttSection, trusted_key_bytes
from edgeadapt_device.config.limits import burst_warning
from edgeadapt_device.core import CoreView, DeviceCore
from edgeadapt_device.core import events as ev
from edgeadapt_device.core.effects import Predicted
from edgeadapt_device.core.events import Image
from edgeadapt_device.core.state import DeviceState
from edgeadapt_device.flags.journal import FlagJournal
from edgeadapt_device.flags.recorder import Recorder
from edgeadapt_device.io.builder import Builder
from edgeadapt_device.io.engines import Session, open_engine
from edgeadapt_device.io.engines.prepare import keep_heap_small
from edgeadapt_device.io.installed import keep_copy
from edgeadapt_device.io.leaving import Leaving
from edgeadapt_device.io.link import Link, NoLink
from edgeadapt_device.io.outbox.sqlite import SqliteOutbox
from edgeadapt_device.io.outbox.standby import StandbyOutbox
from edgeadapt_device.io.store import GenerationStore
from edgeadapt_device.look import Watched
from edgeadapt_device.performer import Performer
from edgeadapt_device.reporter import Reporter
from edgeadapt_device.scored import Scored, score
from edgeadapt_device.service.orders import Desk
from edgeadapt_device.service.purge import Purge, purge

if TYPE_CHECKING:
    # Loading them would load a client, or every source, and the libraries that they need.
    from edgeadapt_device.io.link.found import FoundLink
    from edgeadapt_device.io.link.mqtt import MqttLink
    from edgeadapt_device.io.sources.base import SourceReport

# TensorRT takes minutes for a large model on a small board; the systemd unit waits a little longer.
START_TIMEOUT_S = 600.0
_BUILDER_STOP_S = 5.0
_IDLE_S = 0.05
# Small models score thousands of frames a second; what is due can wait for some of them.
_TICK_S = 0.01
_GOODBYE_S = 5.0
_EXPIRE_S = 60.0


def now() -> Instant:
    """The moment, on both clocks."""
    return Instant(time.monotonic(), time.time())


class Machine:
    """One device's parts.

    Attributes:
        bundle: what it runs.
        config: what it was told.
        core: every decision; there once `open` was called.
    """

    core: DeviceCore

    def __init__(
        self,
        bundle: Bundle,
        config: DeviceConfig,
        reporter: Reporter,
        *,
        on_predicted: Callable[[Predicted], None],
        posted: Callable[[], None] = lambda: None,
        source: Callable[[], SourceReport] | None = None,
        installed: Path | None = None,
        bundle_trouble: str = "",
    ) -> None:
        """Make the engine; nothing is opened yet.

        Args:
            bundle: what to run.
            config: checked.
            reporter: writes the status, and is told what is worth telling.
            on_predicted: called in the using thread for every frame, in order.
            posted: called in any thread when there is `work`; must not block.
            source: how the source is, for the status.
            installed: the folder that the bundle was read from, to keep a copy of it.
            bundle_trouble: why `bundle` is that copy.

        Raises:
            BundleError: the bundle has no artifact for the engine.
            ConfigError: the model's frames can never be uploaded, and that was asked for.
        """
        self.bundle, self.config = bundle, config
        self._state_dir = Path(config.device.state_dir)
        self._reporter, self._on_predicted, self._posted = reporter, on_predicted, posted
        self._source = source
        self._installed, self._bundle_trouble = installed, bundle_trouble
        self._keeper: threading.Thread | None = None
        keep_heap_small()
        self._engine = open_engine(bundle, config.engine)
        warning = burst_warning(config.budget.burst_bytes, bundle.manifest.input.frame_shape)
        if warning and config.mqtt.enabled and config.flagging.enabled:
            reporter.tell(warning)
        self._leaving = Leaving(config.privacy, bundle.manifest.classes)
        self._tick_due_s = self._expire_due_s = 0.0
        self._desk = Desk(self._state_dir, reporter.tell, self._purge)
        # A text is something another thread wants told; None only wakes whoever waits.
        self._inbox: queue.SimpleQueue[tuple[ev.Event | str | None, Session | None]] = queue.SimpleQueue()

    def open(self, stack: ExitStack) -> DeviceState | None:
        """Open all files and start connecting; whatever must be closed again is put on `stack`.

        Returns:
            What an earlier process committed, or None.

        Raises:
            ConfigError: a file in the state folder is another's, or the broker's settings cannot be used.
            TransportError: the state folder cannot be used, and not because the disk is full or read-only.
        """
        outbox = self._outbox = StandbyOutbox(
            self._state_dir / "outbox.sqlite",
            self._open_outbox,
            max_bytes=self.config.delivery.outbox_bytes,
            retention_s=3600.0 * self.config.delivery.retention_hours,
        )
        stack.callback(self.close_quietly, outbox.close)
        if outbox.trouble:
            self._reporter.tell(outbox.trouble)
        store = GenerationStore(self._state_dir / "generation")
        state, envelopes = store.load()
        for note in store.notes:
            self._reporter.tell(f"{self._state_dir / 'generation'}: {note}")
        self.core = DeviceCore(
            self.bundle,
            self.config,
            TrustedKeys(trusted_key_bytes(self.config.trust)),
            rng=np.random.default_rng(),
            outbox=outbox.outbox_id,
            state=state,
            envelopes=envelopes,
            pending=outbox.pending(),
            failed_starts=store.failed_starts(),
        )
        self._builder = Builder(self._engine, self.post, self.post)
        stack.callback(self._builder.stop, _BUILDER_STOP_S)
        link = self._open_link(stack)
        self._performer = Performer(
            self.core,
            outbox,
            store,
            link,
            self._builder.request,
            leaving=self._leaving,
            fleet=self.config.device.fleet,
            device=self.config.device.name,
            on_predicted=self._on_predicted,
            on_log=self._reporter.tell,
            retire=self._builder.retire,
            recorder=self._open_recorder(stack),
        )
        self.watched = Watched(
            self.config,
            self.bundle.digest,
            self.core,
            self._performer,
            self._builder,
            link,
            self._source,
            lambda: outbox.trouble,
            self._bundle_trouble,
        )
        return state

    def _open_recorder(self, stack: ExitStack) -> Recorder:
        journal = FlagJournal(self._state_dir)
        self._recorder = Recorder(journal, self.core, self.bundle, self.config, self._outbox)
        stack.callback(self._recorder.close)
        return self._recorder

    def _open_outbox(self) -> SqliteOutbox:
        outbox = SqliteOutbox(
            self._state_dir / "outbox.sqlite",
            max_bytes=self.config.delivery.outbox_bytes,
            durability=self.config.delivery.durability,
            retention_s=3600.0 * self.config.delivery.retention_hours,
            report=self._reporter.tell,
        )
        try:
            old = outbox.redact(self._leaving.encoder.stamp)
        except TransportError:
            outbox.close()
            raise
        if old:
            self._reporter.tell(
                f"privacy: {len(old)} samples from before blurred, max_side or redactor changed are deleted"
            )
        return outbox

    def _open_link(self, stack: ExitStack) -> Link:
        if not self.config.mqtt.enabled:
            return NoLink()
        fleet, device = self.config.device.fleet, self.config.device.name
        death = Status(
            epoch=self.core.epoch, online=False, bundle=self.bundle.digest, speaks=self.core.speaks
        )
        topic, payload = topics.up(fleet, device, "status"), encode(death)
        link = _link_class(self.config.mqtt)(
            self.config.mqtt,
            fleet=fleet,
            device=device,
            will_topic=topic,
            will_payload=payload,
            inbox=self.post,
            report=self.post,
        )
        stack.callback(link.close, (topic, payload))
        return link

    def close_quietly(self, close: Callable[[], None]) -> None:
        """A disk that refuses at the end is said, and ends nothing else."""
        try:
            close()
        except TransportError as error:
            self._reporter.storage_failed(error)

    # The inbox

    def post(self, event: ev.Event | str | None = None, session: Session | None = None) -> None:
        """Something has happened, or is worth telling (a text); from any thread. None only wakes."""
        self._inbox.put((event, session))
        self._posted()

    def work(self, wait_s: float = 0.0) -> bool:
        """Handle one thing that has arrived, or wait for it up to `wait_s`; False when nothing came."""
        if wait_s <= 0 and self._inbox.empty():
            return False
        try:
            event, session = self._inbox.get(timeout=wait_s) if wait_s > 0 else self._inbox.get_nowait()
        except queue.Empty:
            return False
        self._take(event, session)
        return True

    def _take(self, event: ev.Event | str | None, session: Session | None) -> None:
        if event is None:
            return
        if isinstance(event, str):
            self._reporter.tell(event)
            return
        if isinstance(event, ev.GenerationReady) and session is not None:
            self._performer.put_session(event.token, session)
        self._performer.handle(event, now())
        # The core answers the failure of a patch with the base; without that there is nothing to run.
        starting = not self.core.ready and not self.core.adaptation.switching.generations.busy
        if isinstance(event, ev.GenerationFailed) and starting:
            raise BundleError(f"the model cannot be run: {event.reason}")

    def tick(self) -> None:
        """Let deadlines fire, and write the status when it is due; asked too often it does nothing."""
        moment = now()
        if moment.mono_s < self._tick_due_s:
            return
        self._tick_due_s = moment.mono_s + _TICK_S
        deadline = self.core.next_deadline()
        if deadline is not None and deadline <= moment.mono_s:
            self._performer.handle(ev.Tick(), moment)
        if self._outbox.recover(moment.mono_s):
            self._reporter.tell("the outbox is on the disk again")
            changed = ev.OutboxChanged(self._outbox.outbox_id, self._outbox.pending())
            self._performer.handle(changed, moment)
        if moment.mono_s >= self._expire_due_s:
            self._expire(moment)
        self._recorder.tick(moment)
        self._desk.tend(self.core, self._performer.handle, moment)
        self._reporter.write_if_due(self.watched, moment)

    def _expire(self, moment: Instant) -> None:
        """Let go of what the outbox may not keep any longer."""
        self._expire_due_s = moment.mono_s + _EXPIRE_S
        try:
            old = self._outbox.expire()
        except TransportError as error:
            self._reporter.storage_failed(error)
            return
        if old:
            hours = self.config.delivery.retention_hours
            self._performer.handle(ev.Dropped(old, f"older than {hours:g} h, undelivered"), moment)

    def _purge(self, order: Purge, moment: Instant) -> int:
        gone = purge(self._outbox, order)
        if gone:
            self._performer.handle(ev.Dropped(gone, "deleted at the device"), moment)
        return len(gone)

    # From start to stop

    def start(self, goes_on: Callable[[], bool]) -> bool:
        """Build the first generation; False when `goes_on` said no before there was one.

        Raises:
            BundleError: not even the base model can be run.
            TransportError: the first session takes too long to build.
        """
        self._builder.start()
        self._performer.perform(self.core.start(now()))
        # From here on the status is this process's, however long its first session takes.
        self._reporter.write_if_due(self.watched, now())
        self._performer.drain(now())
        deadline_s = time.monotonic() + START_TIMEOUT_S
        while not self.core.ready:
            if not goes_on():
                return False
            if time.monotonic() >= deadline_s:
                raise TransportError("the first session took too long to build")
            self._reporter.write_if_due(self.watched, now())
            self.work(_IDLE_S)
        if self._installed is not None and self.config.device.keep_bundle and not self._bundle_trouble:
            # On an old card this takes seconds, for which no frame is to wait.
            self._keeper = threading.Thread(
                target=self._keep, args=(self._installed,), name="keeper", daemon=True
            )
            self._keeper.start()
        return True

    def _keep(self, installed: Path) -> None:
        if trouble := keep_copy(self.bundle, installed, self._state_dir):
            self.post(trouble)

    def score(self, first_index: int, images: Image) -> Scored:
        """Score [N, H, W, C] uint8 frames in one run of the session, and learn from each.

        Raises:
            TransportError: the runtime refuses; the core has seen none of the frames.
        """
        scored = score(
            self._performer.sessions,
            self.core.plan(),
            first_index,
            images,
            self.core.route if self.core.routes_frames else None,
        )
        if scored.note:
            self._reporter.tell(scored.note)
        for event in scored.events:
            self._performer.handle(event, now())
        return scored

    def stop(self, goes_on: Callable[[], bool]) -> None:
        """Wait a little for acknowledgements of what is still out, then commit what an exit leaves."""
        self._performer.flush(now())
        deadline_s = time.monotonic() + (_GOODBYE_S if self.view.connected else 0.0)
        while time.monotonic() < deadline_s and self.view.outbox_rows and goes_on():
            if not self.work(_IDLE_S):
                self.tick()
        self._performer.perform(self.core.stop())
        if self._keeper is not None:
            # Nothing writes to the folder once it is another process's; what is cut short begins again.
            self._keeper.join(_GOODBYE_S)

    @property
    def view(self) -> CoreView:
        """What can be seen of the device now."""
        return self.core.view(now())


def _link_class(mqtt: MqttSection) -> type[MqttLink] | type[FoundLink]:
    """To the broker that is configured, or to one that is found; only what is used is loaded."""
    if mqtt.host:
        from edgeadapt_device.io.link.mqtt import MqttLink

        return MqttLink
    from edgeadapt_device.io.link.found import FoundLink

    return FoundLink
