"""The files and the last words of a run."""

from __future__ import annotations

import io
import json
from pathlib import Path

from rich.console import Console

from edgeadapt_sim.demo.finish import last_words, write_files
from tests.sim.example_run import example_run


def test_writes_report_picture_and_summary(tmp_path: Path) -> None:
    summary = write_files(example_run(frames=300, loop_gain=0.05), tmp_path)
    assert summary.helped
    assert json.loads((tmp_path / "summary.json").read_text())["helped"] is True
    assert "<html" in (tmp_path / "report.html").read_text()[:500]
    assert (tmp_path / "report.png").read_bytes().startswith(b"\x89PNG")


def test_last_words_name_every_device_and_domain_and_the_report(tmp_path: Path) -> None:
    sink = io.StringIO()
    summary = write_files(example_run(frames=300), tmp_path)
    last_words(summary, tmp_path, Console(file=sink, width=120))
    text = sink.getvalue()
    for word in ("camera-1", "camera-3", "gaussian noise 5", "report.html", "1 published, 1 refused"):
        assert word in text
