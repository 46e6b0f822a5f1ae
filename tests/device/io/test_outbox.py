"""One contract for both outboxes; then restarts, crashes and damage for the one on disk."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from edgeadapt.errors import ConfigError, TransportError
from edgeadapt.wire import Lane, Outcome, Sample, SignatureReport, decode
from edgeadapt_device.io.outbox import MemoryOutbox, Outbox
from edgeadapt_device.io.outbox.sqlite import SqliteOutbox

Make = Callable[[int], Outbox]


def sample(lane: Lane = "adapt", entropy: float = 1.0, size: int = 1000) -> Sample:
    return Sample(
        outbox="", sequence=0, segment=1, lane=lane, codec="raw", height=1, width=size, channels=1,
        data=bytes(size), sha256="0" * 64, entropy=entropy, predicted=2, generation="", captured_s=3.0,
    )  # fmt: skip


OUTCOME = Outcome(outbox="", sequence=0, cohort="c", serial=1, patch="p", state="trial")
REPORT = SignatureReport(
    outbox="", sequence=0, bundle="b", segment=1, frames=9, vector=b"", mean=b"", var=b"", drift=0.5
)


@pytest.fixture(params=["memory", "sqlite"])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Make:
    if request.param == "memory":
        return lambda max_bytes: MemoryOutbox(max_bytes=max_bytes)
    return lambda max_bytes: SqliteOutbox(tmp_path / "outbox.sqlite", max_bytes=max_bytes)


def test_rows_carry_the_outbox_and_rising_sequences_until_forgotten(make: Make) -> None:
    outbox = make(1 << 20)
    rows = [outbox.store(message) for message in (sample(), REPORT, OUTCOME)]
    assert [row.sequence for row in rows] == [1, 2, 3]
    assert [row.kind for row in rows] == ["sample", "signature", "outcome"]
    assert [(p.sequence, p.kind, p.size_bytes) for p in outbox.pending()] == [row[:3] for row in rows]
    for row in rows:
        stored = outbox.payload(row.sequence)
        assert stored is not None
        assert stored[0] == row.kind
        assert len(stored[1]) == row.size_bytes
        message = decode(stored[1])
        assert isinstance(message, Sample | SignatureReport | Outcome)
        assert (message.outbox, message.sequence) == (outbox.outbox_id, row.sequence)
    assert outbox.size_bytes == sum(row.size_bytes for row in rows)
    outbox.forget((1, 3, 99, 3))
    assert [p.sequence for p in outbox.pending()] == [2]
    assert len(outbox) == 1
    assert outbox.payload(1) is None
    assert outbox.size_bytes == rows[1].size_bytes
    outbox.close()


def test_a_full_outbox_drops_the_least_valuable_samples_and_never_reports(make: Make) -> None:
    outbox = make(4500)
    for message in (OUTCOME, sample("audit", 0.0), sample("adapt", 1.0), sample("adapt", 0.5)):
        assert outbox.store(message).dropped == ()
    assert outbox.store(sample("adapt", 2.0)).dropped == (4,)
    assert outbox.store(sample("adapt", 0.1)).dropped == (6,)
    assert outbox.store(sample("audit", 9.0)).dropped == (3,)
    assert outbox.store(sample("audit", 9.0, size=2500)).dropped == (5, 2)
    assert [p.sequence for p in outbox.pending()] == [1, 7, 8]
    assert outbox.size_bytes <= 4500
    outbox.close()


def test_reports_are_kept_even_over_the_limit(make: Make) -> None:
    outbox = make(1)
    outbox.store(OUTCOME)
    assert outbox.store(sample()).dropped == (2,)
    assert [p.kind for p in outbox.pending()] == ["outcome"]
    outbox.close()


def test_a_sequence_is_never_used_again_after_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "outbox.sqlite"
    first = SqliteOutbox(path)
    first.store(sample())
    first.store(OUTCOME)
    first.forget((1, 2))
    first.close()
    second = SqliteOutbox(path)
    assert second.outbox_id == first.outbox_id
    assert len(second) == 0
    assert second.store(OUTCOME).sequence == 3
    second.close()


_CRASH = """
import sys, os, signal
from pathlib import Path
from edgeadapt.wire import Outcome
from edgeadapt_device.io.outbox.sqlite import SqliteOutbox
outbox = SqliteOutbox(Path(sys.argv[1]))
for serial in range(5):
    outbox.store(Outcome(outbox="", sequence=0, cohort="c", serial=serial, patch="p", state="trial"))
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_killed_process_loses_nothing_and_its_sequences_stay_used(tmp_path: Path) -> None:
    path = tmp_path / "outbox.sqlite"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", _CRASH, str(path)], env=environment, check=False)
    assert done.returncode == -signal.SIGKILL
    outbox = SqliteOutbox(path)
    assert [p.sequence for p in outbox.pending()] == [1, 2, 3, 4, 5]
    assert outbox.store(OUTCOME).sequence > 5
    outbox.close()


