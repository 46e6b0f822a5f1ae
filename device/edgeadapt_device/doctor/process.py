"""Is a device running here already, is it well, and is its place at the monitor's port free?"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

from edgeadapt.errors import ConfigError
from edgeadapt_device.config import DeviceConfig
from edgeadapt_device.doctor.finding import Finding, failed, ok, warning
from edgeadapt_device.service.seen import see


def look(config: DeviceConfig, *, runs: bool) -> Iterator[Finding]:
    """The device that runs, or the port that the next one wants."""
    if runs:
        yield _running(config)
    else:
        yield ok("process", f"no device runs on {config.device.state_dir}")
        yield from _port(config)


def _running(config: DeviceConfig) -> Finding:
    try:
        seen = see(Path(config.device.state_dir), config.http)
    except ConfigError as error:
        return warning("process", f"a device runs, but {error}", "wait until it has started")
    health = seen.health
    text = f"process {seen.pid} runs here and is {health.state}"
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
