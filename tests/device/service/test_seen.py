"""A device seen from outside: by its file, or by its own word where no disk takes one."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from edgeadapt.errors import ConfigError
from edgeadapt_device.config import HttpSection
from edgeadapt_device.io.lock import StateLock
from edgeadapt_device.service.http import Monitor
from edgeadapt_device.service.seen import see
from edgeadapt_device.status import DeviceStatus, write_status


@pytest.fixture
def monitor() -> Iterator[Monitor]:
    made = Monitor("127.0.0.1", 0)
    yield made
    made.close()


def now(folder: Path, **changes: object) -> DeviceStatus:
    """What a device that runs and is well shows."""
    moment = DeviceStatus(time_s=time.time(), mono_s=time.monotonic(), pid=os.getpid(), running=True)
    return msgspec.structs.replace(moment, state_dir=str(folder.absolute()), ready=True, **changes)


def at(monitor: Monitor) -> HttpSection:
    return HttpSection(port=int(monitor.address.split(":")[1]))


def test_without_a_file_a_device_is_asked(tmp_path: Path, monitor: Monitor) -> None:
    with pytest.raises(ConfigError, match="no device has run"):
        see(tmp_path, at(monitor))
    monitor.show(now(tmp_path, frames=7, health="degraded", reasons=("the disk is full",)))
    seen = see(tmp_path, at(monitor))
    assert (seen.runs, seen.status.frames, seen.pid) == (True, 7, os.getpid())
    assert seen.health.reasons == ("the disk is full",)


def test_an_old_file_is_not_believed_where_the_device_says_otherwise(
    tmp_path: Path, monitor: Monitor
) -> None:
    old = now(tmp_path, frames=3, http=monitor.address)
    with StateLock(tmp_path):
        write_status(tmp_path, msgspec.structs.replace(old, mono_s=old.mono_s - 1000.0))
        assert "has not come round" in see(tmp_path, None).health.reasons[0]
        monitor.show(now(tmp_path, frames=9))
        assert see(tmp_path, None).status.frames == 9
        write_status(tmp_path, msgspec.structs.replace(old, mono_s=old.mono_s - 5.0))
        assert (see(tmp_path, None).status.frames, see(tmp_path, None).health.state) == (9, "ok")
        write_status(tmp_path, now(tmp_path, frames=8, http=monitor.address))
        assert see(tmp_path, at(monitor)).status.frames == 8, "a new file is enough"
        # What the process before has left a moment ago is no word of this one.
        for last in (now(tmp_path, running=False), now(tmp_path, pid=1)):
            write_status(tmp_path, last)
            assert see(tmp_path, at(monitor)).status.frames == 9
            assert "it is starting" in see(tmp_path, None).health.reasons[0]


def test_another_device_at_the_port_is_not_taken_for_this_one(tmp_path: Path, monitor: Monitor) -> None:
    monitor.show(now(tmp_path / "other", frames=9))
    with pytest.raises(ConfigError, match="no device has run"):
        see(tmp_path, at(monitor))
    write_status(tmp_path, now(tmp_path, frames=3, running=False))
    seen = see(tmp_path, at(monitor))
    assert (seen.runs, seen.status.frames, seen.health.state) == (False, 3, "stopped")
