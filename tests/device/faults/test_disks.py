"""A daemon on a disk that is full or read-only from the start, and on one that recovers while it runs.

The disks are real: small file systems in memory, mounted in a name space of their own.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeadapt_device.io.predictions import HEADER
from edgeadapt_models.compile import tiny_bundle
from tests.device import rig

pytestmark = pytest.mark.integration

_FRAMES = 300
_CONFIG = """\
[device]
name = "camera-1"
bundle = "bundle"
state_dir = "disk/state"
[mqtt]
port = 1
[source]
path = "stream"
frames_per_second = 100.0
[flagging]
audit_chance = 0.9
[http]
enabled = false
[output]
predictions = "disk/predictions.csv"
status_every_s = 0.1
commit_every_s = 0.2
"""
# Runs the daemon on `disk`, and tells at its end what it showed of itself.
_RUN = """
import json, logging, os, subprocess, sys, threading, time
from pathlib import Path
from edgeadapt_device import reporter
from edgeadapt_device.cli.common import read_config
from edgeadapt_device.daemon import Daemon
from edgeadapt_device.io import predictions
from edgeadapt_device.io.outbox import standby

logging.basicConfig(level="INFO", stream=sys.stderr)
standby._RETRY_S = 0.2
standby.StandbyOutbox.__init__.__kwdefaults__["retry_s"] = 0.2
predictions.PredictionLog.__init__.__kwdefaults__["retry_s"] = 0.2
seen = []
write = reporter.write_status
def look(folder, status):
    seen.append({"trouble": status.storage_trouble, "reasons": status.reasons, "health": status.health})
    write(folder, status)
reporter.write_status = look

def recover():
    time.sleep(1.5)
    for command in sys.argv[1:]:
        subprocess.run(command, shell=True, check=True)

threading.Thread(target=recover, daemon=True).start()
daemon = Daemon(read_config(Path("device.toml")), threading.Event())
daemon.run()
json.dump({"frames": daemon._machine.view.frames, "seen": seen}, sys.stdout)
"""


_DOCTOR = (
    f"{sys.executable} -c 'import msgspec; from pathlib import Path; "
    "from edgeadapt_device.cli.common import read_config; from edgeadapt_device.doctor import disk; "
    'found = {each.check: each for each in reversed(list(disk.look(read_config(Path("device.toml")))))}; '
    "print(msgspec.json.encode(list(found.values())).decode())'"
)


def _namespaces() -> bool:
    if shutil.which("unshare") is None:
        return False
    mount = ["unshare", "-Urm", "sh", "-c", "mount -t tmpfs none /tmp"]
    return subprocess.run(mount, check=False, capture_output=True).returncode == 0


needs_mounts = pytest.mark.skipif(not _namespaces(), reason="file systems cannot be mounted here")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("disks") / "bundle"
    tiny_bundle(folder)
    return folder


@pytest.fixture
def place(tmp_path: Path, bundle: Path) -> Path:
    (tmp_path / "stream").mkdir()
    np.save(tmp_path / "stream" / "frames.npy", rig.frames(_FRAMES))
    (tmp_path / "bundle").symlink_to(bundle)
    (tmp_path / "disk").mkdir()
    (tmp_path / "device.toml").write_text(_CONFIG)
    return tmp_path


def run(place: Path, prepare: str, *later: str, size: str = "4m") -> tuple[dict[str, Any], str]:
    """Mount `disk`, prepare it, run the daemon there, and copy what is on it to `left`."""
    script = place / "run.py"
    script.write_text(_RUN)
    words = " ".join(f"'{word}'" for word in later)
    command = (
        f"mount -t tmpfs -o size={size} none disk && {prepare} && "
        f"{sys.executable} run.py {words} && cp -r disk left"
    )
    done = subprocess.run(
        ["unshare", "-Urm", "sh", "-c", command],
        cwd=place,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    assert found["frames"] == _FRAMES
    return found, done.stderr


FILL = "mkdir -p disk/state && (head -c 8M /dev/zero > disk/filler 2>/dev/null; true)"


@needs_mounts
def test_on_a_full_disk_the_status_is_written_where_it_lies(tmp_path: Path) -> None:
    script = """
