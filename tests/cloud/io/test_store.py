"""The SQLite store: every row comes back as it went in; damage is named."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeadapt.errors import ConfigError
from edgeadapt.patch import Evidence
from edgeadapt.wire import Outcome
from edgeadapt_cloud.core.effects import Quarantine
from edgeadapt_cloud.core.events import RollbackOrdered
from edgeadapt_cloud.core.jobs.job import AuditEstimate, AuditFigures
from edgeadapt_cloud.core.rollout.stages import Stage
from edgeadapt_cloud.core.rows import (
    CohortRow,
    DeviceRow,
    JobRow,
    Origin,
    OutcomeRow,
    PatchRow,
    RejectedRow,
    SampleRow,
    SegmentRow,
    SignatureRow,
    StoredSample,
)
from edgeadapt_cloud.io.report import order_rollback, read_report
from edgeadapt_cloud.io.schema import SCHEMA_VERSION
from edgeadapt_cloud.io.store import DATABASE_NAME, SqliteStore

VECTOR = np.arange(4, dtype=np.float32)
ORIGIN = Origin("d", "box", 7)
SAMPLE = SampleRow(ORIGIN, 2, "audit", "png", "ab" * 32, b"data", 0.5, 1, "base", 9.0, 0.25, "unknown", True)
SIGNATURE = SignatureRow(Origin("d", "box", 8), 2, 64, VECTOR, VECTOR + 1, VECTOR + 2, 0.25)
OUTCOME = OutcomeRow(
    Origin("d", "box", 9),
    Outcome(outbox="box", sequence=9, cohort="c", serial=1, patch="p", state="confirmed"),
)
COHORT = CohortRow("c", 1, "b", VECTOR, 64, 3, 256, "anchored", b"state")
PATCH = PatchRow(
    "c", 3, "digest", 5, Stage.CANARY, 1.5, b"sealed", {"w": np.eye(2, dtype=np.float32)}, "d", ("d",), "n"
)
JOB = JobRow(
    5, "c", "anchored", "published", 9, 1.0, 2.0, 3, (Evidence("a", 1.0, 0.5, True, "d"),), "n", ("s",),
    (AuditFigures("base", AuditEstimate(0.5, 0.1, 0.9, 4, 3.5), AuditEstimate(0.0, 0.0, 1.0, 0, 0.0)),),
)  # fmt: skip


def same(a: Any, b: Any) -> bool:
    """Equality of rows that hold arrays."""
    for field in fields(a):
        left, right = getattr(a, field.name), getattr(b, field.name)
        if isinstance(left, np.ndarray):
            equal = left.dtype == right.dtype and np.array_equal(left, right)
        elif isinstance(left, dict):
            equal = left.keys() == right.keys() and all(np.array_equal(left[k], right[k]) for k in left)
        else:
            equal = bool(left == right)
        if not equal:
            return False
    return True


def test_every_row_comes_back_after_reopening(tmp_path: Path) -> None:
    path = tmp_path / "deep" / DATABASE_NAME
    store = SqliteStore(path)
    device, segment = (
        DeviceRow("d", True, 3, "b", "g", "box", 2, b"a", b"m", 5.0),
        SegmentRow("d", "box", 2, "c"),
    )
    with store.transaction():
        for row in (SAMPLE, SIGNATURE, OUTCOME):
            assert store.commit(row, 1.0)[0]
        for record in (device, segment, COHORT, JOB, PATCH):
            store.save(record)
    store.close()
    saved = SqliteStore(path).snapshot()
    assert saved.samples == (
        StoredSample("d", "box", 2, 1, "ab" * 32, "audit", "unknown", 1, 0.25, "base", True),
    )
    assert saved.outcomes == (OUTCOME,)
    assert (saved.devices, saved.segments) == ((device,), (segment,))
    assert saved.jobs == (JOB,)
    kept = (*saved.signatures, *saved.cohorts, *saved.patches)
    assert all(map(same, kept, (SIGNATURE, COHORT, PATCH)))
    assert len(kept) == 3


def test_message_is_kept_once_and_arrivals_rise() -> None:
    store = SqliteStore(None)
    with store.transaction():
        assert store.commit(SAMPLE, 1.0) == (True, 1)
        assert store.commit(SAMPLE, 2.0) == (False, 1)
        fresh, arrival = store.commit(RejectedRow(Origin("e", "box", 7)), 2.0)
        assert fresh
        assert arrival > 1
    assert len(store.snapshot().samples) == 1


def test_failed_transaction_leaves_nothing() -> None:
    store = SqliteStore(None)

    def break_off() -> None:
        with store.transaction():
            store.commit(SAMPLE, 1.0)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        break_off()
    assert not store.snapshot().samples
    with store.transaction():
        assert store.commit(SAMPLE, 1.0) == (True, 1)


def test_quarantine_is_bounded_and_everything_is_counted(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / DATABASE_NAME, quarantine_kept=3)
    with store.transaction():
        for number in range(10):
            bad = Quarantine(f"topic {number} \udcff", "malformed", "why", bytes(10_000))
            store.quarantine(bad, 1.0)
    store.close()
    db = sqlite3.connect(tmp_path / DATABASE_NAME)
    query = "SELECT count(*), max(length(payload)), max(size_bytes) FROM quarantine"
    assert db.execute(query).fetchone() == (3, 4096, 10_000)
    db.close()
    assert read_report(tmp_path).quarantine == {"malformed": 10}


def test_orders_are_taken_once(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / DATABASE_NAME)
    with store.transaction():
        store.save(COHORT)
    order_rollback(tmp_path, "c", to_base=True)
    with pytest.raises(ConfigError, match="unknown cohort 'x'; known: c"):
        order_rollback(tmp_path, "x", to_base=True)
    with store.transaction():
        assert store.take_order() == RollbackOrdered("c", True)
        assert store.take_order() is None
    store.close()


@pytest.mark.parametrize("content", [b"this is no database at all" * 100, bytes(8192)])
def test_foreign_file_is_a_clear_error(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / DATABASE_NAME
    path.write_bytes(content)
    with pytest.raises(ConfigError, match="not a database of edgeadapt"):
        SqliteStore(path)


def test_damaged_database_is_a_clear_error(tmp_path: Path) -> None:
    path = tmp_path / DATABASE_NAME
    store = SqliteStore(path)
    with store.transaction():
        for number in range(2000):
            store.commit(RejectedRow(Origin("d", "box", number)), 1.0)
    store.close()
    data = bytearray(path.read_bytes())
    data[8192:32768] = os.urandom(32768 - 8192)
    path.write_bytes(data)
    with pytest.raises(ConfigError, match="damaged"):
        SqliteStore(path)


def test_other_schema_version_is_a_clear_error(tmp_path: Path) -> None:
    path = tmp_path / DATABASE_NAME
    SqliteStore(path).close()
    db = sqlite3.connect(path)
    db.execute("PRAGMA user_version = 99")
    db.close()
    with pytest.raises(ConfigError, match=f"schema version 99, this release reads {SCHEMA_VERSION}"):
        SqliteStore(path)
    with pytest.raises(ConfigError, match="schema version 99"):
        read_report(tmp_path)


def test_samples_of_a_release_that_kept_no_verdicts_come_along(tmp_path: Path) -> None:
    path = tmp_path / DATABASE_NAME
    store = SqliteStore(path)
    with store.transaction():
        store.commit(SAMPLE, 1.0)
    store.close()
    db = sqlite3.connect(path)
    db.executescript(
        "ALTER TABLE samples DROP COLUMN verdict; ALTER TABLE samples DROP COLUMN chance;"
        "ALTER TABLE samples DROP COLUMN altered;"
        "PRAGMA user_version = 3;"
    )
    db.close()
    with pytest.raises(ConfigError, match="starting the service once brings it up to date"):
        read_report(tmp_path)

    store = SqliteStore(path)
    with store.transaction():
        store.commit(replace(SAMPLE, origin=Origin("d", "box", 8)), 1.0)

    old, new = store.snapshot().samples
    assert (old.verdict, old.chance, old.generation, old.altered) == ("informative", 0.0, "base", False)
    assert (new.verdict, new.chance, new.generation, new.altered) == ("unknown", 0.25, "base", True)


def test_row_that_cannot_be_read_is_a_clear_error() -> None:
    store = SqliteStore(None)
    with store.transaction():
        store._run("INSERT INTO cohorts VALUES ('c', 1, ?)", b"garbage")
    with pytest.raises(ConfigError, match="a CohortRow that cannot be read"):
        store.snapshot()


def test_no_database_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is not there"):
        read_report(tmp_path)


_WRITER = """
import sys
from pathlib import Path
from edgeadapt_cloud.core.rows import Origin, RejectedRow
from edgeadapt_cloud.io.store import SqliteStore
store = SqliteStore(Path(sys.argv[1]))
for number in range(10**9):
    with store.transaction():
        store.commit(RejectedRow(Origin("d", "box", number)), 0.0)
    sys.stdout.write(f"{number}\\n")
    sys.stdout.flush()
"""


def test_what_was_committed_survives_sigkill(tmp_path: Path) -> None:
    path = tmp_path / DATABASE_NAME
    writer = subprocess.Popen([sys.executable, "-c", _WRITER, str(path)], stdout=subprocess.PIPE, text=True)
    assert writer.stdout is not None
    lines = [writer.stdout.readline() for _ in range(20)]
    writer.send_signal(signal.SIGKILL)
    rest, _ = writer.communicate()
    told = [int(line) for line in (*lines, *rest.splitlines())]
    store = SqliteStore(path)
    kept = {row[0] for row in store._run("SELECT sequence FROM messages")}
    store.close()
    assert set(told) <= kept
