"""The device as a process: one thread owns the core; everyone else only puts events in its inbox.

The owning thread takes frames from the source at their pace, scores them, and performs what the core
decides. A worker thread builds sessions, so that the model never waits for one; paho's thread brings
messages. Broker, cloud or disk may go away and come back. After `kill -9` the next process goes on with
the same generation, the same outbox, and the frame after the last one whose prediction was written.
"""

from __future__ import annotations

import logging
import os
import queue
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path

import numpy as np

from edgeadapt.bundle import SlotValues, read_folder
from edgeadapt.clock import Instant
from edgeadapt.errors import BundleError, EdgeAdaptError, TransportError
from edgeadapt.patch import TrustedKeys
from edgeadapt.wire import Status, encode, topics
from edgeadapt_device.config import DeviceConfig, check, trusted_key_bytes
from edgeadapt_device.core import DeviceCore
from edgeadapt_device.core import events as ev
from edgeadapt_device.core.effects import Predicted
from edgeadapt_device.core.events import Image
from edgeadapt_device.io.engine import OnnxEngine, Session, check_shape
from edgeadapt_device.io.mqtt import MqttLink
from edgeadapt_device.io.predictions import PredictionLog
from edgeadapt_device.io.source import open_source
from edgeadapt_device.io.sqlite_outbox import SqliteOutbox
from edgeadapt_device.io.store import GenerationStore
from edgeadapt_device.performer import Link, Performer
from edgeadapt_device.status import DeviceStatus, write_status

log = logging.getLogger("edgeadapt.device")
_START_TIMEOUT_S = 60.0
_IDLE_S = 0.05


class _NoLink:
    """A device that is configured to stay offline."""

    def publish(self, topic: str, payload: bytes, *, qos: int, retain: bool) -> None:
        pass

    def subscribe(self, topic: str) -> None:
        pass

    def unsubscribe(self, topic: str) -> None:
        pass


class _Builder(threading.Thread):
    """Builds sessions one after the other, beside the running one."""

    def __init__(self, engine: OnnxEngine, done: Callable[[ev.Event, Session | None], None]) -> None:
        super().__init__(name="builder", daemon=True)
        self._engine, self._done = engine, done
        self._requests: queue.SimpleQueue[tuple[int, SlotValues] | None] = queue.SimpleQueue()

    def request(self, token: int, values: SlotValues) -> None:
        """Ask for a session; the answer comes as an event."""
        self._requests.put((token, values))

    def stop(self) -> None:
        """End after the build in hand."""
        self._requests.put(None)

    def run(self) -> None:
        """Build until told to stop."""
        while (request := self._requests.get()) is not None:
            token, values = request
            try:
                session = self._engine.build(values)
            except EdgeAdaptError as error:
                self._done(ev.GenerationFailed(token, str(error)), None)
            else:
                self._done(ev.GenerationReady(token), session)


def _now() -> Instant:
    return Instant(time.monotonic(), time.time())


