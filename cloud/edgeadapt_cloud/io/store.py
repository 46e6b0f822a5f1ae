"""The SQLite store: WAL, full synchronisation, one transaction per batch, one thread.

A device's message is inserted once per (device, outbox, sequence); everything else replaces the row with
the same key. sqlite3's errors become TransportError (try again) or, on opening, ConfigError (the file is
not ours or is damaged). Blobs are not here (`io.blobs`), nor is reading for people (`io.report`).
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from edgeadapt.errors import ConfigError, TransportError, WireError
from edgeadapt.wire import Outcome, decode, encode, pack_vector
from edgeadapt_cloud.core.effects import Quarantine
from edgeadapt_cloud.core.events import RollbackOrdered
from edgeadapt_cloud.core.rows import (
    CohortRow,
    Commit,
    DeviceRow,
    JobRow,
    Origin,
    OutcomeRow,
    PatchRow,
    Record,
    SampleRow,
    SegmentRow,
    SignatureRow,
    Snapshot,
    StoredSample,
    WantRow,
)
from edgeadapt_cloud.io.rowcodec import decode_row, encode_row, float_array
from edgeadapt_cloud.io.schema import MIGRATIONS, SCHEMA_VERSION, TABLES

DATABASE_NAME = "cloud.sqlite"
QUARANTINED_BYTES = 4096
_CHECKED_BYTES = 256 << 20


class SqliteStore:
    """`io.ports.Store` in one file, or in memory."""

    def __init__(self, path: Path | None, *, quarantine_kept: int = 1000, timeout_s: float = 10.0) -> None:
        """Open or make the database at `path` (None: in memory); a lock is waited for up to `timeout_s`.

        Raises:
            ConfigError: it cannot be opened, is damaged, or is of another version.
        """
        self._kept = quarantine_kept
        self.name = str(path or "the database in memory")
        try:
            if path is not None:
                path.parent.mkdir(parents=True, exist_ok=True)
            self._db = sqlite3.connect(path or ":memory:", isolation_level=None, timeout=timeout_s)
        except (sqlite3.Error, OSError) as error:
            raise ConfigError(f"{path}: cannot be opened as a database: {error}") from error
        try:
            self._prepare(path)
        except sqlite3.Error as error:
            self._db.close()
            raise ConfigError(
                f"{path}: damaged, or not a database of edgeadapt ({error}); restore it from a backup, "
                "or move it away to begin with an empty one"
            ) from error
        except ConfigError:
            self._db.close()
            raise

    def _prepare(self, path: Path | None) -> None:
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = FULL")
        version = int(self._db.execute("PRAGMA user_version").fetchone()[0])
        tables = int(self._db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0])
        if version == 0 and tables == 0:
            self._db.executescript(f"BEGIN; {TABLES} PRAGMA user_version = {SCHEMA_VERSION}; COMMIT;")
        elif version != SCHEMA_VERSION and version not in MIGRATIONS:
            raise ConfigError(f"{path}: schema version {version}, this release reads {SCHEMA_VERSION}")
        elif path is not None and path.stat().st_size <= _CHECKED_BYTES:
            found = str(self._db.execute("PRAGMA quick_check(1)").fetchone()[0])
            if found != "ok":
                raise sqlite3.DatabaseError(found)
        for older in range(version or SCHEMA_VERSION, SCHEMA_VERSION):
            self._db.executescript(f"BEGIN; {MIGRATIONS[older]} PRAGMA user_version = {older + 1}; COMMIT;")

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing; raises TransportError when the database will not have it."""
        self._run("BEGIN IMMEDIATE")
        try:
            yield
            self._run("COMMIT")
        except BaseException:
            if self._db.in_transaction:
                self._db.rollback()
            raise

    def commit(self, row: Commit, received_s: float) -> tuple[bool, int]:
        """Keep a device's message once; returns (fresh, arrival)."""
        origin, kind = row.origin, type(row).__name__.removesuffix("Row").lower()
        key = (origin.device, origin.outbox, origin.sequence)
        made = self._run(
            "INSERT OR IGNORE INTO messages (device, outbox, sequence, kind, received_s) VALUES (?,?,?,?,?)",
            *key,
            kind,
            received_s,
        )
        if not made.rowcount:
            where = "SELECT arrival FROM messages WHERE device=? AND outbox=? AND sequence=?"
            return False, int(self._run(where, *key).fetchone()[0])
        arrival = int(made.lastrowid or 0)
        self._insert(row, arrival)
        return True, arrival

    def _insert(self, row: Commit, arrival: int) -> None:
        if isinstance(row, SampleRow):
            self._put(
                "samples", arrival, row.segment, row.lane, row.codec, row.sha256, row.entropy, row.predicted,
                row.generation, row.captured_s, row.verdict, row.chance, row.altered,
            )  # fmt: skip
        elif isinstance(row, SignatureRow):
            vectors = (pack_vector(row.vector), pack_vector(row.mean), pack_vector(row.var))
            self._put(
                "signatures", row.origin.device, row.origin.outbox, row.segment, arrival,
                row.origin.sequence, row.frames, *vectors, row.drift,
            )  # fmt: skip
        elif isinstance(row, OutcomeRow):
            said = row.outcome
            self._put("outcomes", arrival, said.cohort, said.serial, said.patch, said.state, encode(said))

    def save(self, record: Record) -> None:
        """Keep a record in place of the one with the same key."""
        if isinstance(record, SegmentRow):
            self._put("segments", record.device, record.outbox, record.segment, record.cohort)
        elif isinstance(record, DeviceRow):
            self._put("devices", record.device, record.seen_s, encode_row(record))
        elif isinstance(record, CohortRow):
            self._put("cohorts", record.cohort, record.serial, encode_row(record))
        elif isinstance(record, JobRow):
            self._put("jobs", record.job, record.cohort, record.state, encode_row(record))
        elif isinstance(record, WantRow):
            about = (record.thing, record.lane, record.state)
            self._put("wants", *record.key, *about, encode_row(record))
        else:
            assert isinstance(record, PatchRow)
            key = (record.cohort, record.serial, record.digest, record.stage.value)
            self._put("patches", *key, encode_row(record))

    def forget_cohort(self, cohort: str) -> None:
        """Take out a cohort and what says which segments are in it."""
        self._run("DELETE FROM cohorts WHERE cohort = ?", cohort)
        self._run("DELETE FROM segments WHERE cohort = ?", cohort)

    def forget_wants(self, keys: tuple[tuple[str, str, int], ...]) -> None:
        """Take out announced samples, by (device, outbox, sample)."""
        for key in keys:
            self._run("DELETE FROM wants WHERE device = ? AND outbox = ? AND sample = ?", *key)

    def quarantine(self, item: Quarantine, received_s: float) -> None:
        """Count a bad message and keep its beginning; the oldest beyond the limit are let go."""
        topic = item.topic.encode("utf-8", "replace").decode()[:512]
        made = self._run(
            "INSERT INTO quarantine (received_s, topic, reason, detail, size_bytes, payload)"
            " VALUES (?,?,?,?,?,?)",
            received_s,
            topic,
            item.reason,
            item.detail[:512],
            len(item.payload),
            item.payload[:QUARANTINED_BYTES],
        )
        self._run("DELETE FROM quarantine WHERE id <= ?", int(made.lastrowid or 0) - self._kept)
        self._run(
            "INSERT INTO counters VALUES (?, 1) ON CONFLICT (name) DO UPDATE SET value = value + 1",
            f"quarantined.{item.reason}",
        )

    def take_order(self) -> RollbackOrdered | None:
        """Remove and return the oldest order that an operator left, if there is one."""
        row = self._run("SELECT id, cohort, to_base FROM orders ORDER BY id LIMIT 1").fetchone()
        if row is None:
            return None
        self._run("DELETE FROM orders WHERE id = ?", row[0])
        return RollbackOrdered(str(row[1]), bool(row[2]))

    def begin_epoch(self, started_s: float) -> int:
        """Note that a service starts; returns a number that rises with each start."""
        return int(self._run("INSERT INTO starts (started_s) VALUES (?)", started_s).lastrowid or 0)

    def snapshot(self) -> Snapshot:
        """Everything the core needs; raises ConfigError on a row that cannot be read."""
        samples = self._run(
            "SELECT device, outbox, segment, arrival, sha256, lane, verdict, predicted, chance, generation,"
            " altered FROM samples JOIN messages USING (arrival) ORDER BY arrival"
        )
        segments = self._run("SELECT device, outbox, segment, cohort FROM segments ORDER BY rowid")
        return Snapshot(
            devices=self._bodies("devices ORDER BY device", DeviceRow),
            cohorts=self._bodies("cohorts ORDER BY rowid", CohortRow),
            segments=tuple(SegmentRow(*row) for row in segments),
            signatures=self._signatures(),
            samples=tuple(map(_stored_sample, samples)),
            jobs=self._bodies("jobs ORDER BY job", JobRow),
            patches=self._bodies("patches ORDER BY cohort, serial", PatchRow),
            outcomes=self._outcomes(),
            wants=self._bodies("wants ORDER BY rowid", WantRow),
        )

    def close(self) -> None:
        """Let go of the file."""
        self._db.close()

    def _signatures(self) -> tuple[SignatureRow, ...]:
        rows = self._run(
            "SELECT device, outbox, sequence, segment, frames, vector, mean, var, drift"
            " FROM signatures ORDER BY arrival"
        )
        reports = []
        for device, outbox, sequence, segment, frames, vector, mean, var, drift in rows:
            vectors = (float_array(vector), float_array(mean), float_array(var))
            reports.append(SignatureRow(Origin(device, outbox, sequence), segment, frames, *vectors, drift))
        return tuple(reports)

    def _outcomes(self) -> tuple[OutcomeRow, ...]:
        rows = self._run(
            "SELECT device, outbox, sequence, message FROM outcomes JOIN messages USING (arrival)"
            " ORDER BY arrival"
        )
        told = []
        for *origin, message in rows:
            try:
                outcome = decode(message, Outcome)
            except WireError as error:
                raise ConfigError(f"the database holds an outcome that cannot be read: {error}") from error
            assert isinstance(outcome, Outcome)
            told.append(OutcomeRow(Origin(*origin), outcome))
        return tuple(told)

    def _bodies(self, table: str, kind: type[Any]) -> tuple[Any, ...]:
        return tuple(decode_row(row[0], kind) for row in self._run(f"SELECT body FROM {table}"))

    def _put(self, table: str, *values: object) -> None:
        marks = ",".join("?" * len(values))
        self._run(f"INSERT OR REPLACE INTO {table} VALUES ({marks})", *values)

    def _run(self, statement: str, *values: object) -> sqlite3.Cursor:
        try:
            return self._db.execute(statement, values)
        except sqlite3.Error as error:
            raise TransportError(f"the database: {error}") from error


def _stored_sample(row: tuple[Any, ...]) -> StoredSample:
    """SQLite has no booleans."""
    fields: list[Any] = [*row[:-1], bool(row[-1])]
    return StoredSample(*fields)
