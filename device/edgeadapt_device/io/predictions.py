"""The device's answers for its host: an append-only CSV that survives a killed process.

One header, one line per frame; a line that was cut off half-way is removed when the file is opened
again. Where frames are files, the last column names them. A file of an older release has no verdicts, and
gets none. Rows are buffered for a fifth of a second at
most, as counted by the times that are passed in. A disk that refuses, from the start on or later, is tried
again now and then; until then rows are kept, up to a bound, and not one of them raises: the model goes on.
"""

from __future__ import annotations

import os
from contextlib import suppress
from io import FileIO
from pathlib import Path
from typing import NamedTuple

from edgeadapt.errors import ConfigError, TransportError
from edgeadapt_device.core.effects import Predicted
from edgeadapt_device.io.durable import FULL

_OLD_HEADER = "frame,prediction,entropy,generation,segment,flagged"
HEADER = _OLD_HEADER + ",verdict"
NAMED_HEADER = HEADER + ",file"
# A file keeps the columns that it was begun with: (verdict, file) by header.
_COLUMNS = {
    HEADER: (True, False),
    NAMED_HEADER: (True, True),
    _OLD_HEADER: (False, False),
    _OLD_HEADER + ",file": (False, True),
}
# Rows that are kept while the disk refuses, about 50 bytes each.
KEPT_ROWS = 20_000
_TAIL_BYTES = 4096


class PredictionLog:
    """The CSV, open for appending.

    Attributes:
        lost_rows: rows that were given up because the disk refused for too long.
        trouble: why there is no file yet, "" when there is one.
    """

    def __init__(
        self,
        path: Path,
        *,
        flush_rows: int = 64,
        flush_s: float = 0.2,
        retry_s: float = 10.0,
        kept_rows: int = KEPT_ROWS,
        named: bool = False,
    ) -> None:
        """Open or make the file.

        Args:
            path: the file; its folder is made.
            flush_rows: rows that are written together, at most.
            flush_s: how long a row waits, at most.
            retry_s: pause before a disk that refused is tried again.
            kept_rows: rows that are kept while the disk refuses.
            named: a new file gets a column for the frames' names; one that is there stays as it is.

        Raises:
            ConfigError: the file is there but holds something else, or it is a folder.
            TransportError: it cannot be opened, and not because the disk is full or read-only.
        """
        self._flush_rows, self._flush_s, self._retry_s, self._kept_rows = (
            flush_rows,
            flush_s,
            retry_s,
            kept_rows,
        )
        self._rows: list[bytes] = []
        self._flushed_mono_s: float | None = None
        self._failed_mono_s: float | None = None
        self.lost_rows = 0
        self.trouble = ""
        self._path, self._header = path, NAMED_HEADER if named else HEADER
        self._file: FileIO | None = None
        self._last_frame: int | None = None
        self._judged, self._named = True, named
        try:
            self._open()
        except IsADirectoryError as error:
            raise ConfigError(f"output.predictions: {path} is a folder, expected a file in it") from error
        except OSError as error:
            if error.errno not in FULL:
                raise TransportError(f"{path}: cannot be written: {error}") from error
            # A disk that is full or read-only now may not always be: the first rows try again.
            self.trouble = f"{path}: {error.strerror}: predictions wait in memory"
            with suppress(OSError):
                found = _read(path, self._header)
                self._last_frame, self._judged, self._named = found.last_frame, found.judged, found.named

    def _open(self) -> FileIO:
        if self._file is None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            found = _mend(self._path, self._header)
            self._judged, self._named = found.judged, found.named
            if not self._rows:
                self._last_frame = found.last_frame
            # Without a buffer of Python's own, so that it is known what has reached the file.
            self._file = FileIO(self._path, "a")
            self.trouble = ""
        return self._file

    def last_frame(self) -> int | None:
        """The frame of the last row that was written or waits for it, None when there is none."""
        return self._last_frame

    @property
    def waiting_rows(self) -> int:
        """Rows that have not reached the file."""
        return len(self._rows)

    def write(self, predicted: Predicted, now_mono_s: float, *, name: str = "") -> None:
        """Append one line; raises TransportError when the disk was tried and refuses."""
        p = predicted
        row = f"{p.frame},{p.label},{p.entropy:.6f},{p.generation},{p.segment},{int(p.flagged)}"
        row += f",{p.verdict}" if self._judged else ""
        row += f",{_quoted(name)}\n" if self._named else "\n"
        if len(self._rows) < self._kept_rows:
            self._rows.append(row.encode(errors="backslashreplace"))
            self._last_frame = p.frame
        else:
            self.lost_rows += 1
        self.flush_if_due(now_mono_s)

    def flush_if_due(self, now_mono_s: float) -> None:
        """Hand the rows to the system when there are enough of them, or the oldest has waited.

        Raises:
            TransportError: the disk refuses; the rows are kept, and it is left alone for a while.
        """
        if not self._rows:
            return
        if self._failed_mono_s is not None:
            if now_mono_s - self._failed_mono_s >= self._retry_s:
                self._flush(now_mono_s)
            return
        if self._flushed_mono_s is None:
            self._flushed_mono_s = now_mono_s
        if len(self._rows) >= self._flush_rows or now_mono_s - self._flushed_mono_s >= self._flush_s:
            self._flush(now_mono_s)

    def close(self) -> None:
        """Write what waits and close; raises TransportError that says how much the disk refused."""
        try:
            self._flush(0.0)
        except TransportError as error:
            lost = self.lost_rows + len(self._rows)
            raise TransportError(f"{self._path}: closed, and {lost} predictions are lost") from error
        finally:
            if self._file is not None:
                self._file.close()

    def _flush(self, now_mono_s: float) -> None:
        data = b"".join(self._rows)
        try:
            file = self._open()
            while data:
                data = data[file.write(data) or 0 :]
        except OSError as error:
            # A line that was cut off goes on where it was cut off.
            self._rows = data.splitlines(keepends=True)
            self._failed_mono_s = now_mono_s
            lost = f"; {self.lost_rows} predictions are lost" if self.lost_rows else ""
            raise TransportError(f"{self._path}: {error}{lost}") from error
        self._rows = []
        self._flushed_mono_s, self._failed_mono_s = now_mono_s, None


