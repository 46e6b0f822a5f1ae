"""Reading a file that grows."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgeadapt.errors import TransportError
from edgeadapt_sim.demo.watch.predictions import NOT_SCORED, PredictionsTail


def test_takes_whole_lines_only_and_counts_in_one_piece(tmp_path: Path) -> None:
    path = tmp_path / "p.csv"
    tail = PredictionsTail(path, 4)
    assert tail.read() == 0
    path.write_text("frame,prediction,entropy,generation,segment,flagged\n0,7,0.1,base,0,1\n1,3,0.2,ba")
    assert tail.read() == 1
    assert (tail.flagged, tail.generation) == (1, "base")
    with path.open("a") as file:
        file.write("se,0,0\n3,1,0.3,c-1 #2,1,1\n")
    assert tail.read() == 2
    assert tail.labels.tolist() == [7, 3, NOT_SCORED, 1]
    assert (tail.flagged, tail.generation, tail.segment) == (2, "c-1 #2", 1)


def test_counts_verdicts_where_the_device_writes_them(tmp_path: Path) -> None:
    path = tmp_path / "p.csv"
    header = "frame,prediction,entropy,generation,segment,flagged,verdict"
    path.write_text(
        f"{header}\n0,7,0.1,base,0,1,unknown\n1,3,0.2,base,0,0,familiar\n2,3,0.2,base,0,0,unknown\n"
    )
    tail = PredictionsTail(path, 3)
    assert tail.read() == 3
    assert tail.verdicts == {"unknown": 2, "familiar": 1}


def test_a_frame_scored_again_keeps_its_first_answer(tmp_path: Path) -> None:
    path = tmp_path / "p.csv"
    path.write_text("0,7,0.1,base,0,0\n1,2,0.1,base,0,0\n1,5,0.1,base,0,1\n")
    tail = PredictionsTail(path, 2)
    assert tail.read() == 2
    assert tail.labels.tolist() == [7, 2]
    assert tail.flagged == 0


def test_a_foreign_line_names_the_file(tmp_path: Path) -> None:
    path = tmp_path / "p.csv"
    path.write_text("hello\n")
    with pytest.raises(TransportError, match=r"p\.csv"):
        PredictionsTail(path, 2).read()
