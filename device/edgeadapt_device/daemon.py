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

from edgeadapt.errors import TransportError
from edgeadapt_device.config import DeviceConfig, check
from edgeadapt_device.core.effects import Predicted
from edgeadapt_device.core.state import DeviceState
from edgeadapt_device.io.installed import open_installed
from edgeadapt_device.io.lock import StateLock
from edgeadapt_device.io.predictions import KEPT_ROWS, PredictionLog
from edgeadapt_device.io.sources import Frame, OpenCapture, open_feed
from edgeadapt_device.machine import Machine
from edgeadapt_device.reporter import Reporter
from edgeadapt_device.service.notify import Notifier

log = logging.getLogger("edgeadapt.device")
_IDLE_S = 0.05
# Frames in a row that the runtime cannot score before the process gives up and is started anew.
_MAX_FAILURES = 100


class Daemon:
    """One device process. `run` returns when the source ends or `stop` is set."""

    def __init__(
        self,
        config: DeviceConfig,
        stop: threading.Event,
        notifier: Notifier | None = None,
        *,
        opening: OpenCapture | None = None,
    ) -> None:
        """Open everything that can be wrong before the first frame.

        Args:
            config: what to do.
            stop: set to end it.
            notifier: the line to a service manager.
            opening: opens the camera or the video in place of OpenCV.

        Raises:
            ConfigError, BundleError: it cannot be done.
        """
        self._config, self._stop = check(config), stop
        self._notifier = notifier if notifier is not None else Notifier()
        self._state_dir, installed = Path(config.device.state_dir), Path(config.device.bundle)
        self._bundle, bundle_trouble = open_installed(
            installed, self._state_dir, keeps=config.device.keep_bundle
        )
        self._reporter = Reporter(
            self._state_dir, every_s=config.output.status_every_s, notifier=self._notifier
        )
        self._machine = Machine(
            self._bundle,
            config,
            self._reporter,
            on_predicted=self._write_prediction,
            source=lambda: self._feed.seen,
            installed=installed,
            bundle_trouble=bundle_trouble,
        )
        self._feed = open_feed(
            config.source,
            self._bundle.manifest.input,
            state_dir=self._state_dir,
            report=self._machine.post,
            wake=self._machine.post,
            opening=opening,
        )
        self._predictions: PredictionLog | None = None
        self._name = ""
        # Files that were scored, and whose predictions may not have reached the disk.
        self._unsettled: list[str] = []
        self._failures = 0

    def run(self) -> None:
        """Score frames until the end; leaves an offline status, a committed state and closed files.

        Raises:
            ConfigError: another process uses the state folder, or a file there is another's.
            BundleError: not even the base model can be run.
            TransportError: a folder cannot be used, or the runtime refuses frame after frame.
        """
        with StateLock(self._state_dir) as lock:
            if lock.trouble:
                self._reporter.tell(lock.trouble)
            with ExitStack() as stack:
                self._reporter.serve(self._config.http, stack)
                stack.callback(self._close_feed)
                self._predictions = self._open_predictions(stack)
                start = self._first_frame(self._machine.open(stack))
                if self._machine.start(self._goes_on):
                    self._notifier.ready()
                    try:
                        self._score_all(start)
                    finally:
                        self._machine.stop(self._goes_on)
                self._notifier.stopping()
            self._reporter.write_last(self._machine.watched)
        log.info("finished after %d frames", self._machine.view.frames)

    def _goes_on(self) -> bool:
        return not self._stop.is_set()

    def _open_predictions(self, stack: ExitStack) -> PredictionLog | None:
        if not self._config.output.predictions:
            return None
        named = self._config.source.kind in ("folder", "watch")
        predictions = PredictionLog(Path(self._config.output.predictions), named=named)
        stack.callback(self._machine.close_quietly, predictions.close)
        if predictions.trouble:
            self._reporter.tell(predictions.trouble)
        return predictions

    def _first_frame(self, state: DeviceState | None) -> int:
        last = self._predictions.last_frame() if self._predictions is not None else None
        committed = state.frames if state is not None else 0
        start = last + 1 if last is not None else committed
        if self._over(start):
            self._reporter.keep_last()
        return start

    def _over(self, start: int) -> bool:
        """True when it is known that nothing is left to score from this frame on."""
        count = self._feed.count
        return count is not None and start >= count and not self._config.source.loop

    def _tell_over(self, frames: int) -> None:
        predictions = f" and {self._config.output.predictions}" if self._predictions is not None else ""
        self._reporter.tell(
            f"{self._config.source.path} is at its end, all {self._feed.count or frames} frames are scored: "
            f"move {self._state_dir}{predictions} away to start over, or set source.loop = true"
        )

    # The loop

    def _score_all(self, start: int) -> None:
        pace_s = 1.0 / self._config.source.frames_per_second if self._config.source.frames_per_second else 0.0
        # A device that was held up skips no frame of a file, but does not rush to catch up for more than a
        # second; a camera's frames are not waiting.
        rush_s = 0.0 if self._config.source.kind == "camera" else 1.0
        due_s = time.monotonic()
        if not self._over(start):
            log.info("scoring from frame %d with generation %s", start, self._machine.view.generation)
        self._feed.start(start)
        while not self._stop.is_set():
            self._work_until(due_s)
            # Only now: of a camera's frames the newest is wanted.
            frame = self._feed.poll() if not self._stop.is_set() else None
            if frame is not None:
                self._score(frame)
                due_s = max(due_s + pace_s, time.monotonic() - rush_s) if pace_s else 0.0
            elif self._feed.ended:
                break
            else:
                self._machine.work(_IDLE_S)
        if self._feed.ended and start and not self._machine.view.frames:
            self._tell_over(start)

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
        self._settle()

    def _settle(self) -> None:
        """Let go of the files whose predictions are written; a disk that refuses for too long loses them."""
        waiting = self._predictions.waiting_rows if self._predictions is not None else 0
        if self._unsettled and (not waiting or len(self._unsettled) > KEPT_ROWS):
            self._feed.done(self._unsettled)
            self._unsettled = []

    def _close_feed(self) -> None:
        self._settle()
        self._feed.close()

    def _score(self, frame: Frame) -> None:
        """Score one frame; one that the runtime refuses has no prediction.

        Raises:
            TransportError: it has refused too many frames in a row.
        """
        try:
            self._name = frame.name
            self._machine.score(frame.index, frame.image[None])
        except TransportError as error:
            self._failures += 1
            if self._failures >= _MAX_FAILURES:
                raise
            self._reporter.tell(f"a frame was not scored: {error}")
        else:
            self._failures = 0
            if frame.name:
                self._unsettled.append(frame.name)

    def _write_prediction(self, predicted: Predicted) -> None:
        if self._predictions is not None:
            self._predictions.write(predicted, time.monotonic(), name=self._name)
