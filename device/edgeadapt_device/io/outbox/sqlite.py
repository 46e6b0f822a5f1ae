"""The outbox on disk: SQLite in WAL mode, one transaction per message, one thread at a time.

`durability` "normal" survives a killed process; a power cut can then lose the last messages, but never
makes a sequence come twice. "full" survives both. A damaged file, or one whose content cannot be ours, is
moved aside, and a new outbox with a new id takes its place: what was in it is lost, the device goes on. See
`io.outbox` for the contract.
"""

from __future__ import annotations

import itertools
import re
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from edgeadapt.errors import ConfigError, TransportError
from edgeadapt_device.core.uplink.rows import PendingRow
from edgeadapt_device.io.outbox import (
    Storable,
    StoredRow,
    encode_row,
    kind_of,
    new_outbox_id,
    value_of,
)

SCHEMA_VERSION = 1
RESERVED_BLOCK = 4096
_TABLES = (
    "CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID",
    "CREATE TABLE rows (sequence INTEGER PRIMARY KEY AUTOINCREMENT, kind TEXT NOT NULL,"
    " lane_rank INTEGER, entropy REAL, size_bytes INTEGER NOT NULL, payload BLOB NOT NULL)",
    "CREATE INDEX by_value ON rows (lane_rank, entropy, sequence) WHERE lane_rank IS NOT NULL",
)


_NAMES = {"meta", "rows", "by_value"}
# Rows that this code cannot have written.
_ODD_ROWS = (
    "SELECT COUNT(*) FROM rows WHERE kind NOT IN ('sample', 'descriptor', 'signature', 'outcome')"
    " OR sequence < 1 OR sequence >= ? OR typeof(size_bytes) != 'integer' OR typeof(payload) != 'blob'"
    " OR size_bytes != length(payload)"
)


class _Damaged(sqlite3.DatabaseError):
    """The file is a database, but not what this code wrote."""


