"""The device's answers for its host: an append-only CSV that survives a killed process.

One header, one line per frame; a line that was cut off half-way is removed when the file is opened
again. Rows are buffered for a fifth of a second at most, as counted by the times that are passed in.
"""

from __future__ import annotations

import csv
import os
from pathlib import Path

from edgeadapt.errors import ConfigError, TransportError
from edgeadapt_device.core.effects import Predicted

HEADER = "frame,prediction,entropy,generation,segment,flagged"
_HEADER_LINE = (HEADER + "\n").encode()
_TAIL_BYTES = 4096


class PredictionLog:
    """The CSV, open for appending."""

    def __init__(self, path: Path, *, flush_rows: int = 64, flush_s: float = 0.2) -> None:
        """Open or make the file.

        Raises:
            ConfigError: the file is there but holds something else.
            TransportError: it cannot be opened or written.
        """
        self._flush_rows, self._flush_s = flush_rows, flush_s
        self._rows = 0
        self._flushed_mono_s: float | None = None
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._last_frame = _mend(path)
            self._file = path.open("a", encoding="utf-8", newline="")
        except OSError as error:
            raise TransportError(f"{path}: cannot be written: {error}") from error
        self._writer = csv.writer(self._file, lineterminator="\n")
        self._path = path

    def last_frame(self) -> int | None:
        """The frame of the last whole line, None when there is none."""
        return self._last_frame

    def write(self, predicted: Predicted, now_mono_s: float) -> None:
        """Append one line; raises TransportError when the disk refuses."""
        p = predicted
        try:
            self._writer.writerow(
                (p.frame, p.label, f"{p.entropy:.6f}", p.generation, p.segment, int(p.flagged))
            )
        except OSError as error:
            raise TransportError(f"{self._path}: {error}") from error
        self._last_frame = p.frame
        self._rows += 1
        self.flush_if_due(now_mono_s)

    def flush_if_due(self, now_mono_s: float) -> None:
        """Hand the rows to the system when there are enough of them, or the oldest has waited."""
        if not self._rows:
            return
        if self._flushed_mono_s is None:
            self._flushed_mono_s = now_mono_s
        if self._rows >= self._flush_rows or now_mono_s - self._flushed_mono_s >= self._flush_s:
            self._flush()
            self._flushed_mono_s = now_mono_s

    def close(self) -> None:
        """Flush and close; raises TransportError when the disk refuses."""
        try:
            self._file.close()
        except OSError as error:
            raise TransportError(f"{self._path}: {error}") from error

    def _flush(self) -> None:
        try:
            self._file.flush()
        except OSError as error:
            raise TransportError(f"{self._path}: {error}") from error
        self._rows = 0


def _mend(path: Path) -> int | None:
    """Leave a header and whole lines only; returns the last frame."""
    with path.open("ab"):
        pass
    with path.open("r+b") as file:
        head = file.read(len(_HEADER_LINE))
        if head != _HEADER_LINE and not _HEADER_LINE.startswith(head):
            raise ConfigError(f"{path} is no file of predictions: move it, or set output.predictions")
        if head != _HEADER_LINE:
            file.seek(0)
            file.truncate()
            file.write(_HEADER_LINE)
            return None
        size = file.seek(0, os.SEEK_END)
        start = max(0, size - _TAIL_BYTES)
        file.seek(start)
        tail = file.read()
        whole = tail.rfind(b"\n") + 1
        if whole == 0:
            raise ConfigError(f"{path}: its last lines are not predictions")
        file.truncate(start + whole)
        last = tail[:whole].splitlines()[-1]
        if last + b"\n" == _HEADER_LINE:
            return None
        try:
            return int(last.split(b",", 1)[0])
        except ValueError as error:
            raise ConfigError(f"{path}: its last line is no prediction: {last[:80]!r}") from error
