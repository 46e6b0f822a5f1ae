"""The outbox on disk: SQLite in WAL mode, one transaction per message, one thread at a time.

`durability` "normal" survives a killed process; a power cut can then lose the last messages, but never
makes a sequence come twice. "full" survives both. A damaged file, or one whose content cannot be ours, is
moved aside, and a new outbox with a new id takes its place: what was in it is lost, the device goes on.

With a retention, rows older than it are deleted (`lived` says how old that is), and whatever is deleted is
overwritten with zeros in the file, and soon after in the WAL. What a flash disk or a file system keeps of
overwritten blocks is theirs: where that matters, encrypt the disk. See `io.outbox` for the contract, and
`schema` for the tables.
"""

from __future__ import annotations

import itertools
import re
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import msgspec

from edgeadapt.errors import ConfigError, TransportError
from edgeadapt.wire import Descriptors, Sample
from edgeadapt_device.core.uplink.rows import PendingRow, Waiting
from edgeadapt_device.io.outbox.base import (
    Clock,
    StoredRow,
    encode_row,
    filled_in,
    kind_of,
    lane_of,
    new_outbox_id,
    system_clock,
)
from edgeadapt_device.io.outbox.lived import Lived
from edgeadapt_device.io.outbox.schema import (
    ANNOUNCED,
    HELD,
    NAMES,
    NAMES_1,
    ODD_ABOUT,
    ODD_ROWS,
    SCHEMA_VERSION,
    TO_SEND,
    create,
    migrate,
    pending_row,
    stored_under_others,
)
from edgeadapt_device.io.outbox.worth import REPORT_RESERVE_BYTES, Storable, worth_of

