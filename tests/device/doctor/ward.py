"""A device to examine: changed, running, or before a server that answers what it is told."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from edgeadapt_device.config import (
    DeviceConfig,
    MqttSection,
)
from edgeadapt_device.daemon import Daemon
from edgeadapt_device.doctor import Finding, Level, examine
from edgeadapt_device.status import DeviceStatus, read_status

OK, WARNING, FAILED = Level.OK, Level.WARNING, Level.FAILED


def changed(config: DeviceConfig, section: str, **values: Any) -> DeviceConfig:
    part = msgspec.structs.replace(getattr(config, section), **values)
    return msgspec.structs.replace(config, **{section: part})


def found(config: DeviceConfig, check: str) -> list[Finding]:
    """The findings of one check."""
    findings = [finding for finding in examine(config) if finding.check == check]
    assert findings, check
    for finding in findings:
        assert "\n" not in finding.text + finding.fix
        assert bool(finding.fix) == (finding.level is not OK)
    return findings


def one(config: DeviceConfig, check: str) -> Finding:
    (finding,) = found(config, check)
    return finding


@contextmanager
def running(config: DeviceConfig) -> Iterator[DeviceStatus]:
    stop = threading.Event()
    thread = threading.Thread(target=Daemon(config, stop).run)
    thread.start()
    try:
        state, deadline_s = Path(config.device.state_dir), time.monotonic() + 30
        while not ((state / "status.json").is_file() and read_status(state).frames > 5):
            assert time.monotonic() < deadline_s
            time.sleep(0.02)
        while config.mqtt.enabled and not read_status(state).connected:
            assert time.monotonic() < deadline_s
            time.sleep(0.02)
        yield read_status(state)
    finally:
        stop.set()
        thread.join(30)


def plain(config: DeviceConfig, port: int, **values: Any) -> DeviceConfig:
    return msgspec.structs.replace(config, mqtt=MqttSection(port=port, **values))


@contextmanager
def answering(*packets: bytes, context: ssl.SSLContext | None = None) -> Iterator[int]:
    """A server that answers each connection's first bytes with the next of `packets`."""
    server = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        for packet in packets:
            try:
                link, _ = server.accept()
            except OSError:
                return
            try:
                if context is not None:
                    link = context.wrap_socket(link, server_side=True)
                link.settimeout(5)
                link.recv(1024)
                link.sendall(packet)
                link.recv(16)
            except OSError:
                pass
            finally:
                link.close()

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield server.getsockname()[1]
    finally:
        server.close()
        thread.join(10)
