"""Which files were scored, over restarts: a file of 8-byte fingerprints, and as much in memory.

Appended to as files are scored, and written anew now and then with only those that are still in the
folder, so it grows with what lies in the folder and not with what ever did. A cut-off or damaged ledger
costs no more than that some files are scored twice; a fingerprint that two files share (1 pair in 10^13
for a million files) that one is not scored.
"""

from __future__ import annotations

import os
from array import array
from collections.abc import Iterable
from hashlib import blake2b
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edgeadapt.errors import TransportError

_MAGIC = b"scored-1"
_SIZE = 8
_RECENT = 4096
# Without one known file in the folder (a disk that is not mounted?) nothing is forgotten up to here.
_FORGET_ALL = 1_000_000


def fingerprint(name: str, *numbers: int) -> int:
    """64 bits of a file's name and what tells its content from a former one."""
    text = "\0".join((name, *(str(number) for number in numbers)))
    return int.from_bytes(
        blake2b(text.encode(errors="surrogateescape"), digest_size=_SIZE).digest(), "little"
    )


class Ledger:
    """A set of fingerprints in a file. Used from one thread."""

    def __init__(self, path: Path | None) -> None:
        """Open or make the file; without one nothing is remembered longer than this object lasts.

        Raises:
            TransportError: the disk refuses.
        """
        self._path = path
        self._old: npt.NDArray[np.uint64] = np.zeros(0, np.uint64)
        self._recent: set[int] = set()
        self._waiting: list[int] = []
        if path is None:
            return
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            data = path.read_bytes() if path.is_file() else b""
            if data.startswith(_MAGIC):
                whole = len(data) - len(data) % _SIZE
                self._old = np.unique(np.frombuffer(data[len(_MAGIC) : whole], "<u8").astype(np.uint64))
                os.truncate(path, whole)
            else:
                _replace(path, _MAGIC)
        except OSError as error:
            raise TransportError(f"{path}: {error}") from error

    def __len__(self) -> int:
        """Fingerprints."""
        return len(self._old) + len(self._recent)

    def __contains__(self, key: int) -> bool:
        """True for a fingerprint that was added."""
        if key in self._recent:
            return True
        place = int(np.searchsorted(self._old, np.uint64(key)))
        return place < len(self._old) and int(self._old[place]) == key

    def add(self, keys: Iterable[int]) -> None:
        """Add; raises TransportError when the disk refuses, and tries again with the next ones."""
        fresh = [key for key in keys if key not in self]
        self._recent.update(fresh)
        self._waiting += fresh
        if self._waiting:
            self._append(np.array(self._waiting, "<u8").tobytes())
            self._waiting = []
        if len(self._recent) > _RECENT:
            recent = np.fromiter(self._recent, np.uint64, len(self._recent))
            self._old, self._recent = np.union1d(self._old, recent), set()

    def _append(self, data: bytes) -> None:
        if self._path is None:
            return
        try:
            with self._path.open("r+b", buffering=0) as file:
                size = file.seek(0, os.SEEK_END)
                if file.write(data) != len(data):
                    file.truncate(size)
                    raise OSError("only a part could be written")
        except OSError as error:
            raise TransportError(f"{self._path}: {error}") from error

    def forget_others(self, seen: array[int]) -> None:
        """Keep only `seen` when that is worth a new file; raises TransportError when the disk refuses."""
        if len(self) <= 2 * len(seen) + _RECENT or (not seen and len(self) < _FORGET_ALL):
            return
        kept = np.unique(np.frombuffer(seen, np.uint64)) if seen else np.zeros(0, np.uint64)
        try:
            if self._path is not None:
                _replace(self._path, _MAGIC + kept.astype("<u8").tobytes())
        except OSError as error:
            raise TransportError(f"{self._path}: {error}") from error
        self._old, self._recent, self._waiting = kept, set(), []


def _replace(path: Path, data: bytes) -> None:
    temporary = path.with_name(path.name + ".tmp")
    with temporary.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)
