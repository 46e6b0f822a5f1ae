"""The outbox's tables (version 2), and how a file of version 1 becomes one, in place.

Version 1 had one table: `rows`, with what was to go first told by (lane_rank, entropy), for two lanes, one of
which was called "uniform" and is called "audit" now. Its rows keep their sequences and their payloads.
What is small stands before the payload, or in a table of its own, `about`: to read it no picture is read.
"""

from __future__ import annotations

import sqlite3

import msgspec

from edgeadapt.errors import WireError
from edgeadapt.wire import Descriptors, Outcome, Sample, SignatureReport, decode
from edgeadapt_device.core.uplink.rows import PendingRow, Waiting
from edgeadapt_device.io.outbox.base import lane_of
from edgeadapt_device.io.outbox.worth import Storable, worth_of

SCHEMA_VERSION = 2
#: States of a row: to be sent, held and not announced, held and announced.
TO_SEND, HELD, ANNOUNCED = 0, 1, 2
TABLES = (
    "CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID",
    "CREATE TABLE rows (sequence INTEGER PRIMARY KEY AUTOINCREMENT, kind TEXT NOT NULL,"
    " rank INTEGER, value REAL, size_bytes INTEGER NOT NULL, payload BLOB NOT NULL)",
    "CREATE INDEX by_value ON rows (rank, value, sequence) WHERE rank IS NOT NULL",
)
ABOUT = (
    "CREATE TABLE about (sequence INTEGER PRIMARY KEY, lane TEXT NOT NULL, verdict TEXT NOT NULL,"
    " state INTEGER NOT NULL, stored_s REAL NOT NULL, lived_s REAL NOT NULL, waiting BLOB)"
)
NAMES = {"meta", "rows", "by_value", "about"}
NAMES_1 = {"meta", "rows", "by_value"}
# Rows that this code cannot have written.
ODD_ROWS = (
    "SELECT COUNT(*) FROM rows WHERE kind NOT IN ('sample', 'descriptor', 'signature', 'outcome')"
    " OR sequence < 1 OR sequence >= ? OR typeof(size_bytes) != 'integer' OR typeof(payload) != 'blob'"
    " OR size_bytes != length(payload)"
)
ODD_ABOUT = (
    "SELECT (SELECT COUNT(*) FROM rows) != (SELECT COUNT(*) FROM about)"
    " OR EXISTS (SELECT 1 FROM about LEFT JOIN rows USING (sequence) WHERE rows.sequence IS NULL"
    " OR state NOT IN (0, 1, 2) OR typeof(stored_s) != 'real' OR typeof(lived_s) != 'real'"
    " OR (state != 0 AND typeof(waiting) != 'blob'))"
)


def create(db: sqlite3.Connection, outbox_id: str) -> None:
    """Make the tables, inside the caller's transaction."""
    for table in (*TABLES, ABOUT):
        db.execute(table)
    db.execute("INSERT INTO meta VALUES ('outbox_id', ?), ('reserved', '1')", (outbox_id,))
    db.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")


def migrate(db: sqlite3.Connection, wall_s: float) -> None:
    """From version 1, inside the caller's transaction: its rows are new as of `wall_s`, and to be sent."""
    db.execute("ALTER TABLE rows RENAME COLUMN lane_rank TO rank")
    db.execute("ALTER TABLE rows RENAME COLUMN entropy TO value")
    db.execute(ABOUT)
    for (sequence,) in db.execute("SELECT sequence FROM rows ORDER BY sequence").fetchall():
        payload = bytes(db.execute("SELECT payload FROM rows WHERE sequence = ?", (sequence,)).fetchone()[0])
        renamed = _renamed(payload)
        if renamed != payload:
            change = "UPDATE rows SET payload = ?, size_bytes = ? WHERE sequence = ?"
            db.execute(change, (renamed, len(renamed), sequence))
        message = storable(renamed)
        lane = lane_of(message) if message is not None else ""
        verdict = message.verdict if isinstance(message, Sample) else ""
        worth = worth_of(message, len(renamed)) if message is not None else None
        rank, value = worth if worth is not None else (None, None)
        db.execute("UPDATE rows SET rank = ?, value = ? WHERE sequence = ?", (rank, value, sequence))
        about = (sequence, lane, verdict, TO_SEND, float(wall_s), 0.0, None)
        db.execute("INSERT INTO about VALUES (?, ?, ?, ?, ?, ?, ?)", about)
    db.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")


def pending_row(
    sequence: int, kind: str, size_bytes: int, lane: str, state: int, waiting: bytes | None
) -> PendingRow:
    """From the columns of both tables."""
    found = None
    if state != TO_SEND and waiting is not None:
        try:
            found = msgspec.msgpack.decode(waiting, type=Waiting)
        except (msgspec.DecodeError, UnicodeDecodeError):
            # What it waits with is lost, the sample is not: it is sent as any other.
            found = None
    return PendingRow(
        int(sequence), str(kind), int(size_bytes), str(lane), found, found is not None and state == ANNOUNCED
    )


def stored_under_others(db: sqlite3.Connection, stamp: str) -> tuple[int, ...]:
    """Samples whose pictures were not changed as `stamp` says; none when it says nothing, or nothing new."""
    found = db.execute("SELECT value FROM meta WHERE key = 'redaction'").fetchone()
    if stamp in ("", "" if found is None else str(found[0])):
        return ()
    rows = db.execute("SELECT sequence FROM rows WHERE kind = 'sample' ORDER BY sequence").fetchall()
    return tuple(int(row[0]) for row in rows)


def storable(payload: bytes) -> Storable | None:
    """The message in a row, None when it is none."""
    try:
        message = decode(payload)
    except WireError:
        return None
    return message if isinstance(message, (Sample, Descriptors, SignatureReport, Outcome)) else None


def _renamed(payload: bytes) -> bytes:
    """A sample of the lane that had another name, under the one it has now."""
    try:
        fields = msgspec.msgpack.decode(payload, type=dict[str, object])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return payload
    if fields.get("type") != "sample" or fields.get("lane") != "uniform":
        return payload
    return msgspec.msgpack.encode({**fields, "lane": "audit"})
