"""Where data lies on this machine: the only module of this package that reads the environment.

Every loader takes its folders as arguments; these functions are the defaults a caller passes when the user
said nothing.
"""

import os
from pathlib import Path

CIFAR10_VARIABLE = "EDGEADAPT_CIFAR10"


def default_cache_dir() -> Path:
    """The folder for downloads: ``$XDG_CACHE_HOME/edgeadapt``, or ``~/.cache/edgeadapt``."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(base) if base else Path.home() / ".cache") / "edgeadapt"


def default_root(name: str) -> Path | None:
    """The folder the user's environment names for data set ``name``, or None where it names none."""
    folder = os.environ.get(CIFAR10_VARIABLE, "") if name == "cifar10" else ""
    return Path(folder) if folder else None