RESERVED_BLOCK = 4096
# How much of the time that a row has lived a killed process may forget.
_SAVE_EVERY_S = 60.0


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
        retention_s: float = 0.0,
        report: Callable[[str], None] | None = None,
        clock: Clock = system_clock,
    ) -> None:
        """Open or make the outbox at `path`.

        Args:
            path: the database file.
            max_bytes: payload bytes beyond which samples are dropped.
            durability: see the module.
            retention_s: age beyond which `expire` deletes rows; 0 keeps them for ever.
            report: told when a damaged file was moved aside.
            clock: dates the rows.

        Raises:
            TransportError: the disk refuses, or another process holds the file.
            ConfigError: the file was made by another release.
        """
        self._path, self._max_bytes = path, max_bytes
        self._retention_s, self._clock = retention_s, clock
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

    def store(self, message: Storable, *, waiting: Waiting | None = None, age_s: float = 0.0) -> StoredRow:
        """Fill in outbox and sequence, encode, and make durable; raises TransportError."""
        with self._translated():
            self._reserve()
            sequence, kind = self._next_sequence, kind_of(message)
            # Used up even when the insert fails: a failed commit may have reached the disk.
            self._next_sequence += 1
            payload = encode_row(message, self._outbox_id, sequence)
            waiting = filled_in(waiting, sequence, len(payload))
            with self._transaction():
                self._insert(sequence, kind, message, payload, waiting, age_s)
                dropped, freed_bytes = self._make_room(self._size_bytes + len(payload) - self._max_bytes)
            self._size_bytes += len(payload) - freed_bytes
            self._count += 1 - len(dropped)
        return StoredRow(sequence, kind, len(payload), dropped, waiting)

    def _insert(
        self,
        sequence: int,
        kind: str,
        message: Storable,
        payload: bytes,
        waiting: Waiting | None,
        age_s: float,
    ) -> None:
        rank, value = worth_of(message, len(payload)) or (None, None)
        row = (sequence, kind, rank, value, len(payload), payload)
        self._db.execute("INSERT INTO rows VALUES (?, ?, ?, ?, ?, ?)", row)
        now, verdict = self._clock(), message.verdict if isinstance(message, Sample) else ""
        held = (HELD, msgspec.msgpack.encode(waiting)) if waiting is not None else (TO_SEND, None)
        dates = (now.wall_s - age_s, self._lived.at(now) - age_s)
        about = (sequence, lane_of(message), verdict, held[0], *dates, held[1])
        self._db.execute("INSERT INTO about VALUES (?, ?, ?, ?, ?, ?, ?)", about)
        if isinstance(message, Descriptors):
            change = f"UPDATE about SET state = {ANNOUNCED} WHERE sequence = ? AND state = {HELD}"
            self._db.executemany(change, [(item.sample,) for item in message.items])

    def free(self, sequences: tuple[int, ...]) -> None:
        """These rows are not held any more, unknown ones are ignored; raises TransportError."""
        change = f"UPDATE about SET state = {TO_SEND}, waiting = NULL WHERE sequence = ?"
        with self._translated(), self._transaction():
            self._db.executemany(change, [(sequence,) for sequence in sequences])

    def expire(self) -> tuple[int, ...]:
        """Delete the rows that are older than the retention; raises TransportError."""
        with self._translated():
            now = self._clock()
            lived_s = self._lived.at(now)
            if lived_s >= self._saved_lived_s + _SAVE_EVERY_S:
                self._save_lived()
            if self._retention_s <= 0.0:
                return ()
            oldest = "SELECT sequence FROM about WHERE lived_s < ? ORDER BY sequence"
            found = self._db.execute(oldest, (lived_s - self._retention_s,)).fetchall()
            old = tuple(int(row[0]) for row in found)
        if old:
            self.purge(old)
        return old

    def purge(self, sequences: tuple[int, ...]) -> None:
        """Delete rows, and overwrite them in the file and its WAL; raises TransportError."""
        with self._translated():
            self._db.execute("PRAGMA secure_delete = ON")
        self.forget(sequences)
        with self._translated():
            self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            self._set_secure_delete()

    def redact(self, stamp: str) -> tuple[int, ...]:
        """Delete samples stored under other rules for pictures than `stamp`; "": there are none."""
        with self._translated():
            old = stored_under_others(self._db, stamp)
        if old:
            self.purge(old)
        with self._translated():
            self._db.execute("INSERT OR REPLACE INTO meta VALUES ('redaction', ?)", (stamp,))
        return old

    def age_s(self, sequence: int) -> float:
        """How old a row is, in seconds lived; 0.0 when it is gone; raises TransportError."""
        with self._translated():
            row = self._db.execute("SELECT lived_s FROM about WHERE sequence = ?", (sequence,)).fetchone()
        return 0.0 if row is None else self._lived.at(self._clock()) - float(row[0])

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
                "SELECT sequence, kind, size_bytes, lane, state, waiting FROM rows JOIN about"
                " USING (sequence) ORDER BY sequence"
            ).fetchall()
        return tuple(pending_row(*row) for row in rows)

    def close(self) -> None:
        """Give back the unused reserved sequences and close; raises TransportError."""
        with self._translated():
            try:
                self._write_reserved(self._next_sequence)
                self._save_lived()
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
        self._set_secure_delete()
        verdict = self._db.execute("PRAGMA quick_check(1)").fetchone()[0]
        if verdict != "ok":
            raise sqlite3.DatabaseError(verdict)
        version = self._db.execute("PRAGMA user_version").fetchone()[0]
        names = self._names()
        if version == 0 and not names:
            with self._transaction():
                create(self._db, new_outbox_id())
        elif version not in (0, 1, SCHEMA_VERSION):
            raise ConfigError(
                f"{self._path}: version {version}, this release reads {SCHEMA_VERSION}: move it"
            )
        elif version == 0 or not names >= (NAMES_1 if version == 1 else NAMES):
            raise _Damaged(f"version {version} with only {', '.join(sorted(names)) or 'nothing'} in it")
        self._outbox_id, reserved, lived_s, saved_wall_s = self._read_meta()
        # After a crash the rest of the reserved block is skipped: part of it may have been used.
        self._next_sequence = self._reserved = reserved
        if self._db.execute(ODD_ROWS, (reserved,)).fetchone()[0]:
            raise _Damaged("it holds rows that cannot be ours")
        if version == 1:
            with self._transaction():
                migrate(self._db, self._clock().wall_s)
        if self._db.execute(ODD_ABOUT).fetchone()[0]:
            raise _Damaged("what it says of its rows does not fit them")
        most_gap_s = self._retention_s / 2.0
        self._lived = Lived(lived_s, saved_wall_s, self._clock(), most_gap_s=most_gap_s)
        self._saved_lived_s = float("-inf")
        # A read-only disk would be noticed with the first message, and that lost.
        with self._transaction():
            self._db.execute("UPDATE meta SET value = value WHERE key = 'reserved'")
        count, size = self._db.execute("SELECT COUNT(*), COALESCE(SUM(size_bytes), 0) FROM rows").fetchone()
        self._count, self._size_bytes = int(count), int(size)

    def _set_secure_delete(self) -> None:
        self._db.execute(f"PRAGMA secure_delete = {'ON' if self._retention_s > 0.0 else 'OFF'}")

    def _names(self) -> set[str]:
        """Tables and indices, without SQLite's own."""
        found = self._db.execute("SELECT CAST(name AS BLOB) FROM sqlite_master").fetchall()
        names = {bytes(name or b"").decode("ascii", "replace") for (name,) in found}
        return {name for name in names if not name.startswith("sqlite_")}

    def _read_meta(self) -> tuple[str, int, float, float]:
        """(outbox id, first sequence that was never reserved, seconds lived, the wall clock at that)."""
        # As bytes: what is no text would be an error of another kind.
        found = self._db.execute("SELECT CAST(key AS BLOB), CAST(value AS BLOB) FROM meta").fetchall()
        meta = {bytes(key or b""): bytes(value or b"") for key, value in found}
        outbox_id, reserved = meta.get(b"outbox_id", b""), meta.get(b"reserved", b"")
        if not re.fullmatch(rb"[0-9a-f]{32}", outbox_id) or not re.fullmatch(rb"[1-9][0-9]{0,17}", reserved):
            raise _Damaged("its id or its counter is missing or not one")
        lived_s, saved_wall_s = meta.get(b"lived_s", b"0"), meta.get(b"saved_wall_s", b"0")
        if not re.fullmatch(rb"[0-9]{1,12}(\.[0-9]+)?", lived_s):
            raise _Damaged("the time that it has lived is none")
        # A clock may have been anything; what is no time is none.
        known = re.fullmatch(rb"[0-9]{1,12}(\.[0-9]+)?", saved_wall_s)
        return outbox_id.decode(), int(reserved), float(lived_s), float(saved_wall_s) if known else 0.0

    def _save_lived(self) -> None:
        now = self._clock()
        lived_s = self._lived.at(now)
        saved = (("lived_s", f"{lived_s:.3f}"), ("saved_wall_s", f"{max(now.wall_s, 0.0):.3f}"))
        with self._transaction():
            self._db.executemany("INSERT OR REPLACE INTO meta VALUES (?, ?)", saved)
        self._saved_lived_s = lived_s

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
        """Drop what is worth least until `excess_bytes` are free; (sequences, bytes freed)."""
        if excess_bytes <= 0:
            return (), 0
        dropped, freed_bytes = self._least("rank IS NOT NULL ORDER BY rank, value, sequence", 0, excess_bytes)
        if freed_bytes < excess_bytes - REPORT_RESERVE_BYTES:
            reports, more_bytes = self._least(
                "rank IS NULL ORDER BY kind = 'outcome', sequence",
                freed_bytes,
                excess_bytes - REPORT_RESERVE_BYTES,
            )
            dropped, freed_bytes = dropped + reports, more_bytes
        self._delete(tuple(dropped))
        return tuple(dropped), freed_bytes

    def _least(self, which: str, freed_bytes: int, excess_bytes: int) -> tuple[list[int], int]:
        """The first rows of this order that free enough, with the bytes that are free then."""
        found: list[int] = []
        cursor = self._db.execute(f"SELECT sequence, size_bytes FROM rows WHERE {which}")
        for sequence, size in cursor:
            if freed_bytes >= excess_bytes:
                break
            found.append(int(sequence))
            freed_bytes += int(size)
        cursor.close()
        return found, freed_bytes

    def _delete(self, sequences: tuple[int, ...]) -> tuple[int, int]:
        """(rows, bytes) that were deleted."""
        count = freed_bytes = 0
        for sequence in sequences:
            row = self._db.execute("SELECT size_bytes FROM rows WHERE sequence = ?", (sequence,)).fetchone()
            if row is not None:
                self._db.execute("DELETE FROM rows WHERE sequence = ?", (sequence,))
                self._db.execute("DELETE FROM about WHERE sequence = ?", (sequence,))
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
