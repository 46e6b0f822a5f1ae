"""One device's run as the evaluator sees it: predictions, baselines and the truth, frame by frame.

The only part of a demo that opens a truth file. `catch_up` reads what the device has written and lets
the baselines follow; `line` and `record` turn that into what is shown and reported.
"""

from __future__ import annotations

import time
from collections.abc import Mapping

import numpy as np

from edgeadapt.bundle import Bundle
from edgeadapt.config import parse
from edgeadapt.errors import TransportError
from edgeadapt.wire import Outcome
from edgeadapt_device.config import DeviceConfig, check
from edgeadapt_models.data.streams.files import read
from edgeadapt_sim.accuracy import RUNNING_WINDOW, stretches_of
from edgeadapt_sim.demo.setup import DevicePaths
from edgeadapt_sim.demo.view import DeviceLine
from edgeadapt_sim.demo.watch.predictions import PredictionsTail
from edgeadapt_sim.demo.watch.shadows import BASELINES, Shadows
from edgeadapt_sim.records import METHODS, BoolArray, DeviceRecord, Method, PatchEvent, Traffic

_HISTORY = 40  # points of the live history


class Evaluator:
    """Follows one device. Raises ConfigError, on construction, for a damaged stream or configuration."""

    def __init__(self, bundle: Bundle, paths: DevicePaths) -> None:
        config = check(parse(paths.config.read_text(), DeviceConfig, source=str(paths.config)))
        stream = read(paths.stream)
        self.name = paths.name
        self.frames = len(stream.frames)
        self._truth = stream.labels
        self._domains = stream.domains
        self._names = stream.domain_names
        self._pace = config.source.frames_per_second
        self._tail = PredictionsTail(paths.predictions, self.frames)
        self._shadows = Shadows(bundle, config, stream.frames)
        self._events: list[PatchEvent] = []
        self._history: list[float] = []

    @property
    def count(self) -> int:
        """Frames that every method has scored."""
        return min(self._tail.count, self._shadows.count)

    @property
    def complete(self) -> bool:
        """True when every method has scored the whole stream."""
        return self.count == self.frames

    def catch_up(self, seconds: float) -> None:
        """Read what is new; then let the baselines follow for at most `seconds`."""
        self._tail.read()
        deadline = time.monotonic() + seconds
        while self._shadows.count < self._tail.count and time.monotonic() < deadline:
            self._shadows.step()
            if self._shadows.count % max(self.frames // _HISTORY, 1) == 0:
                self._history.append(self._recent()["loop"])

    def told(self, outcome: Outcome) -> PatchEvent:
        """Note what the device said about a patch, at the frame where it is now."""
        patch = f"{outcome.cohort} #{outcome.serial}"
        frame = max(self._tail.read() - 1, 0)
        event = PatchEvent(frame, outcome.state, patch, outcome.reason)
        self._events.append(event)
        return event

    def line(self, traffic: Traffic, patch_names: Mapping[str, str]) -> DeviceLine:
        """The device now; `patch_names` says what to call a generation."""
        count = max(self.count, 1)
        generation = patch_names.get(self._tail.generation, self._tail.generation)
        # What was last said of the patch that runs; words about another one would be misread here.
        said = (event.kind for event in reversed(self._events) if event.patch == generation)
        return DeviceLine(
            name=self.name,
            domain=self._names[int(self._domains[count - 1])],
            frame=self.count,
            frames=self.frames,
            accuracy=self._recent(),
            history=tuple(self._history),
            flagged=traffic.flagged,
            uploaded=traffic.uploaded,
            bytes_up=traffic.bytes_up,
            bytes_down=traffic.bytes_down,
            generation=generation,
            state=next(said, ""),
            strange=self._tail.verdicts["shifted"] + self._tail.verdicts["unknown"],
        )

    def traffic(self, uploaded: int, bytes_up: int, bytes_down: int) -> Traffic:
        """The counters, with the flagged frames that the device reported."""
        return Traffic(self._tail.flagged, uploaded, bytes_up, bytes_down)

    def record(self, traffic: Traffic) -> DeviceRecord:
        """The run up to the last frame that every method has scored.

        Raises:
            TransportError: there is no such frame.
        """
        if not self.count:
            raise TransportError(f"{self.name} has scored no frame")
        return DeviceRecord(
            name=self.name,
            frames_per_second=self._pace,
            stretches=stretches_of(self._names, self._domains),
            correct=self._correct(0, self.count),
            events=tuple(self._events),
            traffic=traffic,
        )

    def _recent(self) -> dict[Method, float]:
        count = self.count
        if not count:
            return dict.fromkeys(METHODS, 0.0)
        return {
            method: float(right.mean())
            for method, right in self._correct(max(count - RUNNING_WINDOW, 0), count).items()
        }

    def _correct(self, start: int, stop: int) -> Mapping[Method, BoolArray]:
        truth = self._truth[start:stop]
        right: dict[Method, BoolArray] = {
            baseline: np.asarray(self._shadows.labels[baseline][start:stop] == truth)
            for baseline in BASELINES
        }
        right["loop"] = np.asarray(self._tail.labels[start:stop] == truth)
        return right
