"""Opens the database of a service for people to read, without disturbing it; it may be running or not."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from edgeadapt.errors import ConfigError
from edgeadapt_cloud.io.schema import MIGRATIONS, SCHEMA_VERSION


@contextmanager
def opened(path: Path, mode: Literal["ro", "rw"]) -> Iterator[sqlite3.Connection]:
    """The database at `path`, in one transaction.

    Raises:
        ConfigError: it is not there, of another version, or cannot be read, also in what is done with it.
    """
    if not path.is_file():
        raise ConfigError(f"{path} is not there: has the service ever run with this configuration?")
    try:
        db = sqlite3.connect(f"{path.absolute().as_uri()}?mode={mode}", uri=True, timeout=10.0)
    except sqlite3.Error as error:
        raise ConfigError(f"{path} cannot be opened: {error}") from error
    try:
        version = int(db.execute("PRAGMA user_version").fetchone()[0])
        if version != SCHEMA_VERSION:
            older = "; starting the service once brings it up to date" if version in MIGRATIONS else ""
            raise ConfigError(f"{path}: schema version {version}, this release reads {SCHEMA_VERSION}{older}")
        with db:
            yield db
    except sqlite3.Error as error:
        raise ConfigError(f"{path} cannot be read: {error}") from error
    finally:
        db.close()
