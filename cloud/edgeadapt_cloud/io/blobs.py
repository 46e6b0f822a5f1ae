"""Content-addressed blobs: a folder, or memory.

A file under its final name is whole: it is written aside, flushed to the disk and renamed. What is read
back is checked against its name, so a damaged file reads as absent.
"""

from __future__ import annotations

import os
import threading
from pathlib import Path

from edgeadapt.digest import sha256_hex
from edgeadapt.errors import TransportError


class FolderBlobs:
    """`io.ports.Blobs` as files `ab/abcdef...`; safe to read from another thread."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def put(self, sha256: str, data: bytes) -> None:
        """Keep `data`; a second time is a no-op. Raises TransportError."""
        path = self._path(sha256)
        aside = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}")
        try:
            if path.exists():
                return
            path.parent.mkdir(parents=True, exist_ok=True)
            with aside.open("wb") as sink:
                sink.write(data)
                sink.flush()
                os.fsync(sink.fileno())
            aside.replace(path)
        except OSError as error:
            raise TransportError(f"{path} cannot be written: {error}") from error

    def get(self, sha256: str) -> bytes | None:
        """The bytes, or None when they are not there or not intact. Raises TransportError."""
        path = self._path(sha256)
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise TransportError(f"{path} cannot be read: {error}") from error
        return data if sha256_hex(data) == sha256 else None

    def _path(self, sha256: str) -> Path:
        return self._folder / sha256[:2] / sha256


class MemoryBlobs:
    """`io.ports.Blobs` in a dict, for simulators and tests."""

    def __init__(self) -> None:
        self._data: dict[str, bytes] = {}

    def put(self, sha256: str, data: bytes) -> None:
        """Keep `data`."""
        self._data[sha256] = data

    def get(self, sha256: str) -> bytes | None:
        """The bytes, or None."""
        return self._data.get(sha256)
