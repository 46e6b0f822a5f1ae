"""Bundles on disk: one folder of files. The only code of this package that touches a file system.

A large model file is not kept in memory: it is read, and its digest checked, each time its bytes are asked
for (once per session that is built). The file stays open, so a bundle that is replaced by another one in the
same folder can be read to the end of the process; one that is edited in place is noticed.
"""

from __future__ import annotations

import dataclasses
import os
import weakref
from collections.abc import Iterator, Mapping
from pathlib import Path

from edgeadapt.bundle.bundle import MANIFEST_NAME, Bundle
from edgeadapt.bundle.manifest import FileDigest
from edgeadapt.digest import sha256_hex
from edgeadapt.errors import BundleError

MAX_FILE_BYTES = 2 << 30
# Smaller files stay in memory: reading them again would save nothing that matters.
KEEP_BYTES = 4 << 20


def read_folder(folder: Path, *, keep_bytes: int = KEEP_BYTES) -> Bundle:
    """Read and verify the bundle in `folder`.

    Args:
        folder: the folder.
        keep_bytes: files larger than this are read again whenever their bytes are asked for; asking then
            raises BundleError when the file has been changed.

    Raises:
        BundleError: the folder is no bundle, or a file in it is missing, changed or unreadable.
    """
    try:
        if not (folder / MANIFEST_NAME).is_file():
            raise BundleError(
                f"{folder} holds no {MANIFEST_NAME}: make a bundle with `edgeadapt model compile`"
            )
        bundle = Bundle.from_files(_Folder(folder))
        large = {
            entry.name: StoredFile(folder / entry.name, entry)
            for entry in bundle.manifest.files
            if entry.name in bundle.files and entry.size_bytes > keep_bytes
        }
    except OSError as error:
        raise BundleError(f"{folder} cannot be read: {error}") from error
    if not large:
        return bundle
    kept = {name: data for name, data in bundle.files.items() if name not in large}
    return dataclasses.replace(bundle, files=_Files(kept, large))


class _Folder(Mapping[str, bytes]):
    """The files that lie in a folder, each read when it is asked for: what a manifest does not list never is.

    A name is looked up among those that are there, so one from a manifest cannot lead out of the folder.
    """

    def __init__(self, folder: Path) -> None:
        self._paths = {path.name: path for path in sorted(folder.iterdir()) if path.is_file()}

    def __getitem__(self, name: str) -> bytes:
        path = self._paths[name]
        if path.stat().st_size > MAX_FILE_BYTES:
            raise BundleError(f"{path} is larger than {MAX_FILE_BYTES} bytes")
        return path.read_bytes()

    def __iter__(self) -> Iterator[str]:
        return iter(self._paths)

    def __len__(self) -> int:
        return len(self._paths)


class StoredFile:
    """A file that stays open; its bytes are read and checked on demand."""

    def __init__(self, path: Path, entry: FileDigest) -> None:
        """Open it; raises OSError."""
        self._path, self._entry = path, entry
        self._handle = os.open(path, os.O_RDONLY)
        weakref.finalize(self, os.close, self._handle)

    def read(self) -> bytes:
        """All bytes; raises BundleError when they are not those of the manifest any more."""
        pieces, offset, left = [], 0, self._entry.size_bytes
        try:
            # One read returns 2 GiB at most, and may return less.
            while left and (piece := os.pread(self._handle, left, offset)):
                pieces.append(piece)
                offset, left = offset + len(piece), left - len(piece)
        except OSError as error:
            raise BundleError(f"{self._path} cannot be read: {error}") from error
        data = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        if sha256_hex(data) != self._entry.sha256:
            raise BundleError(f"{self._path} was edited or truncated while it was in use: install it again")
        return data


class _Files(Mapping[str, bytes]):
    """A bundle's files, some of them in memory."""

    def __init__(self, kept: Mapping[str, bytes], large: Mapping[str, StoredFile]) -> None:
        self._kept, self._large = kept, large

    def __getitem__(self, name: str) -> bytes:
        stored = self._large.get(name)
        return self._kept[name] if stored is None else stored.read()

    def __iter__(self) -> Iterator[str]:
        yield from self._kept
        yield from self._large

    def __len__(self) -> int:
        return len(self._kept) + len(self._large)
