"""The demo as a command, with every process real."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

_COMMAND = (sys.executable, "-c", "from edgeadapt.cli import main; main()", "demo", "--plain")


def start(out: Path, *options: str) -> subprocess.Popen[bytes]:
    with (out / "demo.log").open("wb") as log:
        return subprocess.Popen(
            [*_COMMAND, "--out", str(out), *options],
            stdout=log,
            stderr=subprocess.STDOUT,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )


@pytest.mark.integration
def test_a_short_demo_scores_every_frame_and_leaves_its_files(tmp_path: Path) -> None:
    demo = start(tmp_path, "--seconds", "12", "--fps", "20", "--devices", "2")
    try:
        code = demo.wait(150)
    finally:
        demo.kill()
    log = (tmp_path / "demo.log").read_text()
    assert code in (0, 1), log  # too short for a patch: whether the loop helped is chance
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert [device["frames"] for device in summary["devices"]] == [240, 240]
    assert summary["helped"] is (code == 0)
    assert summary["accuracy"]["statistics"] > summary["accuracy"]["frozen"]
    assert all(device["uploaded"] > 0 and device["bytes_up"] > 0 for device in summary["devices"])
    assert (tmp_path / "report.html").is_file()
    assert (tmp_path / "report.png").is_file()


@pytest.mark.integration
def test_ctrl_c_leaves_no_process(tmp_path: Path) -> None:
    demo = start(tmp_path, "--seconds", "120", "--devices", "1")
    try:
        deadline = time.monotonic() + 120
        predictions = tmp_path / "predictions" / "camera-1.csv"
        while not (predictions.is_file() and predictions.read_text().count("\n") > 20):
            assert demo.poll() is None, (tmp_path / "demo.log").read_text()
            assert time.monotonic() < deadline
            time.sleep(0.05)
        children = psutil.Process(demo.pid).children(recursive=True)
        assert len(children) >= 3  # broker, cloud, device
        demo.send_signal(signal.SIGINT)
        assert demo.wait(60) == 130, (tmp_path / "demo.log").read_text()
    finally:
        demo.kill()
    _, alive = psutil.wait_procs(children, timeout=10)
    assert alive == []
