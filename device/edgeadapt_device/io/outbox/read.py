"""An outbox as an operator sees it: read only, while a device uses it or when none does.

What is shown is exactly what would leave: the rows, their payloads, their pictures. Whether a row was sent is
not known here, only that the server has not acknowledged it.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import msgspec

from edgeadapt.clock import Instant
from edgeadapt.errors import ConfigError
from edgeadapt_device.io.outbox.base import system_clock
from edgeadapt_device.io.outbox.lived import Lived
from edgeadapt_device.io.outbox.schema import ANNOUNCED, HELD, SCHEMA_VERSION, TO_SEND, storable
from edgeadapt_device.io.outbox.worth import Storable

State = Literal["to send", "held", "announced"]
_STATES: dict[int, State] = {TO_SEND: "to send", HELD: "held", ANNOUNCED: "announced"}


class Shown(msgspec.Struct, frozen=True):
    """One row.

    Attributes:
        sequence: its number in the outbox.
        kind: sample, descriptor, signature or outcome.
        lane: of a sample, else "".
        verdict: of a sample, else "".
        state: to be sent (and perhaps sent already), held until the server wants it, or announced to it.
        size_bytes: of the message.
        age_s: for how long it has been here, as the retention counts.
        stored_s: wall clock at which it was stored.
    """

    sequence: int
    kind: str
    lane: str
    verdict: str
    state: State
    size_bytes: int
    age_s: float
    stored_s: float


def read_rows(path: Path, retention_s: float, now: Instant | None = None) -> tuple[Shown, ...]:
    """All rows, oldest first; raises ConfigError when there is no outbox, or it cannot be read."""
    with _opened(path) as db:
        meta = {str(key): str(value) for key, value in db.execute("SELECT key, value FROM meta")}
        lived_s, saved_s = float(meta.get("lived_s", "0")), float(meta.get("saved_wall_s", "0"))
        moment = now if now is not None else system_clock()
        today_s = Lived(lived_s, saved_s, moment, most_gap_s=retention_s / 2.0).at(moment)
        found = db.execute(
            "SELECT sequence, kind, lane, verdict, state, size_bytes, lived_s, stored_s"
            " FROM rows JOIN about USING (sequence) ORDER BY sequence"
        )
        return tuple(
            Shown(sequence, kind, lane, verdict, _STATES[state], size, max(today_s - born_s, 0.0), stored_s)
            for sequence, kind, lane, verdict, state, size, born_s, stored_s in found
        )


def read_message(path: Path, sequence: int) -> Storable | None:
    """The message in a row, None when there is no such row; raises ConfigError as `read_rows`."""
    with _opened(path) as db:
        row = db.execute("SELECT payload FROM rows WHERE sequence = ?", (sequence,)).fetchone()
    if row is None:
        return None
    message = storable(bytes(row[0]))
    if message is None:
        raise ConfigError(f"{path}: row {sequence} holds no message that this release knows")
    return message


@contextmanager
def _opened(path: Path) -> Iterator[sqlite3.Connection]:
    if not path.is_file():
        raise ConfigError(f"{path} is not there: the device has not run yet, or has another state_dir")
    try:
        db = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=5.0)
    except sqlite3.Error as error:
        raise ConfigError(f"{path} cannot be opened: {error}") from error
    try:
        version = int(db.execute("PRAGMA user_version").fetchone()[0])
        if version != SCHEMA_VERSION:
            older = "; starting the device once brings it up to date" if version == 1 else ""
            raise ConfigError(f"{path}: version {version}, this release reads {SCHEMA_VERSION}{older}")
        yield db
    except (sqlite3.Error, ValueError, KeyError) as error:
        raise ConfigError(
            f"{path} cannot be read: {error}. Read it as the user whose folder it is, or as root"
        ) from error
    finally:
        db.close()
