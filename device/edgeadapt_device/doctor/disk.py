"""May the device write its state, does the disk keep what it is told to keep, and is there room?"""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from edgeadapt_device.config import DeviceConfig
from edgeadapt_device.doctor.finding import Finding, Level, failed, ok, warning

_PROBE_NAME = ".doctor"
# What patches and generations may take beside the outbox.
_BESIDE_BYTES = 64 << 20
_SLOW_SYNC_S = 1.0
_FIXES = {
    errno.ENOSPC: "free some space",
    errno.EDQUOT: "free some space",
    errno.EROFS: "mount its disk for writing (after an error of the disk: dmesg, and perhaps a new card)",
}
_IN_MEMORY = ("tmpfs", "ramfs")


def look(config: DeviceConfig) -> Iterator[Finding]:
    """The state folder, and the folder of the predictions."""
    folder = Path(config.device.state_dir)
    writable = _writable("disk", folder, "device.state_dir")
    yield writable
    if writable.level is not Level.FAILED:
        yield from _files_of_others([*folder.rglob("*"), Path(config.output.predictions)])
    if config.output.predictions:
        yield _writable(
            "predictions", Path(config.output.predictions).absolute().parent, "output.predictions"
        )
    place = _existing(folder)
    yield _room(place, config.delivery.outbox_bytes, _used(folder))
    kind = _kind(place)
    if kind in _IN_MEMORY:
        yield warning(
            "disk",
            f"{folder} is in memory ({kind}): outbox, patches and statistics are gone after a reboot",
            "set device.state_dir to a folder on a disk",
        )


def _writable(check: str, folder: Path, key: str) -> Finding:
    """Write, sync and rename, as the device does; nothing is left."""
    place = _existing(folder)
    probe = place / f"{_PROBE_NAME}-{os.getpid()}"
    try:
        started_s = time.perf_counter()
        with probe.open("wb") as file:
            file.write(b"probe")
            file.flush()
            os.fsync(file.fileno())
        os.replace(probe, probe.with_suffix(".renamed"))
        synced_s = time.perf_counter() - started_s
    except OSError as error:
        fix = _FIXES.get(error.errno or 0, f"make {place} writable for user {os.geteuid()}")
        text = f"{place} cannot be written: {error.strerror or error}"
        return failed(check, text, f"{fix}, or set {key} to another folder")
    finally:
        for path in (probe, probe.with_suffix(".renamed")):
            with suppress(OSError):  # a read-only disk refuses also where there is nothing
                path.unlink()
    made = "" if folder.exists() else f" ({folder} will be made)"
    text = f"{place} takes files{made}; a write is on the disk in {1000 * synced_s:.0f} ms"
    if synced_s > _SLOW_SYNC_S:
        return warning(check, text, 'set delivery.durability = "normal" and output.commit_every_s higher')
    return ok(check, text)


def _files_of_others(paths: list[Path]) -> Iterator[Finding]:
    """Files that another user has left, as after a run with sudo."""
    closed = [path for path in paths if path.is_file() and not os.access(path, os.R_OK | os.W_OK)]
    if closed:
        first = closed[0]
        text = f"{len(closed)} files cannot be written by user {os.geteuid()}, such as {first}"
        fix = f"give them to the device's user: chown -R USER {first.parent}"
        yield failed("rights", f"{text}, which is of user {first.stat().st_uid}", fix)


def _existing(folder: Path) -> Path:
    """The folder, or the nearest one above it that is there."""
    folder = folder.absolute()
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return folder


def _used(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.glob("outbox.sqlite*"))


def _room(place: Path, outbox_bytes: int, used_bytes: int) -> Finding:
    found = os.statvfs(place)
    free = found.f_bavail * found.f_frsize
    needed = max(outbox_bytes - used_bytes, 0) + _BESIDE_BYTES
    text = f"{_mib(free)} free; the outbox may grow to {_mib(outbox_bytes)} (delivery.outbox_bytes)"
    if free < _BESIDE_BYTES:
        return failed("room", text, "free some space: state and patches need it")
    if free < needed:
        return warning("room", text, f"free some space, or set delivery.outbox_bytes to {max(free // 2, 1)}")
    return ok("room", text)


def _mib(size_bytes: int) -> str:
    return f"{size_bytes / (1 << 20):.0f} MiB"


def _kind(place: Path) -> str:
    """Type of the file system, "" when it cannot be told."""
    best, kind = "", ""
    try:
        mounts = Path("/proc/self/mounts").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    for line in mounts.splitlines():
        _, point, found, *_ = line.split(" ")
        if place.is_relative_to(point) and len(point) >= len(best):
            best, kind = point, found
    return kind
