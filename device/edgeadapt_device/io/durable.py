"""Files that outlive a process or a power cut: the few steps that durable writing is made of.

A file is written under another name, synced, renamed, and its folder synced: whoever reads sees the old
content or the new one, and after `write` returns, the new one. Everything that the generation store does to a
disk goes through `Disk`, one step a method, so that a test can end the process between any two of them.
What the steps mean is decided by their callers; failures are OSErrors.
"""

from __future__ import annotations

import errno
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path

#: What a disk says that takes nothing more, for now: read-only, full, over a quota, broken.
FULL = frozenset({errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO})
_TEMPORARY = ".tmp"


class Disk:
    """The steps, on a real file system."""

    def write(self, path: Path, data: bytes) -> None:
        """Make or empty a file, and write all of it; nothing of that is durable yet."""
        with path.open("wb", buffering=0) as file:
            while data:
                data = data[file.write(data) or 0 :]

    def overwrite(self, path: Path, data: bytes) -> None:
        """Write at the begin of a file, made if missing, and sync it; needs no room where it is as long."""
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            os.pwrite(file, data, 0)
            os.fsync(file)
        finally:
            os.close(file)

    def sync(self, path: Path) -> None:
        """The content of a file is durable."""
        _sync(path)

    def sync_folder(self, folder: Path) -> None:
        """The names in a folder are durable."""
        _sync(folder)

    def replace(self, source: Path, target: Path) -> None:
        """Rename, over what is there, in one step."""
        os.replace(source, target)

    def link(self, source: Path, target: Path) -> None:
        """Another name for the same file; some file systems have none (vfat, exfat)."""
        os.link(source, target)

    def unlink(self, path: Path) -> None:
        """Remove a name, if it is there."""
        path.unlink(missing_ok=True)

    def make_folder(self, folder: Path) -> None:
        """Make a folder whose parent is there."""
        folder.mkdir(exist_ok=True)


def is_full(error: BaseException | None, path: Path) -> bool:
    """True when the disk under `path` takes nothing more for now: what failed with `error` may go later.

    SQLite says only in words that a disk is full, and of a read-only one that a file cannot be opened.
    """
    if isinstance(error, OSError):
        return error.errno in FULL
    if isinstance(error, sqlite3.OperationalError):
        text = str(error)
        return "is full" in text or "disk I/O error" in text or _is_read_only(path)
    return False


def _is_read_only(path: Path) -> bool:
    place = next((part for part in (path, *path.parents) if part.exists()), path)
    try:
        return bool(os.statvfs(place).f_flag & os.ST_RDONLY)
    except OSError:
        return False


def write(disk: Disk, path: Path, data: bytes) -> None:
    """Replace a file; when this returns it is durable, and before that the old content is."""
    temporary = path.with_name(path.name + _TEMPORARY)
    disk.write(temporary, data)
    disk.sync(temporary)
    disk.replace(temporary, path)
    disk.sync_folder(path.parent)


def make_folders(disk: Disk, folder: Path, ours: Path) -> None:
    """Make a folder and its parents, durably.

    Args:
        disk: where.
        folder: what is needed.
        ours: what else bears this name, or one below it, is moved aside; above it are other people's files.
    """
    missing = [part for part in (folder, *folder.parents) if not part.is_dir()]
    for part in reversed(missing):
        if os.path.lexists(part) and part.is_relative_to(ours):
            move_aside(disk, part)
        disk.make_folder(part)
        disk.sync_folder(part.parent)


def move_aside(disk: Disk, path: Path) -> Path:
    """Give what is in the way another name, the first that is free; returns that."""
    aside = next(name for name in _names_aside(path) if not os.path.lexists(name))
    disk.replace(path, aside)
    return aside


def _names_aside(path: Path) -> Iterator[Path]:
    yield path.with_name(f"{path.name}.damaged")
    number = 2
    while True:
        yield path.with_name(f"{path.name}.damaged.{number}")
        number += 1


def _sync(path: Path) -> None:
    file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(file)
    finally:
        os.close(file)
