"""One service per state folder: an advisory lock that the system lets go when the process dies."""

from __future__ import annotations

import fcntl
import time
from pathlib import Path
from types import TracebackType
from typing import TextIO

from edgeadapt.errors import ConfigError

LOCK_NAME = "lock"
# Somebody who only asks whether the lock is held is gone again long before.
_PATIENCE_S = 1.0
_PAUSE_S = 0.02


class StateLock:
    """Held inside a `with` block."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / LOCK_NAME

    def __enter__(self) -> StateLock:
        """Take the lock, within a second; raises ConfigError when another service has it."""
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._file = self._path.open("a")
        except OSError as error:
            raise ConfigError(f"{self._path} cannot be written: {error}") from error
        given_up_s = time.monotonic() + _PATIENCE_S
        while not _taken(self._file, fcntl.LOCK_EX):
            if time.monotonic() >= given_up_s:
                self._file.close()
                raise ConfigError(f"another service is running on {self._path.parent}")
            time.sleep(_PAUSE_S)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()


def is_held(folder: Path) -> bool:
    """True while a service holds the lock; to ask, it is enough to be allowed to read the folder.

    Raises:
        ConfigError: the lock's file is there and cannot be read.
    """
    path = folder / LOCK_NAME
    try:
        with path.open() as file:
            # Shared: any number may ask at once. A service that starts meanwhile waits for a moment.
            return not _taken(file, fcntl.LOCK_SH)
    except FileNotFoundError:
        return False
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error}") from error


def _taken(file: TextIO, kind: int) -> bool:
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
