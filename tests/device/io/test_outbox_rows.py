"""Rows that are held, dropped by value, too old, or purged; files of version 1; power cuts."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Literal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeadapt.clock import Instant
from edgeadapt.wire import (
    DescriptorItem,
    Descriptors,
    Lane,
    Outcome,
    Sample,
    SignatureReport,
    Verdict,
    decode,
)
from edgeadapt_device.core.uplink.rows import Waiting
from edgeadapt_device.io.outbox import MemoryOutbox, Outbox
from edgeadapt_device.io.outbox.read import read_message, read_rows
from edgeadapt_device.io.outbox.sqlite import SqliteOutbox
from edgeadapt_device.io.outbox.standby import StandbyOutbox
from edgeadapt_device.io.outbox.worth import REPORT_RESERVE_BYTES

YEAR_S = 366 * 86_400.0
NOW_S = 1_800_000_000.0
OUTCOME = Outcome(outbox="", sequence=0, cohort="c", serial=1, patch="p", state="trial")


def sample(
    lane: Lane = "adapt",
    entropy: float = 1.0,
    *,
    size: int = 1000,
    verdict: Verdict = "informative",
    p_value: float = 1.0,
    fill: bytes = b"\0",
) -> Sample:
    return Sample(
        outbox="", sequence=0, segment=4, lane=lane, codec="raw", height=1, width=size, channels=1,
        data=fill * size, sha256="0" * 64, entropy=entropy, predicted=2, generation="base", captured_s=3.0,
        verdict=verdict, p_value=p_value,
    )  # fmt: skip


def waiting(message: Sample) -> Waiting:
    item = DescriptorItem(
        sample=0, lane=message.lane, verdict=message.verdict, predicted=2, entropy=1.0, p_value=0.1,
        size_bytes=0, members=3, vector=bytes(range(64)),
    )  # fmt: skip
    return Waiting(item, message.segment, message.generation)


def about(*sequences: int) -> Descriptors:
    item = waiting(sample()).item
    items = tuple(msgspec.structs.replace(item, sample=sequence) for sequence in sequences)
    return Descriptors(outbox="", sequence=0, bundle="b", segment=4, generation="base", items=items)


class Clock:
    """Both clocks, as a test sets them."""

    def __init__(self, mono_s: float = 0.0, wall_s: float = NOW_S) -> None:
        self.mono_s, self.wall_s = mono_s, wall_s

    def __call__(self) -> Instant:
        return Instant(self.mono_s, self.wall_s)

    def run(self, seconds: float) -> None:
        """Time goes by."""
        self.mono_s += seconds
        self.wall_s += seconds


Make = Callable[..., Outbox]


@pytest.fixture(params=["memory", "sqlite", "standby"])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Make:
    def opened(**options: object) -> Outbox:
        return SqliteOutbox(tmp_path / "outbox.sqlite", **options)  # type: ignore[arg-type]

    def made(**options: object) -> Outbox:
        if request.param == "memory":
            return MemoryOutbox(**options)  # type: ignore[arg-type]
        if request.param == "sqlite":
            return opened(**options)
        return StandbyOutbox(tmp_path, lambda: opened(**options), max_bytes=1 << 20)

    return made


def sequences(outbox: Outbox) -> list[int]:
    return [row.sequence for row in outbox.pending()]


def test_a_held_row_says_so_until_it_is_freed(make: Make) -> None:
    outbox, ask = make(), sample("ask")
    outbox.store(sample())
    stored = outbox.store(ask, waiting=waiting(ask))
    assert stored.waiting is not None
    assert (stored.waiting.item.sample, stored.waiting.item.size_bytes) == (2, stored.size_bytes)
    first, held = outbox.pending()
    assert (first.held, first.lane) == (False, "adapt")
    assert (held.held, held.lane, held.announced, held.waiting) == (True, "ask", False, stored.waiting)
    outbox.store(about(2, 1, 99))
    assert [(row.held, row.announced) for row in outbox.pending()] == [
        (False, False),
        (True, True),
        (False, False),
    ]
    outbox.free((2, 77))
    assert not any(row.held or row.announced for row in outbox.pending())
    assert outbox.payload(2) is not None
    outbox.close()


def test_held_and_announced_are_known_to_the_next_process(tmp_path: Path) -> None:
    path = tmp_path / "outbox.sqlite"
    before = SqliteOutbox(path)
    for _ in range(3):
        before.store(sample("ask"), waiting=waiting(sample("ask")))
    before.store(about(2))
    before.free((3,))
    after = SqliteOutbox(path)  # the first one was killed
    assert [(row.sequence, row.held, row.announced) for row in after.pending()] == [
        (1, True, False),
        (2, True, True),
        (3, False, False),
        (4, False, False),
    ]
    assert after.pending()[0].waiting == before.pending()[0].waiting
    after.close()


def test_what_teaches_least_for_its_bytes_goes_first_and_questions_last(make: Make) -> None:
    outbox = make(max_bytes=13_000)
    kept = {
        "strangest question": sample("ask", p_value=0.001),
        "question": sample("ask", p_value=0.2),
        "audit": sample("audit", 2.0),
        "large lesson": sample("adapt", 1.0, size=2500),
        "lesson": sample("adapt", 1.0),
        "dull": sample("adapt", 0.15),
        "unknown": sample("adapt", 1.0, verdict="unknown"),
        "unreliable": sample("adapt", 1.0, verdict="unreliable"),
    }
    number = {name: outbox.store(message).sequence for name, message in kept.items()}
    outbox.store(OUTCOME)
    gone: list[int] = []
    while len(gone) < len(kept):
        gone += [s for s in outbox.store(sample("ask", p_value=0.0)).dropped if s in number.values()]
    named = {sequence: name for name, sequence in number.items()}
    assert [named[sequence] for sequence in gone] == [
        "unreliable", "dull", "unknown", "large lesson", "lesson", "audit", "question", "strangest question",
    ]  # fmt: skip
    assert 9 in sequences(outbox), "the outcome stays"
    assert outbox.size_bytes <= 13_000
    outbox.close()


def test_reports_go_when_no_sample_is_left_and_they_alone_are_far_too_many(make: Make) -> None:
    outbox = make(max_bytes=100_000)
    report = SignatureReport(
        outbox="", sequence=0, bundle="b", segment=1, frames=9, vector=bytes(60_000), mean=b"", var=b"",
        drift=0.5,
    )  # fmt: skip
    outbox.store(OUTCOME)
    outbox.store(sample("ask"))
    for _ in range(30):
        outbox.store(report)
    assert 100_000 < outbox.size_bytes <= 100_000 + REPORT_RESERVE_BYTES
    kinds = [row.kind for row in outbox.pending()]
    assert kinds[0] == "outcome"
    assert "sample" not in kinds
    assert sequences(outbox)[-1] == 32, "the newest report is kept, the oldest went"
    outbox.close()


def test_what_is_older_than_the_retention_goes_and_nothing_else(make: Make) -> None:
    clock = Clock()
    outbox = make(retention_s=3600.0, clock=clock)
    outbox.store(sample())
    clock.run(1800.0)
    outbox.store(OUTCOME)
    assert outbox.expire() == ()
    clock.run(1801.0)
    assert outbox.age_s(1) == pytest.approx(3601.0)
    assert outbox.expire() == (1,)
    assert sequences(outbox) == [2]
    assert outbox.size_bytes == outbox.pending()[0].size_bytes
    outbox.close()


def test_without_a_retention_everything_stays(make: Make) -> None:
    clock = Clock()
    outbox = make(clock=clock)
    outbox.store(sample())
    clock.run(10 * YEAR_S)
    assert outbox.expire() == ()
    outbox.close()


@pytest.mark.parametrize("jump_s", [10 * YEAR_S, -10 * YEAR_S, -NOW_S])
def test_a_clock_that_is_set_while_it_runs_ages_nothing(tmp_path: Path, jump_s: float) -> None:
    clock = Clock()
    outbox = SqliteOutbox(tmp_path / "o", retention_s=3600.0, clock=clock)
    outbox.store(sample())
    clock.wall_s += jump_s
    assert outbox.expire() == ()
    clock.run(3601.0)
    assert outbox.expire() == (1,)
    outbox.close()


@pytest.mark.parametrize("jump_s", [10 * YEAR_S, -10 * YEAR_S, -NOW_S, float("nan")])
def test_a_clock_that_jumps_over_a_restart_spares_the_younger_half(tmp_path: Path, jump_s: float) -> None:
    clock = Clock()
    first = SqliteOutbox(tmp_path / "o", retention_s=3600.0, clock=clock)
    first.store(sample())
    clock.run(1900.0)
    first.store(sample())
    first.close()
    clock.mono_s, clock.wall_s = 5.0, clock.wall_s + jump_s
    second = SqliteOutbox(tmp_path / "o", retention_s=3600.0, clock=clock)
    assert second.expire() == ((1,) if jump_s > 0 else ())
    clock.wall_s -= jump_s
    assert second.expire() == (), "set right again, nothing more goes"
    assert 2 in sequences(second)
    second.close()


def test_time_switched_off_counts_and_a_board_without_a_clock_counts_what_it_runs(tmp_path: Path) -> None:
    clock = Clock()
    for _ in range(4):  # every day: 10 minutes on, 20 off
        box = SqliteOutbox(tmp_path / "o", retention_s=7000.0, clock=clock)
        if len(box) == 0:
            box.store(sample())
        clock.run(600.0)
        assert box.expire() == ()
        box.close()
        clock.run(1200.0)
    box = SqliteOutbox(tmp_path / "o", retention_s=7000.0, clock=clock)
    assert box.expire() == (1,)
    box.store(sample())
    box.close()
    for _ in range(5):  # its clock comes up in 1970 each time
        clock.mono_s, clock.wall_s = 3.0, 10.0
        box = SqliteOutbox(tmp_path / "o", retention_s=7000.0, clock=clock)
        clock.run(1300.0)
        assert box.expire() == ()
        box.close()
    box = SqliteOutbox(tmp_path / "o", retention_s=7000.0, clock=clock)
    clock.run(1300.0)
    assert len(box.expire()) == 1
    box.close()


def on_disk(folder: Path, secret: bytes) -> bool:
    """Whether these bytes are in any file of the folder."""
    return any(secret in path.read_bytes() for path in folder.iterdir() if path.is_file())


def test_what_expired_or_was_purged_is_not_on_the_disk_any_more(tmp_path: Path) -> None:
    clock = Clock()
    outbox = SqliteOutbox(tmp_path / "o", retention_s=3600.0, clock=clock)
    outbox.store(sample(size=9000, fill=b"OLD SECRET"))
    clock.run(4000.0)
    outbox.store(sample(size=9000, fill=b"NEW SECRET"))
    outbox.store(sample(size=9000, fill=b"HARMLESS"))
    assert on_disk(tmp_path, b"OLD SECRET")
    assert outbox.expire() == (1,)
    assert not on_disk(tmp_path, b"OLD SECRET")
    assert on_disk(tmp_path, b"NEW SECRET")
    outbox.purge((2,))
    assert not on_disk(tmp_path, b"NEW SECRET")
    assert on_disk(tmp_path, b"HARMLESS")
    outbox.close()


def test_purged_is_overwritten_without_a_retention_too(tmp_path: Path) -> None:
    outbox = SqliteOutbox(tmp_path / "o")
    outbox.store(sample(size=9000, fill=b"NEW SECRET"))
    outbox.purge((1,))
    assert not on_disk(tmp_path, b"NEW SECRET")
    outbox.close()


def test_a_file_of_version_1_goes_on_in_place(tmp_path: Path) -> None:
    path, told, clock = tmp_path / "outbox.sqlite", list[str](), Clock()
    shutil.copy(Path(__file__).parent / "outbox-v1.sqlite", path)
    with closing(sqlite3.connect(path)) as old:
        identity = old.execute("SELECT value FROM meta WHERE key = 'outbox_id'").fetchone()[0]
    outbox = SqliteOutbox(path, report=told.append, retention_s=3600.0, clock=clock)
    assert told == []
    assert outbox.outbox_id == identity
    assert [(row.sequence, row.kind, row.lane, row.held) for row in outbox.pending()] == [
        (2, "sample", "audit", False),
        (3, "outcome", "", False),
        (4, "sample", "adapt", False),
        (5, "signature", "", False),
    ]
    for row in outbox.pending():
        kept = outbox.payload(row.sequence)
        assert kept is not None
        assert len(kept[1]) == row.size_bytes
        message = decode(kept[1])
        assert isinstance(message, (Sample, Outcome, SignatureReport))
        assert (message.outbox, message.sequence) == (identity, row.sequence)
    assert outbox.size_bytes == sum(row.size_bytes for row in outbox.pending())
    assert outbox.store(sample("ask"), waiting=waiting(sample("ask"))).sequence == 6
    clock.run(3601.0)
    assert outbox.expire() == (2, 3, 4, 5, 6), "they are as old as the file's new form"
    outbox.close()
    assert SqliteOutbox(path).outbox_id == identity


def test_an_outbox_of_version_1_is_dropped_from_by_value_too(tmp_path: Path) -> None:
    path = tmp_path / "outbox.sqlite"
    shutil.copy(Path(__file__).parent / "outbox-v1.sqlite", path)
    whole = SqliteOutbox(path)
    most = whole.size_bytes + 600
    whole.close()
    outbox = SqliteOutbox(path, max_bytes=most)
    assert outbox.store(sample("ask", size=700)).dropped == (4,), "the adapt lane before the audit's"
    outbox.close()


@given(torn=st.integers(1, 200_000), noise=st.binary(max_size=64))
def test_a_torn_wal_is_an_older_outbox_whose_sequences_are_not_used_again(
    tmp_path_factory: pytest.TempPathFactory, torn: int, noise: bytes
) -> None:
    """A power cut in the middle of a write: the end of the WAL is missing, or is something else."""
    folder = tmp_path_factory.mktemp("cut")
    outbox = SqliteOutbox(folder / "o")
    last = max(outbox.store(sample(size=3000)).sequence for _ in range(30))
    shutil.copy(folder / "o", folder / "copy")
    wal = (folder / "o-wal").read_bytes()
    (folder / "copy-wal").write_bytes(wal[: max(len(wal) - torn, 0)] + noise)
    told: list[str] = []
    after = SqliteOutbox(folder / "copy", report=told.append)
    if after.outbox_id == outbox.outbox_id:
        assert told == []
        found = sequences(after)
        assert found == list(range(1, len(found) + 1)), (
            "what is there is whole, and nothing in between is missing"
        )
        assert all(after.payload(sequence) is not None for sequence in found)
        assert after.store(OUTCOME).sequence > last
    else:
        assert len(wal) - torn < 40_000, "only when not even its tables had reached the disk"
    after.close()
    outbox.close()


def test_what_is_read_beside_a_running_device_is_what_it_holds(tmp_path: Path) -> None:
    clock = Clock()
    outbox = SqliteOutbox(tmp_path / "o", retention_s=3600.0, clock=clock)
    outbox.store(sample("ask", p_value=0.1), waiting=waiting(sample("ask")))
    clock.run(120.0)
    outbox.store(sample("audit", verdict="shifted"))
    outbox.store(about(1))
    outbox.expire()  # as the device does each minute, which saves the time
    rows = read_rows(tmp_path / "o", 3600.0, clock())
    assert [(row.sequence, row.kind, row.lane, row.verdict, row.state) for row in rows] == [
        (1, "sample", "ask", "informative", "announced"),
        (2, "sample", "audit", "shifted", "to send"),
        (3, "descriptor", "", "", "to send"),
    ]
    assert [row.age_s for row in rows] == pytest.approx([120.0, 0.0, 0.0])
    assert [row.size_bytes for row in rows] == [row.size_bytes for row in outbox.pending()]
    message = read_message(tmp_path / "o", 2)
    assert isinstance(message, Sample)
    assert message.sequence == 2
    assert read_message(tmp_path / "o", 9) is None
    outbox.close()


@pytest.mark.parametrize(("durability", "level"), [("normal", 1), ("full", 2)])
def test_durability_is_what_sqlite_is_told(
    tmp_path: Path, durability: Literal["normal", "full"], level: int
) -> None:
    """Nothing that can be played on copies of the file shows whether a commit waits for the disk."""
    outbox = SqliteOutbox(tmp_path / "outbox.sqlite", durability=durability)
    try:
        outbox.store(sample())
        assert outbox._db.execute("PRAGMA synchronous").fetchone()[0] == level
    finally:
        outbox.close()
