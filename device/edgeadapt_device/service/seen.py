"""How a device is, as another process may know it: by its `status.json`, or from the device itself.

A disk that is full or read-only keeps an old status, or none; then the device is asked at its monitor. What
answers there is believed when it says that it has the same state folder.
"""

from __future__ import annotations

import http.client
import time
from dataclasses import dataclass
from pathlib import Path

import msgspec

from edgeadapt.errors import ConfigError
from edgeadapt_device.config import HttpSection
from edgeadapt_device.io.lock import holder, is_locked
from edgeadapt_device.service.health import Health, seen_from_outside
from edgeadapt_device.service.http import STATUS_PAGE
from edgeadapt_device.status import DeviceStatus, read_status

_PATIENCE_S = 2.0
# A file that is later than this by more than its pace may be one that the disk holds on to.
_NEW_S = 2.0


@dataclass(frozen=True, slots=True)
class Seen:
    """A device, seen from outside.

    Attributes:
        status: the last that is known.
        health: what may be believed of it now.
        runs: its process is there.
        age_s: of the status.
        pid: of the process.
    """

    status: DeviceStatus
    health: Health
    runs: bool
    age_s: float
    pid: int


def see(state_dir: Path, monitor: HttpSection | None) -> Seen:
    """Look at the device of a state folder.

    Args:
        state_dir: its state folder.
        monitor: where it may be asked; None when that is not known.

    Raises:
        ConfigError: no device has run with this folder, or its status is something else.
    """
    runs, pid = is_locked(state_dir), holder(state_dir)
    found: DeviceStatus | None = None
    trouble: ConfigError | None = None
    try:
        found = read_status(state_dir)
    except ConfigError as error:
        trouble = error
    if not (runs and found is not None and _is_new(found, pid)):
        told = _ask(state_dir, found, monitor)
        if told is not None:
            found, runs, pid = told, True, told.pid
    if found is None:
        raise trouble or ConfigError(f"{state_dir} holds no status")
    age_s = _age_s(found, runs=runs)
    health = seen_from_outside(found, runs=runs, silent_s=max(age_s - found.every_s, 0.0), holder=pid)
    return Seen(found, health, runs, age_s, pid or found.pid)


def _is_new(status: DeviceStatus, pid: int) -> bool:
    """True for what the process that runs has shown a moment ago."""
    is_its = status.running and pid in (0, status.pid)
    return is_its and _age_s(status, runs=True) - status.every_s <= _NEW_S


def _age_s(status: DeviceStatus, *, runs: bool) -> float:
    # The wall clock may have jumped since; while the process runs, the other one has counted on.
    return max(time.monotonic() - status.mono_s if runs else time.time() - status.time_s, 0.0)


def _ask(state_dir: Path, last: DeviceStatus | None, monitor: HttpSection | None) -> DeviceStatus | None:
    """What the device says of itself, None when it says nothing."""
    addresses = [last.http] if last is not None and last.http else []
    if monitor is not None and monitor.enabled and monitor.port:
        host = f"[{monitor.host}]" if ":" in monitor.host else monitor.host
        addresses.append(f"{host}:{monitor.port}")
    for address in dict.fromkeys(addresses):
        told = _get(address)
        if told is not None and told.state_dir == str(state_dir.absolute()):
            return told
    return None


def _get(address: str) -> DeviceStatus | None:
    connection = http.client.HTTPConnection(address, timeout=_PATIENCE_S)
    try:
        connection.request("GET", STATUS_PAGE)
        return msgspec.json.decode(connection.getresponse().read(), type=DeviceStatus)
    except (OSError, http.client.HTTPException, msgspec.DecodeError, UnicodeDecodeError):
        return None
    finally:
        connection.close()
