"""Where and with what a figure was made: goes beside every figure that is kept."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable
from datetime import datetime, timezone
from importlib.metadata import version

from edgeadapt import __version__


def versions(packages: Iterable[str]) -> dict[str, str]:
    """Versions of ours, of Python, and of the packages."""
    ours = {"edgeadapt": __version__, "python": platform.python_version()}
    return ours | {name: version(name) for name in packages}


def machine() -> str:
    """System, architecture and number of cores, in words."""
    return f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores"


def now() -> str:
    """Now, in UTC, to the second (ISO 8601)."""
    return datetime.now(timezone.utc).isoformat(timespec="seconds")
