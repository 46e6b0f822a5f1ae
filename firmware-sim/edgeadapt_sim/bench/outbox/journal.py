"""What a process that is about to be killed has done: one line each, in a file that outlives it.

A line is one `write` to a file opened for appending: after SIGKILL it is there whole, or not at all. It is
written after what it tells of, so that it never tells too much.
"""

from __future__ import annotations

import os
from pathlib import Path
from types import TracebackType


class Journal:
    """Lines of words."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)

    def note(self, *words: object) -> None:
        """Add a line."""
        os.write(self._file, (" ".join(str(word) for word in words) + "\n").encode())

    def __enter__(self) -> Journal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._file)


def read(path: Path) -> list[list[str]]:
    """All lines as words; none when there is no file."""
    try:
        text = path.read_text()
    except FileNotFoundError:
        return []
    return [line.split() for line in text.splitlines()]
