"""The device as a process: one thread owns the core; everyone else only puts events in its inbox.

The owning thread takes frames from the source at their pace, scores them, and performs what the core
decides. A worker thread builds sessions, so that the model never waits for one; paho's thread brings
messages. Broker, cloud or disk may go away and come back. After `kill -9` the next process goes on with
the same generation, the same outbox, and the frame after the last one whose prediction was written.
Not here: what is shown of all that (`reporter`).
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from edgeadapt.bundle import read_folder
from edgeadapt.clock import Instant
from edgeadapt.errors import BundleError, TransportError
from edgeadapt.patch import TrustedKeys
from edgeadapt.wire import Status, encode, topics
from edgeadapt_device.config import DeviceConfig, check, trusted_key_bytes
from edgeadapt_device.core import DeviceCore
from edgeadapt_device.core import events as ev
from edgeadapt_device.core.effects import Predicted
from edgeadapt_device.core.events import Image
from edgeadapt_device.core.state import DeviceState
from edgeadapt_device.io.builder import Builder
from edgeadapt_device.io.engine import OnnxEngine, Scores, Session, check_shape
from edgeadapt_device.io.lock import StateLock
from edgeadapt_device.io.mqtt import MqttLink, NoLink
from edgeadapt_device.io.predictions import PredictionLog
from edgeadapt_device.io.samples import check_encodable
from edgeadapt_device.io.source import open_source
from edgeadapt_device.io.sqlite_outbox import SqliteOutbox
from edgeadapt_device.io.store import GenerationStore
from edgeadapt_device.limits import burst_warning
from edgeadapt_device.performer import Performer
from edgeadapt_device.reporter import Reporter, Watched
from edgeadapt_device.service.notify import Notifier

log = logging.getLogger("edgeadapt.device")
_START_TIMEOUT_S = 60.0
_BUILDER_STOP_S = 5.0
_IDLE_S = 0.05
# Frames in a row that the runtime cannot score before the process gives up and is started anew.
_MAX_FAILURES = 100


def _now() -> Instant:
    return Instant(time.monotonic(), time.time())


class Daemon:
    """One device process. `run` returns when the source ends or `stop` is set."""

    def __init__(self, config: DeviceConfig, stop: threading.Event, notifier: Notifier | None = None) -> None:
        """Open everything that can be wrong before the first frame; raises ConfigError or BundleError."""
        self._config, self._stop = check(config), stop
        self._notifier = notifier if notifier is not None else Notifier()
        self._bundle = read_folder(Path(config.device.bundle))
        self._state_dir = Path(config.device.state_dir)
        self._source = open_source(config.source, self._bundle, report=log.warning)
        check_shape(self._bundle, self._source.shape)
        self._engine = OnnxEngine(
            self._bundle, threads=config.engine.threads, single_session=config.engine.single_session
        )
        # A text is something another thread wants told.
        self._inbox: queue.SimpleQueue[tuple[ev.Event | str, Session | None]] = queue.SimpleQueue()
        self._reporter = Reporter(
            self._state_dir, every_s=config.output.status_every_s, notifier=self._notifier
        )
        self._failures = 0
        if config.mqtt.enabled and config.flagging.enabled:
            check_encodable(self._source.shape)
            if warning := burst_warning(config.budget.burst_bytes, self._source.shape):
                self._reporter.tell(warning)

    def run(self) -> None:
        """Score frames until the end; leaves an offline status, a committed state and closed files.

        Raises:
            ConfigError: another process uses the state folder, or a file there is another's.
            BundleError: not even the base model can be run.
            TransportError: the disk refuses at the start, or the runtime refuses frame after frame.
        """
        with StateLock(self._state_dir):
            with ExitStack() as stack:
                start = self._open(stack)
                self._builder.start()
                self._performer.perform(self._core.start(_now()))
                # From here on the status is this process's, however long its first session takes.
                self._reporter.write_if_due(self._watched, _now())
                self._performer.drain(_now())
                if self._await_first_generation():
                    self._notifier.ready()
                    self._score_all(start)
                    self._finish()
                self._notifier.stopping()
            self._reporter.write(self._watched, _now(), running=False)
        log.info("finished after %d frames", self._core.view(_now()).frames)

    def _open(self, stack: ExitStack) -> int:
        """Make all parts; returns the frame to begin with."""
        outbox = SqliteOutbox(
            self._state_dir / "outbox.sqlite",
            max_bytes=self._config.delivery.outbox_bytes,
            durability=self._config.delivery.durability,
            report=self._reporter.tell,
        )
        stack.callback(self._close, outbox.close)
        store = GenerationStore(self._state_dir / "generation")
        state, envelopes = store.load()
        for note in store.notes:
            self._reporter.tell(f"{self._state_dir / 'generation'}: {note}")
        self._predictions = self._open_predictions(stack)
        self._core = DeviceCore(
            self._bundle,
            self._config,
            TrustedKeys(trusted_key_bytes(self._config.trust)),
            rng=np.random.default_rng(),
            outbox=outbox.outbox_id,
            state=state,
            envelopes=envelopes,
            pending=outbox.pending(),
        )
        self._builder = Builder(self._engine, lambda event, session: self._inbox.put((event, session)))
        stack.callback(self._builder.stop, _BUILDER_STOP_S)
        link = self._open_link(stack)
        self._performer = Performer(
            self._core,
            outbox,
            store,
            link,
            self._builder.request,
            fleet=self._config.device.fleet,
            device=self._config.device.name,
            on_predicted=self._write_prediction,
            on_log=self._reporter.tell,
        )
        self._watched = Watched(self._core, self._performer, self._builder, link)
        return self._first_frame(state)

    def _close(self, close: Callable[[], None]) -> None:
        """A disk that refuses at the end is said, and ends nothing else."""
        try:
            close()
        except TransportError as error:
            self._reporter.storage_failed(error)

    def _open_predictions(self, stack: ExitStack) -> PredictionLog | None:
        if not self._config.output.predictions:
            return None
        predictions = PredictionLog(Path(self._config.output.predictions))
        stack.callback(self._close, predictions.close)
        return predictions

    def _open_link(self, stack: ExitStack) -> MqttLink | NoLink:
        if not self._config.mqtt.enabled:
            return NoLink()
        fleet, device = self._config.device.fleet, self._config.device.name
        death = Status(epoch=self._core.epoch, online=False, bundle=self._bundle.digest)
        topic, payload = topics.up(fleet, device, "status"), encode(death)
        link = MqttLink(
            self._config.mqtt,
            fleet=fleet,
            device=device,
            will_topic=topic,
            will_payload=payload,
            inbox=lambda event: self._inbox.put((event, None)),
            report=lambda text: self._inbox.put((text, None)),
        )
        stack.callback(link.close, (topic, payload))
        return link

    def _first_frame(self, state: DeviceState | None) -> int:
        last = self._predictions.last_frame() if self._predictions is not None else None
        committed = state.frames if state is not None else 0
        start = last + 1 if last is not None else committed
        if self._over(start):
            self._reporter.keep_last()
            predictions = f" and {self._config.output.predictions}" if self._predictions is not None else ""
            self._reporter.tell(
                f"{self._config.source.path} is at its end, all {len(self._source)} frames are scored: "
                f"move {self._state_dir}{predictions} away to start over, or set source.loop = true"
            )
        return start

    def _over(self, start: int) -> bool:
        """True when nothing is left to score from this frame on."""
        return start >= len(self._source) and not self._config.source.loop

    def _await_first_generation(self) -> bool:
        """False when asked to stop before there is one."""
        deadline_s = time.monotonic() + _START_TIMEOUT_S
        while not self._core.ready:
            if self._stop.is_set():
                return False
            if time.monotonic() >= deadline_s:
                raise TransportError("the first session took too long to build")
            self._reporter.write_if_due(self._watched, _now())
            try:
                event, session = self._inbox.get(timeout=_IDLE_S)
            except queue.Empty:
                continue
            self._take(event, session)
            # The core answers the failure of a patch with the base; without that there is nothing to run.
            if isinstance(event, ev.GenerationFailed) and not self._core.adaptation.generations.busy:
                raise BundleError(f"the model cannot be run: {event.reason}")
        return True

    # The loop

    def _score_all(self, start: int) -> None:
        pace_s = 1.0 / self._config.source.frames_per_second if self._config.source.frames_per_second else 0.0
        due_s = time.monotonic()
        if not self._over(start):
            log.info("scoring from frame %d with generation %s", start, self._core.view(_now()).generation)
        for index, image in self._source.frames(start):
            self._work_until(due_s)
            if self._stop.is_set():
                return
            self._score(index, image)
            # A device that was held up skips no frame, but does not rush to catch up for more than a second.
            due_s = max(due_s + pace_s, time.monotonic() - 1.0) if pace_s else 0.0

    def _work_until(self, due_s: float) -> None:
        """Handle whatever has arrived, and wait for what is still to come until the frame is due."""
        while not self._stop.is_set():
            wait_s = min(due_s - time.monotonic(), _IDLE_S)
            try:
                event, session = self._inbox.get(timeout=wait_s) if wait_s > 0 else self._inbox.get_nowait()
            except queue.Empty:
                self._tick()
                if due_s <= time.monotonic():
                    return
            else:
                self._take(event, session)

    def _take(self, event: ev.Event | str, session: Session | None) -> None:
        if isinstance(event, str):
            self._reporter.tell(event)
            return
        if isinstance(event, ev.GenerationReady) and session is not None:
            self._performer.put_session(event.token, session)
        self._performer.handle(event, _now())

    def _tick(self) -> None:
        now = _now()
        deadline = self._core.next_deadline()
        if deadline is not None and deadline <= now.mono_s:
            self._performer.handle(ev.Tick(), now)
        if self._predictions is not None:
            try:
                self._predictions.flush_if_due(now.mono_s)
            except TransportError as error:
                self._reporter.storage_failed(error)
        self._reporter.write_if_due(self._watched, now)

    def _score(self, index: int, image: Image) -> None:
        """Score one frame; one that the runtime refuses has no prediction."""
        plan = self._core.plan()
        started_s = time.perf_counter()
        scores = self._infer(plan.token, image, probe=plan.probe)
        latency_ms = 1000.0 * (time.perf_counter() - started_s)
        if scores is None:
            return
        self._failures = 0
        previous = self._infer(plan.previous, image, probe=False) if plan.previous is not None else None
        event = ev.FrameScored(
            index=index,
            image=image,
            logits=scores.logits[0],
            token=plan.token,
            mean=scores.mean[0] if scores.mean is not None else None,
            mean_square=scores.mean_square[0] if scores.mean_square is not None else None,
            previous_logits=previous.logits[0] if previous is not None else None,
            latency_ms=latency_ms,
        )
        self._performer.handle(event, _now())

    def _infer(self, token: int, image: Image, *, probe: bool) -> Scores | None:
        """None when the runtime refuses; raises TransportError when it has for too many frames in a row."""
        try:
            return self._performer.sessions[token].run(image[None], probe=probe)
        except TransportError as error:
            self._failures += 1
            if self._failures >= _MAX_FAILURES:
                raise
            self._reporter.tell(f"a frame was not scored: {error}")
            return None

    def _finish(self) -> None:
        """Wait a little for acknowledgements of what is still out, then say goodbye."""
        deadline_s = time.monotonic() + (5.0 if self._core.view(_now()).connected else 0.0)
        while (
            time.monotonic() < deadline_s and self._core.view(_now()).outbox_rows and not self._stop.is_set()
        ):
            self._work_until(time.monotonic() + _IDLE_S)
        self._performer.perform(self._core.stop())

    def _write_prediction(self, predicted: Predicted) -> None:
        if self._predictions is not None:
            self._predictions.write(predicted, time.monotonic())