class Daemon:
    """One device process. `run` returns when the source ends or `stop` is set."""

    def __init__(self, config: DeviceConfig, stop: threading.Event) -> None:
        """Open everything that can be wrong before the first frame; raises ConfigError or BundleError."""
        self._config, self._stop = check(config), stop
        self._bundle = read_folder(Path(config.device.bundle))
        self._state_dir = Path(config.device.state_dir)
        self._source = open_source(config.source, self._bundle, report=log.warning)
        check_shape(self._bundle, self._source.shape)
        self._engine = OnnxEngine(
            self._bundle, threads=config.engine.threads, single_session=config.engine.single_session
        )
        self._inbox: queue.SimpleQueue[tuple[ev.Event, Session | None]] = queue.SimpleQueue()
        self._note = ""
        self._builds = 0
        self._recent: tuple[float, int] = (time.monotonic(), 0)
        self._fps = 0.0
        self._status_due_s = 0.0

    def run(self) -> None:
        """Score frames until the end; leaves an offline status, a committed state and closed files."""
        with ExitStack() as stack:
            outbox = SqliteOutbox(
                self._state_dir / "outbox.sqlite",
                max_bytes=self._config.delivery.outbox_bytes,
                durability=self._config.delivery.durability,
            )
            stack.callback(outbox.close)
            store = GenerationStore(self._state_dir / "generation")
            state, envelopes = store.load()
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
            builder = _Builder(self._engine, lambda event, session: self._inbox.put((event, session)))
            stack.callback(builder.stop)
            link = self._open_link(stack)
            self._performer = Performer(
                self._core,
                outbox,
                store,
                link,
                self._counting(builder),
                fleet=self._config.device.fleet,
                device=self._config.device.name,
                on_predicted=self._write_prediction,
                on_log=self._tell,
            )
            builder.start()
            self._performer.perform(self._core.start(_now()))
            self._performer.drain(_now())
            self._await_first_generation()
            self._score_all(self._first_frame(state.frames if state is not None else 0))
            self._finish()

    def _open_predictions(self, stack: ExitStack) -> PredictionLog | None:
        if not self._config.output.predictions:
            return None
        predictions = PredictionLog(Path(self._config.output.predictions))
        stack.callback(predictions.close)
        return predictions

    def _open_link(self, stack: ExitStack) -> Link:
        if not self._config.mqtt.enabled:
            return _NoLink()
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
        )
        stack.callback(link.close, (topic, payload))
        return link

    def _counting(self, builder: _Builder) -> Callable[[int, SlotValues], None]:
        def request(token: int, values: SlotValues) -> None:
            self._builds += 1
            builder.request(token, values)

        return request

    def _first_frame(self, committed: int) -> int:
        last = self._predictions.last_frame() if self._predictions is not None else None
        return last + 1 if last is not None else committed

    def _await_first_generation(self) -> None:
        deadline_s = time.monotonic() + _START_TIMEOUT_S
        while not self._core.ready:
            try:
                event, session = self._inbox.get(timeout=max(deadline_s - time.monotonic(), 0.001))
            except queue.Empty as error:
                raise TransportError("the first session took too long to build") from error
            if isinstance(event, ev.GenerationFailed):
                raise BundleError(f"the model cannot be run: {event.reason}")
            self._take(event, session)

    # The loop

    def _score_all(self, start: int) -> None:
        pace_s = 1.0 / self._config.source.frames_per_second if self._config.source.frames_per_second else 0.0
        due_s = time.monotonic()
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

    def _take(self, event: ev.Event, session: Session | None) -> None:
        if isinstance(event, ev.GenerationReady) and session is not None:
            self._performer.put_session(event.token, session)
        self._performer.handle(event, _now())

    def _tick(self) -> None:
        now = _now()
        deadline = self._core.next_deadline()
        if deadline is not None and deadline <= now.mono_s:
            self._performer.handle(ev.Tick(), now)
        if self._predictions is not None:
            self._predictions.flush_if_due(now.mono_s)
        if now.mono_s >= self._status_due_s:
            self._status_due_s = now.mono_s + self._config.output.status_every_s
            self._write_status(now)

    def _score(self, index: int, image: Image) -> None:
        plan, sessions = self._core.plan(), self._performer.sessions
        batch = image[None]
        started_s = time.perf_counter()
        scores = sessions[plan.token].run(batch, probe=plan.probe)
        latency_ms = 1000.0 * (time.perf_counter() - started_s)
        previous = sessions[plan.previous].run(batch, probe=False) if plan.previous is not None else None
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

    def _finish(self) -> None:
        """Wait a little for acknowledgements of what is still out, then say goodbye."""
        deadline_s = time.monotonic() + (5.0 if self._core.view(_now()).connected else 0.0)
        while (
            time.monotonic() < deadline_s and self._core.view(_now()).outbox_rows and not self._stop.is_set()
        ):
            self._work_until(time.monotonic() + _IDLE_S)
        now = _now()
        self._performer.perform([self._core.commit()])
        self._write_status(now)
        log.info("finished after %d frames", self._core.view(now).frames)

    # What others see

    def _write_prediction(self, predicted: Predicted) -> None:
        if self._predictions is not None:
            self._predictions.write(predicted, time.monotonic())

    def _tell(self, text: str) -> None:
        self._note = text
        log.info("%s", text)

    def _write_status(self, now: Instant) -> None:
        view = self._core.view(now)
        since_s, frames = self._recent
        if now.mono_s - since_s >= 1.0:
            self._fps = (view.frames - frames) / (now.mono_s - since_s)
            self._recent = (now.mono_s, view.frames)
        status = DeviceStatus(
            time_s=now.wall_s,
            pid=os.getpid(),
            frames_per_second=self._fps,
            builds=self._builds,
            note=self._note,
            **asdict(view),
        )
        try:
            write_status(self._state_dir, status)
        except TransportError as error:
            log.warning("%s", error)
