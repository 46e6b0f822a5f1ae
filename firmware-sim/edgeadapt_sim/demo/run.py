"""The demo from start to end: set-up, broker, cloud, devices, evaluator, report.

The processes are the real commands (`edgeadapt cloud serve`, `edgeadapt device run`) with the TOML files
of the set-up, one thread each. However it ends, Ctrl-C included, every child is stopped first.
"""

from __future__ import annotations

import sys
import time
from contextlib import ExitStack
from datetime import datetime, timezone
from pathlib import Path

import numpy as np
from rich.console import Console

from edgeadapt.errors import ConfigError, TransportError
from edgeadapt_cloud.io.report import read_report
from edgeadapt_models.data.streams.files import FRAMES_FILE
from edgeadapt_sim.broker import Broker
from edgeadapt_sim.demo.finish import last_words, write_files
from edgeadapt_sim.demo.folder import held
from edgeadapt_sim.demo.plan import DemoPlan
from edgeadapt_sim.demo.screen import LiveScreen, PlainScreen, Screen
from edgeadapt_sim.demo.session import Session
from edgeadapt_sim.demo.setup import FLEET, DevicePaths, Prepared, configure, prepare
from edgeadapt_sim.demo.watch import gather
from edgeadapt_sim.demo.watch.observer import Observer
from edgeadapt_sim.processes import Child, Children, terminate_as_interrupt
from edgeadapt_sim.records import RunRecord

_COMMAND = (sys.executable, "-c", "from edgeadapt.cli import main; main()")
_ONE_THREAD = {"OMP_NUM_THREADS": "1"}
_CLOUD_READY_S = 90.0
_SLACK_S = 90.0  # beyond the length of the streams, for a machine that is too slow for their pace
_TURN_S = 0.05


def run_demo(plan: DemoPlan, out: Path, console: Console, *, plain: bool) -> bool:
    """Play `plan` in the folder `out`; returns whether the loop helped.

    Raises:
        ConfigError, CompileError: weights, data set or folder are not as needed.
        TransportError: a process did not start, or ended early; its log is quoted.
        KeyboardInterrupt: Ctrl-C or SIGTERM; every child is gone by then.
    """
    with terminate_as_interrupt(), held(out):
        prepared = prepare(plan, out, lambda text: console.print(text, highlight=False, soft_wrap=True))
        run = _play(plan, prepared, console, plain=plain)
        summary = write_files(run, prepared.out)
        last_words(summary, prepared.out, console)
        return summary.helped


def _play(plan: DemoPlan, prepared: Prepared, console: Console, *, plain: bool) -> RunRecord:
    with ExitStack() as stack:
        broker = stack.enter_context(Broker.start(plan.broker, log_dir=prepared.logs))
        configure(plan, prepared, broker.port)
        observer = stack.enter_context(Observer(broker.host, broker.port, FLEET))
        children = stack.enter_context(Children())
        console.print(f"{broker.kind} on port {broker.port}; starting the cloud", highlight=False)
        _start_cloud(prepared, children)
        screen: Screen
        if plain:
            screen = stack.enter_context(PlainScreen(console))
        else:
            screen = stack.enter_context(LiveScreen(console))
        session = Session(plan, prepared, broker.kind, observer, screen)
        started_at = datetime.now(timezone.utc).isoformat(timespec="seconds")
        session.begin()
        devices = [_start_device(paths, prepared, children) for paths in prepared.devices]
        _follow(session, children, devices, plan.seconds + _SLACK_S)
        duration_s = session.elapsed_s
        children.stop_all()
        records = session.records()
        jobs = gather.job_records(session.report) if session.report else ()
    streams = [np.load(paths.stream / FRAMES_FILE, mmap_mode="r") for paths in prepared.devices]
    facts = gather.facts(plan, broker.kind)
    return RunRecord(records, jobs, facts, started_at, duration_s, gather.mean_png_bytes(streams))


def _start_cloud(prepared: Prepared, children: Children) -> None:
    command = [*_COMMAND, "cloud", "serve", "--config", str(prepared.cloud_config)]
    child = children.start("cloud", command, log=prepared.logs / "cloud.log", env=_ONE_THREAD)
    deadline = time.monotonic() + _CLOUD_READY_S
    while not _serves(prepared.cloud_state):
        if not child.alive or time.monotonic() > deadline:
            raise TransportError(f"the cloud service did not start; its log ends:\n{child.tail()}")
        time.sleep(_TURN_S)


def _serves(state_dir: Path) -> bool:
    try:
        return read_report(state_dir).running
    except ConfigError:
        return False  # no database yet


def _start_device(paths: DevicePaths, prepared: Prepared, children: Children) -> Child:
    command = [*_COMMAND, "device", "run", "--config", str(paths.config)]
    return children.start(paths.name, command, log=prepared.logs / f"{paths.name}.log", env=_ONE_THREAD)


def _follow(session: Session, children: Children, devices: list[Child], limit_s: float) -> None:
    """Take turns until every device has ended and the baselines have caught up."""
    while True:
        running = any(child.alive for child in devices)
        session.turn()
        failed = children.failed()
        if failed is not None:
            raise TransportError(
                f"{failed.name} ended with code {failed.returncode}; its log ends:\n{failed.tail()}"
            )
        if not running and session.complete:
            return
        if session.elapsed_s > limit_s:
            raise TransportError(f"the devices did not reach the end of their streams in {limit_s:.0f} s")
        time.sleep(_TURN_S)
