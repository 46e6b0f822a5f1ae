"""Is a device running here already, is it well, and is its place at the monitor's port free?"""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from pathlib import Path

from edgeadapt.errors import ConfigError
from edgeadapt_device.config import DeviceConfig
from edgeadapt_device.doctor.finding import Finding, failed, ok, warning
from edgeadapt_device.io.lock import holder
from edgeadapt_device.service.health import seen_from_outside
from edgeadapt_device.status import read_status


def look(config: DeviceConfig, *, runs: bool) -> Iterator[Finding]:
    """The device that runs, or the port that the next one wants."""
    if runs:
        yield _running(Path(config.device.state_dir))
    else:
        yield ok("process", f"no device runs on {config.device.state_dir}")
        yield from _port(config)


def _running(state_dir: Path) -> Finding:
    try:
        status = read_status(state_dir)
    except ConfigError as error:
        return warning("process", f"a device runs, but {error}", "wait until it has started")
    silent_s = max(time.monotonic() - status.mono_s - status.every_s, 0.0)
    pid = holder(state_dir) or status.pid
    health = seen_from_outside(status, runs=True, silent_s=silent_s, holder=pid)
    text = f"process {pid} runs here and is {health.state}"
    if not health.reasons:
        return ok("process", text)
    text += f": {'; '.join(health.reasons)}"
    judge = failed if health.state == "failed" else warning
    return judge("process", text, "see the checks below, and the log: journalctl -u edgeadapt-device")


def _port(config: DeviceConfig) -> Iterator[Finding]:
    http = config.http
    if not http.enabled or not http.port:
        return
    family = socket.AF_INET6 if ":" in http.host else socket.AF_INET
    try:
        with socket.socket(family) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((http.host, http.port))
    except OSError as error:
        yield warning(
            "monitor",
            f"{http.host}:{http.port} cannot be listened on: {error.strerror}",
            "set http.port to a free one, or http.enabled = false",
        )
    else:
        yield ok("monitor", f"{http.host}:{http.port} is free for /healthz and /metrics")
