"""A small real deployment for fault tests: broker, cloud service and two devices as processes.

Uses the demo's own set-up and configuration files. What happened is read where it was committed: the
service's database, a device's outbox, its status file. Conditions are waited for, never fixed times.
"""

from __future__ import annotations

import sqlite3
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from edgeadapt.errors import ConfigError
from edgeadapt_cloud.io.report import Report, read_report
from edgeadapt_cloud.io.store import DATABASE_NAME
from edgeadapt_device.status import DeviceStatus, read_status
from edgeadapt_models.data import Segment, StreamSpec, load, render
from edgeadapt_models.data.streams.files import write
from edgeadapt_sim.broker import Broker
from edgeadapt_sim.demo.plan import DemoPlan
from edgeadapt_sim.demo.setup import Prepared, configure, prepare
from edgeadapt_sim.processes import Child, Children

PACE = 60.0  # frames per second of every device
PATIENCE_S = 120.0
_COMMAND = (sys.executable, "-c", "from edgeadapt.cli import main; main()")
_ONE_THREAD = {"OMP_NUM_THREADS": "1"}


class Field:
    """One deployment; the caller owns broker and children."""

    def __init__(self, prepared: Prepared, broker: Broker, children: Children) -> None:
        self.prepared, self.broker = prepared, broker
        self.names = tuple(paths.name for paths in prepared.devices)
        self._children = children
        self._started: list[Child] = []

    def start_cloud(self) -> Child:
        """Start the service and wait until it serves."""
        config = str(self.prepared.cloud_config)
        child = self._start("cloud", ["cloud", "serve", "--config", config])
        self.wait("the cloud serves", lambda: (report := self.report()) is not None and report.running)
        return child

    def start_device(self, name: str) -> Child:
        """Start one device; does not wait."""
        paths = next(paths for paths in self.prepared.devices if paths.name == name)
        return self._start(name, ["device", "run", "--config", str(paths.config)])

    def report(self) -> Report | None:
        """What the service has committed, or None while there is no database."""
        try:
            return read_report(self.prepared.cloud_state)
        except ConfigError:
            return None

    def samples(self) -> int:
        """Samples that the service has committed."""
        report = self.report()
        return report.samples if report is not None else 0

    def status(self, name: str) -> DeviceStatus | None:
        """The device's own status file, or None while there is none."""
        try:
            return read_status(self._state(name))
        except ConfigError:
            return None

    def outbox(self, name: str) -> tuple[str, set[int]]:
        """(outbox id, sequences that are committed there and not yet acknowledged)."""
        path = self._state(name) / "outbox.sqlite"
        with sqlite3.connect(path, timeout=10.0) as db:
            (identity,) = db.execute("SELECT value FROM meta WHERE key = 'outbox_id'").fetchone()
            rows = {int(sequence) for (sequence,) in db.execute("SELECT sequence FROM rows")}
        db.close()
        return str(identity), rows

    def arrived(self, name: str) -> list[int]:
        """Sequences of a device's outbox in the service's database, duplicates and all."""
        identity, _ = self.outbox(name)
        with sqlite3.connect(self.prepared.cloud_state / DATABASE_NAME, timeout=10.0) as db:
            query = "SELECT sequence FROM messages WHERE device = ? AND outbox = ? ORDER BY sequence"
            found = [int(sequence) for (sequence,) in db.execute(query, (name, identity))]
        db.close()
        return found

    def wait(self, what: str, holds: Callable[[], bool], timeout_s: float = PATIENCE_S) -> None:
        """Wait until `holds`; fails with `what` and the logs of a child that ended with an error."""
        deadline = time.monotonic() + timeout_s
        while not holds():
            assert time.monotonic() < deadline, f"{what}: not within {timeout_s:g} s\n{self._logs()}"
            assert not any(child.returncode for child in self._started), f"{what}\n{self._logs()}"
            time.sleep(0.1)

    def _start(self, name: str, arguments: list[str]) -> Child:
        log = self.prepared.logs / f"{name}.log"
        child = self._children.start(name, [*_COMMAND, *arguments], log=log, env=_ONE_THREAD)
        self._started.append(child)
        return child

    def kill(self, child: Child) -> None:
        """`kill -9`; from now on its end is no surprise."""
        self._started.remove(child)
        child.kill()

    def _state(self, name: str) -> Path:
        return self.prepared.out / "state" / name

    def _logs(self) -> str:
        texts = [log.read_text(errors="replace")[-1500:] for log in sorted(self.prepared.logs.glob("*.log"))]
        return "\n---\n".join(texts)


def lay_out(folder: Path, segments: tuple[Segment, ...]) -> tuple[DemoPlan, Prepared]:
    """Compile the bundle and render one stream of `segments` per device into `folder`."""
    plan = DemoPlan(devices=2, seconds=12, frames_per_second=1)
    prepared = prepare(plan, folder, lambda text: None)
    dataset = load(plan.dataset)
    for number, paths in enumerate(prepared.devices):
        write(render(StreamSpec(plan.dataset, segments, seed=100 + number), dataset), paths.stream)
    return replace(plan, frames_per_second=PACE), prepared


def connect(plan: DemoPlan, prepared: Prepared, broker: Broker) -> None:
    """Write the configuration files for this broker, and forget what an earlier test left behind."""
    for paths in prepared.devices:
        paths.predictions.unlink(missing_ok=True)
    configure(plan, prepared, broker.port)
    for paths in prepared.devices:
        # What a trial tolerates has its own tests; here the first patch that the gate lets out is kept.
        paths.config.write_text(paths.config.read_text() + "[trial]\nmax_entropy_rise = 0.5\n")
