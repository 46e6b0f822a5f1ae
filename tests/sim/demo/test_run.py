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
    with log_of(out).open("wb") as log:
        return subprocess.Popen(
            [*_COMMAND, "--out", str(out), *options],
            stdout=log,
            stderr=subprocess.STDOUT,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            # A shell's background jobs are started deaf to Ctrl-C, and so would be their children.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )


def log_of(out: Path) -> Path:
    return out.with_suffix(".log")


@pytest.mark.integration
def test_a_short_demo_scores_every_frame_and_leaves_its_files(tmp_path: Path) -> None:
    out = tmp_path / "out"
    demo = start(out, "--seconds", "12", "--fps", "20", "--devices", "2")
    try:
        code = demo.wait(150)
    finally:
        demo.kill()
    log = log_of(out).read_text()
    assert code in (0, 1), log  # too short for a patch: whether the loop helped is chance
    summary = json.loads((out / "summary.json").read_text())
    assert [device["frames"] for device in summary["devices"]] == [240, 240]
    assert summary["helped"] is (code == 0)
    assert summary["accuracy"]["statistics"] > summary["accuracy"]["frozen"]
    assert all(device["uploaded"] > 0 and device["bytes_up"] > 0 for device in summary["devices"])
    assert (out / "report.html").is_file()
    assert (out / "report.png").is_file()


@pytest.mark.integration
def test_ctrl_c_leaves_no_process(tmp_path: Path) -> None:
    out = tmp_path / "out"
    demo = start(out, "--seconds", "120", "--devices", "1")
    try:
        deadline = time.monotonic() + 120
        predictions = out / "predictions" / "camera-1.csv"
        while not (predictions.is_file() and predictions.read_text().count("\n") > 20):
            assert demo.poll() is None, log_of(out).read_text()
            assert time.monotonic() < deadline
            time.sleep(0.05)
        children = psutil.Process(demo.pid).children(recursive=True)
        assert len(children) >= 3  # broker, cloud, device
        demo.send_signal(signal.SIGINT)
        assert demo.wait(150) == 130, log_of(out).read_text()
    finally:
        demo.kill()
    _, alive = psutil.wait_procs(children, timeout=10)
    assert alive == []
