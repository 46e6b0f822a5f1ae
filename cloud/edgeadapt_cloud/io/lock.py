"""One service per state folder: an advisory lock that the system lets go when the process dies."""

from __future__ import annotations

import fcntl
from pathlib import Path
from types import TracebackType

from edgeadapt.errors import ConfigError

LOCK_NAME = "lock"


class StateLock:
    """Held inside a `with` block."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / LOCK_NAME

    def __enter__(self) -> StateLock:
        """Take the lock; raises ConfigError when another service has it."""
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._file = self._path.open("a")
        except OSError as error:
            raise ConfigError(f"{self._path} cannot be written: {error}") from error
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            self._file.close()
            raise ConfigError(f"another service is running on {self._path.parent}") from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()


def is_held(folder: Path) -> bool:
    """True while some process holds the lock."""
    path = folder / LOCK_NAME
    if not path.exists():
        return False
    with path.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False
