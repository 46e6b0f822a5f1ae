"""The evaluator's desk while a demo runs: takes in messages, predictions and the service's database.

`turn` is called in a loop and does a little of everything; nothing here starts or stops a process.
"""

from __future__ import annotations

import time

from edgeadapt.errors import ConfigError
from edgeadapt_cloud.io.report import Report, read_report
from edgeadapt_sim.demo.plan import DemoPlan
from edgeadapt_sim.demo.screen import Screen
from edgeadapt_sim.demo.setup import Prepared
from edgeadapt_sim.demo.view import Scene
from edgeadapt_sim.demo.watch import gather
from edgeadapt_sim.demo.watch.evaluator import Evaluator
from edgeadapt_sim.demo.watch.ledger import Ledger
from edgeadapt_sim.demo.watch.observer import Observer
from edgeadapt_sim.records import DeviceRecord, Traffic

_CATCH_UP_S = 0.08  # per device and turn: the view stays alive while the baselines follow
_REPORT_EVERY_S = 1.0


class Session:
    """State of one run."""

    def __init__(
        self, plan: DemoPlan, prepared: Prepared, broker: str, observer: Observer, screen: Screen
    ) -> None:
        self.evaluators = {paths.name: Evaluator(prepared.bundle, paths) for paths in prepared.devices}
        self.report: Report | None = None
        self._plan, self._prepared, self._broker = plan, prepared, broker
        self._observer, self._screen = observer, screen
        self._ledger = Ledger()
        self._news: list[str] = []
        self._jobs_told: set[int] = set()
        self._started = time.monotonic()
        self._next_report = 0.0

    @property
    def complete(self) -> bool:
        """True when every method has scored every frame."""
        return all(evaluator.complete for evaluator in self.evaluators.values())

    @property
    def elapsed_s(self) -> float:
        """Seconds since `begin`."""
        return time.monotonic() - self._started

    def begin(self) -> None:
        """The devices start now."""
        self._started = time.monotonic()

    def turn(self) -> None:
        """Take in what is new, and show it."""
        self._listen()
        for evaluator in self.evaluators.values():
            evaluator.catch_up(_CATCH_UP_S)
        self._ask()
        self._screen.show(self._scene())

    def records(self) -> tuple[DeviceRecord, ...]:
        """Every device's run; raises TransportError when one has scored nothing."""
        self._listen()
        self.report = self._read_report()
        return tuple(evaluator.record(self._traffic(evaluator)) for evaluator in self.evaluators.values())

    def _listen(self) -> None:
        for topic, payload in self._observer.drain():
            told = self._ledger.take(topic, payload)
            if told is not None and told.device in self.evaluators:
                event = self.evaluators[told.device].told(told.outcome)
                why = f" ({event.detail})" if event.detail else ""
                self._tell(f"{told.device}: patch {event.patch} {event.kind}{why}")

    def _ask(self) -> None:
        if time.monotonic() < self._next_report:
            return
        self._next_report = time.monotonic() + _REPORT_EVERY_S
        self.report = self._read_report() or self.report
        for job in self.report.jobs if self.report else ():
            if job.job not in self._jobs_told and job.state != "running":
                self._jobs_told.add(job.job)
                self._tell(f"cloud: {job.cohort}, {job.samples} samples: gate {gather.verdict(job)}")

    def _read_report(self) -> Report | None:
        try:
            return read_report(self._prepared.cloud_state)
        except ConfigError:
            return None  # the service is still making its database

    def _tell(self, text: str) -> None:
        line = f"[{self.elapsed_s:4.0f} s] {text}"
        self._news.append(line)
        self._screen.say(line)

    def _traffic(self, evaluator: Evaluator) -> Traffic:
        devices = self.report.devices if self.report else ()
        uploaded = next((device.samples for device in devices if device.device == evaluator.name), 0)
        up, down = self._ledger.bytes_up[evaluator.name], self._ledger.bytes_down[evaluator.name]
        return evaluator.traffic(uploaded, up, down)

    def _scene(self) -> Scene:
        names = gather.patch_names(self.report) if self.report else {}
        return Scene(
            broker=self._broker,
            elapsed_s=self.elapsed_s,
            total_s=self._plan.seconds,
            devices=tuple(
                evaluator.line(self._traffic(evaluator), names) for evaluator in self.evaluators.values()
            ),
            cohorts=gather.cohort_lines(self.report) if self.report else (),
            cloud_state=gather.cloud_state(self.report),
            news=tuple(self._news),
        )
