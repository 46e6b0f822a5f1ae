"""One process per state folder: two would overwrite each other's outbox, generation and predictions.

The lock is the kernel's (`flock`), so it ends with its process however that ends, and no file has to be
cleaned up. It is also how another process tells whether the device runs. A disk that is full or read-only
does not keep the device from starting: where it has no lock file and takes none, there is no lock.
"""

from __future__ import annotations

import fcntl
import os
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from edgeadapt.errors import ConfigError, TransportError
from edgeadapt_device.io.durable import FULL

LOCK_NAME = "lock"
# Whoever only looks (`is_locked`) holds the file for a moment.
_PATIENCE_S = 1.0
_PAUSE_S = 0.02


class StateLock:
    """Holds `lock` in a state folder, with the holder's process id in it, while in the context.

    Attributes:
        trouble: why there is no lock, "" when there is one.
    """

    def __init__(self, state_dir: Path) -> None:
        self._path = state_dir / LOCK_NAME
        self._file = -1
        self.trouble = ""

    def __enter__(self) -> StateLock:
        """Take the lock.

        Raises:
            ConfigError: another process has it; the message names the process.
            TransportError: the file cannot be made or locked.
        """
        try:
            self._open()
            self._take()
        except OSError as error:
            self._release()
            if error.errno not in FULL:
                raise TransportError(f"{self._path}: cannot be locked: {error}") from error
            self.trouble = f"{self._path}: nothing keeps a second device off this folder: {error.strerror}"
            return self
        except ConfigError:
            self._release()
            raise
        # For people: a full disk takes no process id, and keeps no model from running.
        with suppress(OSError):
            os.ftruncate(self._file, 0)
            os.write(self._file, f"{os.getpid()}\n".encode())
        return self

    def _open(self) -> None:
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            if error.errno not in FULL or not self._path.is_file():
                raise
            # One that is there can be locked on a read-only disk as well.
            self._file = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)

    def _take(self) -> None:
        deadline_s = time.monotonic() + _PATIENCE_S
        while True:
            try:
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except BlockingIOError as error:
                if time.monotonic() >= deadline_s:
                    holder = os.pread(self._file, 32, 0).decode("ascii", "replace").strip() or "unknown"
                    raise ConfigError(
                        f"{self._path.parent} is in use by process {holder}: "
                        "stop it, or give this device a state_dir of its own"
                    ) from error
            time.sleep(_PAUSE_S)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Let it go; the file stays."""
        self._release()

    def _release(self) -> None:
        if self._file >= 0:
            with suppress(OSError):
                os.close(self._file)
            self._file = -1


def holder(state_dir: Path) -> int:
    """The process that last took the lock, as it says; 0 when that is not known."""
    try:
        return int((state_dir / LOCK_NAME).read_bytes()[:32])
    except (OSError, ValueError):
        return 0


def is_locked(state_dir: Path) -> bool:
    """True while a device process runs on this folder."""
    try:
        file = os.open(state_dir / LOCK_NAME, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    else:
        return False
    finally:
        os.close(file)
