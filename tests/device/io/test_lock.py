"""One process per state folder, and a way to tell whether there is one."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from edgeadapt.errors import ConfigError, TransportError
from edgeadapt_device.io.lock import StateLock, is_locked
from tests.device import disk

_HOLD = """
import sys, time
from pathlib import Path
from edgeadapt_device.io.lock import StateLock
with StateLock(Path(sys.argv[1])):
    sys.stdout.write("held\\n")
    sys.stdout.flush()
    time.sleep(60)
"""


def test_a_second_holder_is_refused_with_the_pid_of_the_first(tmp_path: Path) -> None:
    folder = tmp_path / "state"
    assert not is_locked(folder)
    with StateLock(folder):
        assert is_locked(folder)
        with pytest.raises(ConfigError, match=f"process {os.getpid()}:"), StateLock(folder):
            pass
        assert is_locked(folder)
    assert not is_locked(folder)
    with StateLock(folder):
        assert is_locked(folder)


def test_a_killed_holder_leaves_nothing_behind(tmp_path: Path) -> None:
    command = [sys.executable, "-c", _HOLD, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        assert is_locked(tmp_path)
        process.kill()
    assert not is_locked(tmp_path)
    with StateLock(tmp_path):
        assert (tmp_path / "lock").read_text() == f"{os.getpid()}\n"


def test_a_place_that_cannot_hold_a_file_is_a_transport_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(TransportError, match="lock"), StateLock(tmp_path / "file"):
        pass


def test_a_full_disk_takes_no_pid_but_the_lock_holds(tmp_path: Path) -> None:
    with disk.full(0), StateLock(tmp_path):
        assert is_locked(tmp_path)
        with pytest.raises(ConfigError, match="process unknown:"), StateLock(tmp_path):
            pass
    assert not is_locked(tmp_path)
