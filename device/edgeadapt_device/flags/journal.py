"""The flag journal in the state folder: `flags.jsonl`, and `flags.1.jsonl` when that was full.

Append-only and at most twice `max_bytes`. Lines wait for a second at most, as counted by the times that are
passed in, and are handed to the system in one write; nothing is synced, for no line is worth a stall of the
model. What a process that was killed left half-written is closed with a line's end when the file is opened
again, and skipped by readers. A disk that refuses loses lines, which are counted, and is tried again later.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from edgeadapt.errors import ConfigError, WireError
from edgeadapt_device.flags.lines import Line, from_bytes, to_bytes

NAME, OLD_NAME = "flags.jsonl", "flags.1.jsonl"
MAX_BYTES = 1 << 20
_FLUSH_S, _RETRY_S = 1.0, 10.0
_MOST_WAITING = 1000


class FlagJournal:
    """The files, for the one process that writes them.

    Attributes:
        lost: lines that the disk refused.
    """

    def __init__(self, folder: Path, *, max_bytes: int = MAX_BYTES) -> None:
        """Nothing is opened before the first lines are written."""
        self._path, self._old = folder / NAME, folder / OLD_NAME
        self._max_bytes = max_bytes
        self._waiting: list[bytes] = []
        self._due_s: float | None = None
        self._failed_s: float | None = None
        self._file: int | None = None
        self._size = 0
        self.lost = 0

    def write(self, line: Line, mono_s: float) -> None:
        """Take a line; it reaches the file within a second, if somebody asks for `flush_if_due`."""
        if len(self._waiting) >= _MOST_WAITING:
            self.lost += 1
            return
        self._waiting.append(to_bytes(line))
        if self._due_s is None:
            self._due_s = mono_s + _FLUSH_S

    def flush_if_due(self, mono_s: float) -> None:
        """Hand over what has waited for long enough; never raises."""
        if self._due_s is None or mono_s < self._due_s:
            return
        if self._failed_s is not None and mono_s < self._failed_s + _RETRY_S:
            return
        self._flush(mono_s)

    def close(self) -> None:
        """Hand over everything and close."""
        if self._waiting:
            self._flush(0.0)
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _flush(self, mono_s: float) -> None:
        data = b"".join(self._waiting)
        try:
            if self._file is None:
                self._open()
            if self._size and self._size + len(data) > self._max_bytes:
                self._rotate()
            file = self._open()
            while data:
                written = os.write(file, data)
                self._size += written
                data = data[written:]
        except OSError:
            # The rest of a line that was cut off is the end of it, if it can ever be written.
            self._waiting = data.splitlines(keepends=True)
            self._failed_s = mono_s
        else:
            self._waiting, self._due_s, self._failed_s = [], None, None

    def _open(self) -> int:
        if self._file is None:
            flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
            self._file = os.open(self._path, flags, 0o644)
            self._size = os.fstat(self._file).st_size
            if self._size and os.pread(self._file, 1, self._size - 1) != b"\n":
                self._size += os.write(self._file, b"\n")
        return self._file

    def _rotate(self) -> None:
        os.close(self._open())
        self._file = None
        os.replace(self._path, self._old)
        self._size = 0


def read_flags(folder: Path) -> Iterator[Line]:
    """All lines that can be read, the oldest first; while a device writes, too.

    Raises:
        ConfigError: a file is there and cannot be read.
    """
    for path in (folder / OLD_NAME, folder / NAME):
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            continue
        except OSError as error:
            raise ConfigError(f"{path} cannot be read: {error}") from error
        for line in data.splitlines():
            with suppress(WireError):
                yield from_bytes(line)
