"""The CSV that a host reads while the device writes, also after a crash."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgeadapt.errors import ConfigError, TransportError
from edgeadapt_device.core.effects import Predicted
from edgeadapt_device.io.predictions import HEADER, PredictionLog
from tests.device import disk


def predicted(frame: int, flagged: bool = False) -> Predicted:
    return Predicted(frame, 3, np.full(4, 0.25, np.float32), 1.25, "base", 2, flagged)


def test_rows_follow_one_header_over_restarts(tmp_path: Path) -> None:
    path = tmp_path / "out" / "predictions.csv"
    log = PredictionLog(path)
    assert log.last_frame() is None
    log.write(predicted(0), 0.0)
    log.write(predicted(1, flagged=True), 0.0)
    log.close()
    log = PredictionLog(path)
    assert log.last_frame() == 1
    log.write(predicted(2), 0.0)
    assert log.last_frame() == 2
    log.close()
    assert path.read_text().splitlines() == [
        HEADER,
        "0,3,1.250000,base,2,0,familiar",
        "1,3,1.250000,base,2,1,familiar",
        "2,3,1.250000,base,2,0,familiar",
    ]


@pytest.mark.parametrize(("named", "end"), [(False, ""), (True, ",a.png")])
def test_a_file_of_an_older_release_keeps_its_columns(tmp_path: Path, named: bool, end: str) -> None:
    path = tmp_path / "p.csv"
    header = "frame,prediction,entropy,generation,segment,flagged" + (",file" if named else "")
    path.write_text(f"{header}\n4,1,0.1,base,0,0{end}\n")
    log = PredictionLog(path, named=named)
    assert log.last_frame() == 4
    log.write(predicted(5), 0.0, name="a.png")
    log.close()
    assert path.read_text().splitlines() == [header, f"4,1,0.1,base,0,0{end}", f"5,3,1.250000,base,2,0{end}"]


def test_rows_reach_the_file_by_number_or_by_time(tmp_path: Path) -> None:
    path = tmp_path / "p.csv"
    log = PredictionLog(path, flush_rows=3, flush_s=0.2)
    for frame in range(3):
        assert len(path.read_text().splitlines()) == 1
        log.write(predicted(frame), 10.0)
    assert len(path.read_text().splitlines()) == 4
    log.write(predicted(3), 10.1)
    log.flush_if_due(10.15)
    assert len(path.read_text().splitlines()) == 4
    log.flush_if_due(10.31)
    assert len(path.read_text().splitlines()) == 5
    log.close()


@pytest.mark.parametrize(
    ("tail", "last"),
    [("", None), ("5,1,0.1,base,0,0\n", 5), ("5,1,0.1,base,0,0\n6,1,0.", 5), ("6", None)],
)
def test_a_half_written_line_is_removed(tmp_path: Path, tail: str, last: int | None) -> None:
    path = tmp_path / "p.csv"
    path.write_text(HEADER + "\n" + tail)
    log = PredictionLog(path)
    assert log.last_frame() == last
    log.write(predicted(7), 0.0)
    log.close()
    assert path.read_text().splitlines()[-1].startswith("7,3,")
    assert len(path.read_text().splitlines()) == 2 + (last is not None)


def test_a_half_written_header_is_written_again(tmp_path: Path) -> None:
    path = tmp_path / "p.csv"
    path.write_text(HEADER[:9])
    PredictionLog(path).close()
    assert path.read_text() == HEADER + "\n"


def test_a_full_disk_is_told_once_per_retry_and_no_line_is_torn_or_lost(tmp_path: Path) -> None:
    path, told = tmp_path / "p.csv", 0
    log = PredictionLog(path, flush_rows=10, retry_s=5.0)
    with disk.full(500):
        for frame in range(200):
            try:
                log.write(predicted(frame), 0.1 * frame)
            except TransportError:
                told += 1
        assert path.stat().st_size == 500
    assert told == 4
    log.flush_if_due(100.0)
    log.close()
    assert [int(line.split(",")[0]) for line in path.read_text().splitlines()[1:]] == list(range(200))


def test_rows_beyond_the_bound_are_counted_as_lost(tmp_path: Path) -> None:
    path = tmp_path / "p.csv"
    log = PredictionLog(path, flush_rows=1, kept_rows=8)
    with disk.full(60):
        with pytest.raises(TransportError):
            log.write(predicted(0), 0.0)
        for frame in range(1, 30):
            log.write(predicted(frame), 1.0)
        with pytest.raises(TransportError, match="22 predictions are lost"):
            log.flush_if_due(99.0)
    assert log.last_frame() == 7
    log.close()
    assert len(path.read_text().splitlines()) == 1 + 8


def test_another_file_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "p.csv"
    path.write_text("name,price\nbread,3\n")
    with pytest.raises(ConfigError, match="no file of predictions"):
        PredictionLog(path)
    assert path.read_text() == "name,price\nbread,3\n"


def test_a_folder_in_its_place_is_a_mistake(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"output\.predictions: .* is a folder"):
        PredictionLog(tmp_path)
