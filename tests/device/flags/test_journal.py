"""The files of the flag journal: bounded, whole after a kill, and no burden to anybody."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeadapt.errors import ConfigError, WireError
from edgeadapt_device.flags.journal import NAME, OLD_NAME, FlagJournal, read_flags
from edgeadapt_device.flags.lines import FateLine, from_bytes, to_bytes
from tests.device import disk


def line(number: int) -> FateLine:
    return FateLine(time_s=float(number), frame=number, fate="suspect")


def numbers(folder: Path) -> list[float]:
    return [found.time_s for found in read_flags(folder)]


def test_lines_wait_a_second_and_are_written_in_order(tmp_path: Path) -> None:
    journal = FlagJournal(tmp_path)
    for number in range(3):
        journal.write(line(number), 10.0 + 0.1 * number)
    journal.flush_if_due(10.9)
    assert numbers(tmp_path) == []
    journal.flush_if_due(11.0)
    assert numbers(tmp_path) == [0.0, 1.0, 2.0]
    journal.write(line(3), 11.5)
    journal.close()
    assert numbers(tmp_path) == [0.0, 1.0, 2.0, 3.0]


def test_two_files_at_most_and_the_newest_lines_stay(tmp_path: Path) -> None:
    journal = FlagJournal(tmp_path, max_bytes=2000)
    for number in range(500):
        journal.write(line(number), float(number))
        journal.flush_if_due(float(number))
    journal.close()

    assert sum(file.stat().st_size for file in tmp_path.iterdir()) <= 4200
    assert {file.name for file in tmp_path.iterdir()} == {NAME, OLD_NAME}
    found = numbers(tmp_path)
    assert found == [float(number) for number in range(500 - len(found), 500)]
    assert len(found) > 30


def test_a_line_that_a_kill_cut_off_is_skipped_and_harms_no_later_one(tmp_path: Path) -> None:
    whole = to_bytes(line(1))
    (tmp_path / NAME).write_bytes(whole + to_bytes(line(2))[:20])
    assert numbers(tmp_path) == [1.0]
    journal = FlagJournal(tmp_path)
    journal.write(line(3), 0.0)
    journal.close()
    assert numbers(tmp_path) == [1.0, 3.0]


def test_a_full_disk_stops_nothing_and_lines_come_once_there_is_room(tmp_path: Path) -> None:
    journal = FlagJournal(tmp_path)
    journal.write(line(0), 0.0)
    journal.flush_if_due(1.0)
    with disk.full(0):
        for number in range(1, 1500):
            journal.write(line(number), 2.0)
            journal.flush_if_due(3.0 + number)
    journal.flush_if_due(5000.0)
    journal.close()

    found = numbers(tmp_path)
    assert found[:3] == [0.0, 1.0, 2.0]
    assert journal.lost == 1500 - len(found)
    assert journal.lost > 400


def test_a_folder_in_its_place_is_told_to_whoever_reads(tmp_path: Path) -> None:
    assert list(read_flags(tmp_path)) == []
    (tmp_path / NAME).mkdir()
    journal = FlagJournal(tmp_path)
    journal.write(line(0), 0.0)
    journal.flush_if_due(9.0)
    journal.close()
    with pytest.raises(ConfigError, match=NAME):
        list(read_flags(tmp_path))


@given(st.binary(max_size=200))
def test_garbage_is_no_line(data: bytes) -> None:
    with pytest.raises(WireError):
        from_bytes(data)