def _quoted(name: str) -> str:
    """As RFC 4180 has it, on one line whatever the name."""
    text = "".join(char if char.isprintable() else "?" for char in name)
    return '"' + text.replace('"', '""') + '"' if '"' in text or "," in text else text


class _Found(NamedTuple):
    """What a file holds: bytes to keep (0: a header is to be written), last frame, which columns it has."""

    size: int
    last_frame: int | None
    judged: bool
    named: bool


def _mend(path: Path, header: str) -> _Found:
    """Leave a header, `header` in a new file, and whole lines only."""
    with path.open("ab"):
        pass
    found = _read(path, header)
    with path.open("r+b") as file:
        file.truncate(found.size)
        if not found.size:
            file.write(f"{header}\n".encode())
    return found


def _read(path: Path, header: str) -> _Found:
    """Look at a file without changing it; raises ConfigError when it is no file of predictions."""
    with path.open("rb") as file:
        head = file.readline(len(NAMED_HEADER) + 1)
        known = {f"{text}\n".encode(): columns for text, columns in _COLUMNS.items()}
        if head not in known:
            # An empty file, or a header that was cut off.
            if not any(line.startswith(head) for line in known):
                raise ConfigError(f"{path} is no file of predictions: move it, or set output.predictions")
            return _Found(0, None, *_COLUMNS[header])
        judged, named = known[head]
        size = file.seek(0, os.SEEK_END)
        start = max(0, size - _TAIL_BYTES)
        file.seek(start)
        tail = file.read()
    whole = tail.rfind(b"\n") + 1
    if whole == 0:
        raise ConfigError(f"{path}: its last lines are not predictions")
    last = tail[:whole].splitlines()[-1]
    if last + b"\n" == head:
        return _Found(start + whole, None, judged, named)
    try:
        return _Found(start + whole, int(last.split(b",", 1)[0]), judged, named)
    except ValueError as error:
        raise ConfigError(f"{path}: its last line is no prediction: {last[:80]!r}") from error