@pytest.mark.parametrize("damage", [b"this is not a database" * 400, b""])
def test_a_damaged_file_is_moved_aside_and_a_new_id_takes_over(tmp_path: Path, damage: bytes) -> None:
    path, told = tmp_path / "outbox.sqlite", list[str]()
    old = SqliteOutbox(path)
    for _ in range(50):
        old.store(sample())
    old.close()
    if damage:
        path.write_bytes(damage)
    else:
        data = path.read_bytes()
        path.write_bytes(data[:4096] + os.urandom(8192) + data[12288:])
    fresh = SqliteOutbox(path, report=told.append)
    assert fresh.outbox_id != old.outbox_id
    assert len(fresh) == 0
    assert len(told) == 1
    assert ".damaged" in told[0]
    assert (tmp_path / "outbox.sqlite.damaged").is_file()
    assert fresh.store(OUTCOME).sequence == 1
    fresh.close()


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE meta SET value = 'abc' WHERE key = 'reserved'",
        "UPDATE meta SET value = '-3' WHERE key = 'reserved'",
        "UPDATE meta SET value = '2' WHERE key = 'reserved'",
        "UPDATE meta SET value = CAST(x'fffe' AS TEXT) WHERE key = 'outbox_id'",
        "UPDATE meta SET value = CAST(x'fffe' AS TEXT) WHERE key = 'reserved'",
        "DELETE FROM meta",
        "DROP TABLE meta",
        "DROP TABLE rows",
        "DROP INDEX by_value",
        "PRAGMA user_version = 0",
        "UPDATE rows SET kind = 'nonsense' WHERE sequence = 2",
        "UPDATE rows SET kind = CAST(x'fffe' AS TEXT) WHERE sequence = 2",
        "UPDATE rows SET size_bytes = 'many' WHERE sequence = 2",
        "UPDATE rows SET payload = x'00' WHERE sequence = 2",
    ],
)
def test_a_file_with_other_content_than_ours_is_damage(tmp_path: Path, damage: str) -> None:
    path, told = tmp_path / "outbox.sqlite", list[str]()
    old = SqliteOutbox(path)
    for _ in range(5):
        old.store(OUTCOME)
    old.close()
    with contextlib.closing(sqlite3.connect(path)) as other:
        other.execute(damage)
        other.commit()
    fresh = SqliteOutbox(path, report=told.append)
    assert fresh.outbox_id != old.outbox_id
    assert fresh.pending() == ()
    assert len(told) == 1
    assert fresh.store(OUTCOME).sequence == 1
    fresh.close()


def test_whatever_bytes_are_damaged_the_device_has_an_outbox(tmp_path: Path) -> None:
    whole = tmp_path / "whole.sqlite"
    box = SqliteOutbox(whole)
    for _ in range(20):
        box.store(OUTCOME)
    box.close()
    data, rng = whole.read_bytes(), random.Random(3)
    # Texts of the schema, which come back in SQLite's own messages.
    marks = [data.index(word) for word in (b"CREATE TABLE meta", b"CREATE TABLE rows", b"by_value")]
    for number in range(40):
        torn = bytearray(data)
        for _ in range(20):
            torn[rng.choice([rng.randrange(100, len(data)), rng.choice(marks) + rng.randrange(30)])] = 0x85
        path = tmp_path / f"{number}.sqlite"
        path.write_bytes(torn)
        outbox = SqliteOutbox(path)
        outbox.store(OUTCOME)
        assert all(outbox.payload(row.sequence) is not None for row in outbox.pending())
        outbox.close()


def test_a_damaged_file_never_takes_the_place_of_an_earlier_one(tmp_path: Path) -> None:
    path = tmp_path / "outbox.sqlite"
    for number in range(3):
        path.write_bytes(b"damage %d " % number * 1000)
        SqliteOutbox(path).close()
    kept = sorted(p.name for p in tmp_path.iterdir() if ".damaged" in p.name)
    assert kept == ["outbox.sqlite.damaged", "outbox.sqlite.damaged.2", "outbox.sqlite.damaged.3"]
    assert (tmp_path / kept[0]).read_bytes().startswith(b"damage 0")
    assert (tmp_path / kept[2]).read_bytes().startswith(b"damage 2")


def test_a_place_that_cannot_hold_a_file_is_a_transport_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(TransportError):
        SqliteOutbox(tmp_path / "file" / "outbox.sqlite")
    with pytest.raises(TransportError):
        SqliteOutbox(tmp_path)


def test_a_closed_outbox_gives_transport_errors(tmp_path: Path) -> None:
    outbox = SqliteOutbox(tmp_path / "outbox.sqlite", durability="full")
    outbox.close()
    with pytest.raises(TransportError):
        outbox.store(OUTCOME)


def test_an_outbox_of_another_release_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "outbox.sqlite"
    SqliteOutbox(path).close()
    other = sqlite3.connect(path)
    other.execute("PRAGMA user_version = 99")
    other.close()
    with pytest.raises(ConfigError, match="version 99"):
        SqliteOutbox(path)
