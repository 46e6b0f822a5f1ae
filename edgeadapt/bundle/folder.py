"""Bundles on disk: one folder of files. The only code of this package that touches a file system."""

from __future__ import annotations

from pathlib import Path

from edgeadapt.bundle.bundle import MANIFEST_NAME, Bundle
from edgeadapt.errors import BundleError

MAX_FILE_BYTES = 2 << 30


def read_folder(folder: Path) -> Bundle:
    """Read and verify the bundle in `folder`.

    Raises:
        BundleError: the folder is no bundle, or a file in it is missing, changed or unreadable.
    """
    if not (folder / MANIFEST_NAME).is_file():
        raise BundleError(f"{folder} holds no {MANIFEST_NAME}: make a bundle with `edgeadapt model compile`")
    files: dict[str, bytes] = {}
    try:
        for path in sorted(folder.iterdir()):
            if not path.is_file():
                continue
            if path.stat().st_size > MAX_FILE_BYTES:
                raise BundleError(f"{path} is larger than {MAX_FILE_BYTES} bytes")
            files[path.name] = path.read_bytes()
    except OSError as error:
        raise BundleError(f"{folder} cannot be read: {error}") from error
    return Bundle.from_files(files)