import os
from pathlib import Path
from edgeadapt_device.status import DeviceStatus, read_status, write_status
folder = Path("disk/state")
write_status(folder, DeviceStatus(time_s=1.0, pid=1, note="x" * 300))
with open("disk/filler", "wb", buffering=0) as file:
    try:
        while True:
            file.write(bytes(4096))
    except OSError:
        pass
for frames in (1, 2):
    write_status(folder, DeviceStatus(time_s=2.0, pid=1, frames=frames))
    assert read_status(folder) == DeviceStatus(time_s=2.0, pid=1, frames=frames)
assert os.listdir(folder) == ["status.json"]
os.unlink("disk/filler")
write_status(folder, DeviceStatus(time_s=3.0, pid=1))
assert not (folder / "status.json").read_bytes().endswith(b" ")
"""
    (tmp_path / "disk").mkdir()
    (tmp_path / "script.py").write_text(script)
    command = f"mount -t tmpfs -o size=256k none disk && {sys.executable} script.py"
    done = subprocess.run(
        ["unshare", "-Urm", "sh", "-c", command], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


@needs_mounts
@pytest.mark.parametrize(
    ("prepare", "fix"),
    [
        (
            f"mkdir disk/state && head -c 400k /dev/zero > disk/filler 2>/dev/null; {_DOCTOR}",
            "free some space",
        ),
        (f"mkdir disk/state && mount -o remount,ro disk; {_DOCTOR}", "mount its disk for writing"),
    ],
    ids=["full", "read-only"],
)
def test_the_doctor_knows_what_such_a_disk_wants(place: Path, prepare: str, fix: str) -> None:
    done = subprocess.run(
        ["unshare", "-Urm", "sh", "-c", f"mount -t tmpfs -o size=256k none disk && {prepare}"],
        cwd=place,
        capture_output=True,
        text=True,
        check=False,
    )
    found = {each["check"]: each for each in json.loads(done.stdout)}
    for check, key in (("disk", "device.state_dir"), ("predictions", "output.predictions")):
        assert found[check]["level"] == "failed"
        assert found[check]["fix"].startswith(fix)
        assert found[check]["fix"].endswith(f"or set {key} to another folder")


@needs_mounts
def test_on_a_full_disk_it_runs_from_memory_and_says_so(place: Path) -> None:
    found, log = run(place, FILL)
    assert "messages are kept in memory" in log
    assert "predictions wait in memory" in log
    assert "storage: " in log
    last = found["seen"][-2]
    assert last["health"] == "degraded"
    assert "messages are kept in memory" in last["trouble"]
    assert any("a write failed" in reason for reason in last["reasons"])


@needs_mounts
def test_when_the_disk_has_room_again_everything_is_there(place: Path) -> None:
    found, log = run(place, FILL, "rm disk/filler")
    assert "the outbox is on the disk again" in log
    assert found["seen"][0]["trouble"] != found["seen"][-1]["trouble"] == ""
    left = place / "left"
    rows = (left / "predictions.csv").read_text().splitlines()
    assert rows[0] == HEADER
    assert [int(row.split(",")[0]) for row in rows[1:]] == list(range(_FRAMES))
    names = {path.name for path in (left / "state").rglob("*")}
    assert {"outbox.sqlite", "state.msgpack", "starts", "status.json"} <= names
    assert (left / "state" / "generation" / "starts").read_text() == "0"


@needs_mounts
@pytest.mark.parametrize("lived", [False, True], ids=["new", "with files"])
def test_on_a_read_only_disk_it_runs_from_memory(place: Path, lived: bool) -> None:
    prepare = "mount -o remount,ro disk"
    if lived:
        # A run before; without what says that the stream is over, or the second would have nothing to do.
        again = "rm disk/predictions.csv disk/state/generation/state.msgpack*"
        prepare = f"{sys.executable} run.py > /dev/null 2>&1 && {again} && {prepare}"
    found, log = run(place, prepare)
    assert "Read-only file system" in log
    assert "messages are kept in memory" in log
    assert ("nothing keeps a second device off" in log) is not lived
    assert found["seen"][-1]["trouble"]
