"""Content-addressed blobs: a folder, or memory.

A file under its final name is whole: it is written aside, flushed to the disk and renamed, and the folder
is flushed too before the sample is acknowledged. What is read back is checked against its name, so a
damaged file reads as absent, and the same data put once more takes its place.
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
        """Keep `data`; a second time is a no-op, unless the file is damaged. Raises TransportError."""
        path = self._path(sha256)
        aside = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}")
        try:
            if path.exists() and path.read_bytes() == data:
                return
            first = not path.parent.exists()
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                with aside.open("wb") as sink:
                    sink.write(data)
                    sink.flush()
                    os.fsync(sink.fileno())
                aside.replace(path)
            finally:
                aside.unlink(missing_ok=True)  # it is there only when something failed
            for folder in (path.parent, self._folder) if first else (path.parent,):
                _flush_folder(folder)
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


def _flush_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


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