class SqliteOutbox:
    """`io.outbox.Outbox` in one file."""

    def __init__(
        self,
        path: Path,
        *,
        max_bytes: int = 256 << 20,
        durability: Literal["normal", "full"] = "normal",
        report: Callable[[str], None] | None = None,
    ) -> None:
        """Open or make the outbox at `path`.

        Args:
            path: the database file.
            max_bytes: payload bytes beyond which samples are dropped.
            durability: see the module.
            report: told when a damaged file was moved aside.

        Raises:
            TransportError: the disk refuses, or another process holds the file.
            ConfigError: the file was made by another release.
        """
        self._path, self._max_bytes = path, max_bytes
        self._synchronous = durability.upper()
        try:
            self._open()
        except (sqlite3.DatabaseError, UnicodeDecodeError) as error:
            # Damage comes as the bare class or as ours, or in a message that is no text; locks, a full disk
            # and the like come as subclasses.
            if type(error) not in (sqlite3.DatabaseError, _Damaged, UnicodeDecodeError):
                raise TransportError(f"{path}: cannot be opened: {error}") from error
            aside = self._move_aside()
            if report is not None:
                report(f"{path} is damaged ({error}): moved to {aside}, started a new outbox")
            with self._translated():
                self._open()
        except OSError as error:
            raise TransportError(f"{path}: cannot be opened: {error}") from error

    @property
    def outbox_id(self) -> str:
        """Random, made with the file."""
        return self._outbox_id

    @property
    def size_bytes(self) -> int:
        """Payload bytes of all rows."""
        return self._size_bytes

    def __len__(self) -> int:
        """Rows."""
        return self._count

    def store(self, message: Storable) -> StoredRow:
        """Fill in outbox and sequence, encode, and make durable; raises TransportError."""
        with self._translated():
            self._reserve()
            sequence, kind = self._next_sequence, kind_of(message)
            # Used up even when the insert fails: a failed commit may have reached the disk.
            self._next_sequence += 1
            payload = encode_row(message, self._outbox_id, sequence)
            rank, entropy = value_of(message) or (None, None)
            with self._transaction():
                self._db.execute(
                    "INSERT INTO rows VALUES (?, ?, ?, ?, ?, ?)",
                    (sequence, kind, rank, entropy, len(payload), payload),
                )
                dropped, freed_bytes = self._make_room(self._size_bytes + len(payload) - self._max_bytes)
            self._size_bytes += len(payload) - freed_bytes
            self._count += 1 - len(dropped)
        return StoredRow(sequence, kind, len(payload), dropped)

    def payload(self, sequence: int) -> tuple[str, bytes] | None:
        """(kind, MQTT payload) of a row, None when it is gone; raises TransportError."""
        with self._translated():
            row = self._db.execute(
                "SELECT kind, payload FROM rows WHERE sequence = ?", (sequence,)
            ).fetchone()
        return None if row is None else (str(row[0]), bytes(row[1]))

    def forget(self, sequences: tuple[int, ...]) -> None:
        """Delete rows, unknown ones are ignored; raises TransportError."""
        with self._translated():
            with self._transaction():
                count, freed_bytes = self._delete(sequences)
            self._count -= count
            self._size_bytes -= freed_bytes

    def pending(self) -> tuple[PendingRow, ...]:
        """All rows, oldest first; raises TransportError."""
        with self._translated():
            rows = self._db.execute(
                "SELECT sequence, kind, size_bytes FROM rows ORDER BY sequence"
            ).fetchall()
        return tuple(PendingRow(int(sequence), str(kind), int(size)) for sequence, kind, size in rows)

    def close(self) -> None:
        """Give back the unused reserved sequences and close; raises TransportError."""
        with self._translated():
            try:
                self._write_reserved(self._next_sequence)
            finally:
                self._db.close()

    def _open(self) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        # One thread at a time; an agent's is not always the same.
        self._db = sqlite3.connect(self._path, isolation_level=None, timeout=5.0, check_same_thread=False)
        try:
            self._prepare()
        except BaseException:
            self._db.close()
            raise

    def _prepare(self) -> None:
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA journal_size_limit = 4194304")
        self._db.execute(f"PRAGMA synchronous = {self._synchronous}")
        verdict = self._db.execute("PRAGMA quick_check(1)").fetchone()[0]
        if verdict != "ok":
            raise sqlite3.DatabaseError(verdict)
        version = self._db.execute("PRAGMA user_version").fetchone()[0]
        names = self._names()
        if version == 0 and not names:
            self._create()
        elif version not in (0, SCHEMA_VERSION):
            raise ConfigError(
                f"{self._path}: version {version}, this release reads {SCHEMA_VERSION}: move it"
            )
        elif version == 0 or not names >= _NAMES:
            raise _Damaged(f"version {version} with only {', '.join(sorted(names)) or 'nothing'} in it")
        self._outbox_id, reserved = self._read_meta()
        # After a crash the rest of the reserved block is skipped: part of it may have been used.
        self._next_sequence = self._reserved = reserved
        if self._db.execute(_ODD_ROWS, (reserved,)).fetchone()[0]:
            raise _Damaged("it holds rows that cannot be ours")
        # A read-only disk would be noticed with the first message, and that lost.
        with self._transaction():
            self._db.execute("UPDATE meta SET value = value WHERE key = 'reserved'")
        count, size = self._db.execute("SELECT COUNT(*), COALESCE(SUM(size_bytes), 0) FROM rows").fetchone()
        self._count, self._size_bytes = int(count), int(size)

    def _names(self) -> set[str]:
        """Tables and indices, without SQLite's own."""
        found = self._db.execute("SELECT CAST(name AS BLOB) FROM sqlite_master").fetchall()
        names = {bytes(name or b"").decode("ascii", "replace") for (name,) in found}
        return {name for name in names if not name.startswith("sqlite_")}

    def _read_meta(self) -> tuple[str, int]:
        """(outbox id, first sequence that was never reserved)."""
        # As bytes: what is no text would be an error of another kind.
        found = self._db.execute("SELECT CAST(key AS BLOB), CAST(value AS BLOB) FROM meta").fetchall()
        meta = {bytes(key or b""): bytes(value or b"") for key, value in found}
        outbox_id, reserved = meta.get(b"outbox_id", b""), meta.get(b"reserved", b"")
        if not re.fullmatch(rb"[0-9a-f]{32}", outbox_id) or not re.fullmatch(rb"[1-9][0-9]{0,17}", reserved):
            raise _Damaged("its id or its counter is missing or not one")
        return outbox_id.decode(), int(reserved)

    def _create(self) -> None:
        with self._transaction():
            for table in _TABLES:
                self._db.execute(table)
            self._db.execute(
                "INSERT INTO meta VALUES ('outbox_id', ?), ('reserved', '1')", (new_outbox_id(),)
            )
            self._db.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")

    def _reserve(self) -> None:
        if self._next_sequence >= self._reserved:
            self._write_reserved(self._next_sequence + RESERVED_BLOCK)

    def _write_reserved(self, reserved: int) -> None:
        """Every sequence from `reserved` on is unused; on the disk when this returns."""
        self._db.execute("PRAGMA synchronous = FULL")
        self._db.execute("UPDATE meta SET value = ? WHERE key = 'reserved'", (str(reserved),))
        self._db.execute(f"PRAGMA synchronous = {self._synchronous}")
        self._reserved = reserved

    def _make_room(self, excess_bytes: int) -> tuple[tuple[int, ...], int]:
        """Drop the least valuable samples until `excess_bytes` are free; (sequences, bytes freed)."""
        if excess_bytes <= 0:
            return (), 0
        dropped: list[int] = []
        found_bytes = 0
        cursor = self._db.execute(
            "SELECT sequence, size_bytes FROM rows WHERE lane_rank IS NOT NULL"
            " ORDER BY lane_rank, entropy, sequence"
        )
        for sequence, size in cursor:
            dropped.append(int(sequence))
            found_bytes += int(size)
            if found_bytes >= excess_bytes:
                break
        cursor.close()
        self._delete(tuple(dropped))
        return tuple(dropped), found_bytes

    def _delete(self, sequences: tuple[int, ...]) -> tuple[int, int]:
        """(rows, bytes) that were deleted."""
        count = freed_bytes = 0
        for sequence in sequences:
            row = self._db.execute("SELECT size_bytes FROM rows WHERE sequence = ?", (sequence,)).fetchone()
            if row is not None:
                self._db.execute("DELETE FROM rows WHERE sequence = ?", (sequence,))
                count, freed_bytes = count + 1, freed_bytes + int(row[0])
        return count, freed_bytes

    def _move_aside(self) -> Path:
        """Move the file, with what SQLite keeps beside it, to the first free name; returns that."""
        numbers = itertools.chain([""], (f".{number}" for number in itertools.count(2)))
        names = (self._path.with_name(f"{self._path.name}.damaged{number}") for number in numbers)
        aside = next(name for name in names if not name.exists())
        try:
            for suffix in ("-shm", "-wal", ""):
                part = self._path.with_name(self._path.name + suffix)
                if part.exists():
                    part.replace(aside.with_name(aside.name + suffix))
        except OSError as error:
            raise TransportError(f"{self._path}: is damaged and cannot be moved: {error}") from error
        return aside

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._db.execute("COMMIT")
        except BaseException:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, UnicodeDecodeError, OSError) as error:
            raise TransportError(f"{self._path}: {error}") from error
