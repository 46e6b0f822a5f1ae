"""Put a bundle's files into a folder whole: a reader never sees a part of one, nor old and new files mixed.

A new folder appears by one rename. A bundle that is there is replaced by two, so for a moment there is none;
if the second fails, the old one is put back. Readers that cannot wait keep generations of their own.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path

from edgeadapt.bundle import MANIFEST_NAME
from edgeadapt.errors import CompileError


def write_folder(files: Mapping[str, bytes], out: Path) -> None:
    """Write `files` to a folder beside `out`, then rename it to `out`.

    Raises:
        CompileError: `out` holds something that is no bundle, or cannot be written.
    """
    check_target(out)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}-") as scratch:
            fresh = Path(scratch) / "new"
            fresh.mkdir()
            for name, data in files.items():
                (fresh / name).write_bytes(data)
            _swap(fresh, out, Path(scratch) / "old")
    except OSError as error:
        raise CompileError(f"{out} cannot be written: {error}") from error


def check_target(out: Path) -> None:
    """Raise CompileError when `out` holds something that is no bundle: before hours are spent on one."""
    if out.exists() and not (out.is_dir() and _replaceable(out)):
        raise CompileError(f"{out} exists and is no bundle; name another folder")


def _swap(fresh: Path, out: Path, old: Path) -> None:
    if out.exists():
        out.rename(old)
    try:
        fresh.rename(out)
    except OSError:
        if old.exists():
            old.rename(out)
        raise


def _replaceable(folder: Path) -> bool:
    return (folder / MANIFEST_NAME).is_file() or not any(folder.iterdir())
