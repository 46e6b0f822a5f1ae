"""A demo's folder: it is removed from, so it must be the demo's own, and one demo's at a time.

A marker file says that a demo made the folder; it is locked while one runs there. A folder that holds
anything else is refused, before anything in it is touched.
"""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from edgeadapt.errors import ConfigError

MARKER = ".edgeadapt-demo"


def own(out: Path) -> Path:
    """Make `out`, or recognise it as a demo's; returns its marker.

    Raises:
        ConfigError: it holds files of somebody else, or cannot be made.
    """
    marker = out / MARKER
    try:
        out.mkdir(parents=True, exist_ok=True)
        if not marker.exists() and any(out.iterdir()):
            raise ConfigError(
                f"{out} is not empty and was not made by a demo, which would remove files there: "
                "name a new folder with --out"
            )
        marker.touch()
    except OSError as error:
        raise ConfigError(f"cannot use {out} as a demo's folder: {error}") from error
    return marker


@contextmanager
def held(out: Path) -> Iterator[None]:
    """Inside the block no other demo runs in `out`; raises ConfigError when one does already."""
    with own(out).open("r+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ConfigError(f"another demo runs in {out}: name another folder with --out") from error
        yield
