"""The device as a process: one thread owns the core; everyone else only puts events in its inbox.

The owning thread takes frames from the source at their pace, scores them, and performs what the core
decides. A worker thread builds sessions, so that the model never waits for one; paho's thread brings
messages. Broker, cloud or disk may go away and come back. After `kill -9` the next process goes on with
the same generation, the same outbox, and the frame after the last one whose prediction was written.
Not here: the parts and how they work together (`machine`), and what is shown of them (`reporter`).
"""

from __future__ import annotations

import logging
import threading
import time
from contextlib import ExitStack
from pathlib import Path

from edgeadapt.bundle import read_folder
from edgeadapt.errors import TransportError
from edgeadapt_device.config import DeviceConfig, check
from edgeadapt_device.core.effects import Predicted
from edgeadapt_device.core.events import Image
from edgeadapt_device.core.state import DeviceState
from edgeadapt_device.io.engine import check_shape
from edgeadapt_device.io.lock import StateLock
from edgeadapt_device.io.predictions import PredictionLog
from edgeadapt_device.io.samples import check_encodable
from edgeadapt_device.io.source import open_source
from edgeadapt_device.limits import burst_warning
from edgeadapt_device.machine import Machine
from edgeadapt_device.reporter import Reporter
from edgeadapt_device.service.notify import Notifier

log = logging.getLogger("edgeadapt.device")
_IDLE_S = 0.05
# Frames in a row that the runtime cannot score before the process gives up and is started anew.
_MAX_FAILURES = 100


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
        self._reporter = Reporter(
            self._state_dir, every_s=config.output.status_every_s, notifier=self._notifier
        )
        self._machine = Machine(self._bundle, config, self._reporter, on_predicted=self._write_prediction)
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
                self._reporter.serve(self._config.http, stack)
                self._predictions = self._open_predictions(stack)
                start = self._first_frame(self._machine.open(stack))
                if self._machine.start(self._goes_on):
                    self._notifier.ready()
                    self._score_all(start)
                    self._machine.stop(self._goes_on)
                self._notifier.stopping()
            self._reporter.write_last(self._machine.watched)
        log.info("finished after %d frames", self._machine.view.frames)

    def _goes_on(self) -> bool:
        return not self._stop.is_set()

    def _open_predictions(self, stack: ExitStack) -> PredictionLog | None:
        if not self._config.output.predictions:
            return None
        predictions = PredictionLog(Path(self._config.output.predictions))
        stack.callback(self._machine.close_quietly, predictions.close)
        return predictions

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

    # The loop

    def _score_all(self, start: int) -> None:
        pace_s = 1.0 / self._config.source.frames_per_second if self._config.source.frames_per_second else 0.0
        due_s = time.monotonic()
        if not self._over(start):
            log.info("scoring from frame %d with generation %s", start, self._machine.view.generation)
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
            if self._machine.work(min(due_s - time.monotonic(), _IDLE_S)):
                continue
            self._tick()
            if due_s <= time.monotonic():
                return

    def _tick(self) -> None:
        self._machine.tick()
        if self._predictions is not None:
            try:
                self._predictions.flush_if_due(time.monotonic())
            except TransportError as error:
                self._reporter.storage_failed(error)

    def _score(self, index: int, image: Image) -> None:
        """Score one frame; one that the runtime refuses has no prediction.

        Raises:
            TransportError: it has refused too many frames in a row.
        """
        try:
            self._machine.score(index, image[None])
        except TransportError as error:
            self._failures += 1
            if self._failures >= _MAX_FAILURES:
                raise
            self._reporter.tell(f"a frame was not scored: {error}")
        else:
            self._failures = 0

    def _write_prediction(self, predicted: Predicted) -> None:
        if self._predictions is not None:
            self._predictions.write(predicted, time.monotonic())
