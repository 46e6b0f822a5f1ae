"""The bundle that a device runs: the installed one, or its own copy of the last that was whole.

An installed file may be cut short by a copy that a power cut ended, swapped, or edited. The device then goes
on with the bundle that it ran before, of which it keeps a copy in its state folder, and says so. A folder
that is not there, or holds no manifest, is a mistake in the configuration, and no copy stands in for it.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import NamedTuple

from edgeadapt.bundle import Bundle, read_folder
from edgeadapt.bundle.bundle import MANIFEST_NAME
from edgeadapt.digest import sha256_hex
from edgeadapt.errors import BundleError
from edgeadapt_device.io.durable import Disk

COPY_NAME = "kept-bundle"
# A copy must leave this many times its size free: the outbox lives on the same disk.
_ROOM = 2


class Installed(NamedTuple):
    """What runs, and why it is the copy; "" when it is what was installed."""

    bundle: Bundle
    trouble: str


def open_installed(folder: Path, state_dir: Path, *, keeps: bool) -> Installed:
    """Read the bundle in `folder`, or when that is damaged and the device `keeps` one, the copy.

    Raises:
        BundleError: it is no bundle, or damaged and there is no whole copy; says what is wrong with it.
    """
    try:
        return Installed(read_folder(folder), "")
    except BundleError as error:
        if not keeps or not (folder / MANIFEST_NAME).is_file():
            raise
        try:
            kept = read_folder(state_dir / COPY_NAME)
        except BundleError:
            raise error from None
        return Installed(
            kept, f"{folder}: {error}; the copy of the last whole bundle runs: install the bundle again"
        )


def keep_copy(bundle: Bundle, folder: Path, state_dir: Path) -> str:
    """Make the copy that is wanted on a bad day, if it is not there yet; may take seconds.

    Args:
        bundle: what was read from `folder`.
        folder: where it is installed.
        state_dir: of the device; nobody else writes there.

    Returns:
        Why there is none, or "".
    """
    copy, fresh = state_dir / COPY_NAME, state_dir / f"{COPY_NAME}.new"
    try:
        if _is_there(copy, bundle) or copy.absolute() == folder.absolute():
            return ""
        size_bytes = sum(entry.size_bytes for entry in bundle.manifest.files)
        if shutil.disk_usage(state_dir).free < _ROOM * size_bytes:
            return f"no copy of the bundle is kept: less than {_ROOM * size_bytes / 1e6:.0f} MB are free"
        _write(bundle, folder, fresh)
        shutil.rmtree(copy, ignore_errors=True)
        Disk().replace(fresh, copy)
        Disk().sync_folder(state_dir)
    except (OSError, BundleError) as error:
        shutil.rmtree(fresh, ignore_errors=True)
        return f"no copy of the bundle is kept: {error}"
    return ""


def _is_there(copy: Path, bundle: Bundle) -> bool:
    manifest = copy / MANIFEST_NAME
    if not manifest.is_file() or sha256_hex(manifest.read_bytes()) != bundle.digest:
        return False
    paths = {entry.name: copy / entry.name for entry in bundle.manifest.files}
    return all(
        paths[entry.name].is_file() and paths[entry.name].stat().st_size == entry.size_bytes
        for entry in bundle.manifest.files
    )


def _write(bundle: Bundle, folder: Path, fresh: Path) -> None:
    disk = Disk()
    shutil.rmtree(fresh, ignore_errors=True)
    disk.make_folder(fresh)
    for name in (*(entry.name for entry in bundle.manifest.files), MANIFEST_NAME):
        disk.write(fresh / name, (folder / name).read_bytes())
        disk.sync(fresh / name)
    disk.sync_folder(fresh)
    if read_folder(fresh).digest != bundle.digest:
        raise BundleError("another bundle was installed meanwhile")
