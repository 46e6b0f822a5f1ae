"""A memory of files that is no larger than the folder, and that damage does not hurt."""

from __future__ import annotations

from array import array
from pathlib import Path

import numpy as np
import pytest

from edgeadapt.errors import TransportError
from edgeadapt_device.io.sources.ledger import Ledger, fingerprint
from tests.device import disk

KEYS = [fingerprint(f"{number}.png", 100, number) for number in range(10_000)]


def test_a_fingerprint_tells_name_and_content_apart() -> None:
    assert len(set(KEYS)) == len(KEYS)
    assert fingerprint("a", 1, 23) != fingerprint("a", 12, 3)
    assert fingerprint("a\udcff.png", 1) == fingerprint("a\udcff.png", 1)


def test_what_was_added_is_there_after_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "state" / "ledger"
    ledger = Ledger(path)
    for key in KEYS[:6000]:  # more than are kept apart from the sorted ones
        ledger.add([key])
    for again in (ledger, Ledger(path)):
        assert len(again) == 6000
        assert all(key in again for key in KEYS[:6000])
        assert not any(key in again for key in KEYS[6000:])
    ledger.add(KEYS[:6000])
    assert path.stat().st_size == 8 * 6001


@pytest.mark.parametrize("cut", range(1, 9))
def test_a_line_that_was_cut_off_costs_one_file(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "ledger"
    Ledger(path).add(KEYS[:3])
    path.write_bytes(path.read_bytes()[:-cut])
    ledger = Ledger(path)
    assert [key in ledger for key in KEYS[:3]] == [True, True, False]
    ledger.add(KEYS[2:4])
    assert all(key in Ledger(path) for key in KEYS[:4])


@pytest.mark.parametrize("content", [b"", b"scor", b"another file altogether"])
def test_a_file_that_is_none_is_begun_anew(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "ledger"
    path.write_bytes(content)
    ledger = Ledger(path)
    assert len(ledger) == 0
    ledger.add(KEYS[:1])
    assert KEYS[0] in Ledger(path)


def test_only_what_is_still_in_the_folder_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "ledger"
    ledger = Ledger(path)
    ledger.add(KEYS)
    ledger.forget_others(array("Q", KEYS[:100]))
    for again in (ledger, Ledger(path)):
        assert len(again) == 100
        assert all(key in again for key in KEYS[:100])
    ledger.forget_others(array("Q", KEYS[:50]))
    assert len(ledger) == 100, "a few are not worth a new file"


def test_an_empty_folder_may_be_a_disk_that_is_not_mounted_and_nothing_is_forgotten(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger")
    ledger.add(KEYS)
    ledger.forget_others(array("Q"))
    assert len(ledger) == len(KEYS)


def test_but_not_without_a_bound(tmp_path: Path) -> None:
    path = tmp_path / "ledger"
    path.write_bytes(b"scored-1" + np.arange(1_100_000, dtype="<u8").tobytes())
    ledger = Ledger(path)
    ledger.forget_others(array("Q"))
    assert len(ledger) == 0
    assert path.stat().st_size == 8


def test_a_full_disk_is_an_error_and_what_was_not_written_is_written_later(tmp_path: Path) -> None:
    path = tmp_path / "ledger"
    ledger = Ledger(path)
    ledger.add(KEYS[:2])
    with disk.full(path.stat().st_size + 4), pytest.raises(TransportError, match="ledger"):
        ledger.add(KEYS[2:3])
    assert path.stat().st_size == 8 * 3
    assert KEYS[2] in ledger
    ledger.add(KEYS[3:4])
    assert all(key in Ledger(path) for key in KEYS[:4])


def test_without_a_file_it_remembers_as_long_as_it_lasts() -> None:
    ledger = Ledger(None)
    ledger.add(KEYS[:5000])
    assert KEYS[4999] in ledger
    ledger.forget_others(array("Q", KEYS[:1]))
    assert (KEYS[0] in ledger, KEYS[4999] in ledger) == (True, False)
