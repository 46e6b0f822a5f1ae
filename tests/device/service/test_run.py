"""`device run` as a service manager sees it: exit codes, the journal, and where a loop was at its end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from edgeadapt_models.compile import tiny_bundle
from tests.device import rig
from tests.device.io.sources.videos import make_video

pytestmark = pytest.mark.integration
_COMMAND = [sys.executable, "-c", "from edgeadapt.cli import main; main()", "device", "run"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A device that plays its stream round and round, as `device.toml` says."""
    tiny_bundle(tmp_path / "bundle")
    np.save(tmp_path / "frames.npy", rig.frames(20))
    (tmp_path / "device.toml").write_text(
        '[device]\nname = "a"\n[mqtt]\nenabled = false\n[http]\nenabled = false\n'
        "[output]\nstatus_every_s = 0.1\n"
        '[source]\npath = "."\nframes_per_second = 50.0\nloop = true\n'
    )
    return tmp_path


def start(folder: Path, **environ: str) -> subprocess.Popen[str]:
    """The daemon on the journal: its stderr is the stream that JOURNAL_STREAM names."""
    stream = (folder / "journal").open("w")
    found = os.fstat(stream.fileno())
    named = {"JOURNAL_STREAM": f"{found.st_dev}:{found.st_ino}", "OMP_NUM_THREADS": "1"}
    with stream:
        return subprocess.Popen(
            _COMMAND, cwd=folder, stderr=stream, text=True, env={**os.environ, **named, **environ}
        )


def until_it_runs(process: subprocess.Popen[str], folder: Path) -> None:
    deadline_s = time.monotonic() + 60
    while not ((file := folder / "state" / "status.json").is_file() and '"ready": true' in file.read_text()):
        assert process.poll() is None
        assert time.monotonic() < deadline_s
        time.sleep(0.02)


def test_an_ordinary_end_is_0_and_every_line_of_the_journal_has_its_severity(folder: Path) -> None:
    process = start(folder)
    until_it_runs(process, folder)
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 0
    lines = (folder / "journal").read_text().splitlines()
    assert lines
    assert all(line.startswith("<6>") for line in lines), lines
    assert any("scoring from frame 0" in line for line in lines)


def test_a_mistake_is_2_which_no_new_start_would_mend(folder: Path) -> None:
    process = start(folder, EDGEADAPT__PROBE__SHARE="7")
    assert process.wait(60) == 2
    assert "probe.share" in (folder / "journal").read_text()


def test_a_disk_that_refuses_is_75_and_a_new_start_may_go_well(folder: Path) -> None:
    (folder / "state").write_text("in the way")
    process = start(folder)
    assert process.wait(60) == 75
    assert "<3>state/lock: cannot be locked" in (folder / "journal").read_text()
    (folder / "state").unlink()
    again = start(folder)
    until_it_runs(again, folder)
    again.send_signal(signal.SIGTERM)
    assert again.wait(60) == 0


def test_a_damaged_video_fills_no_journal(folder: Path) -> None:
    make_video(folder / "a.avi", 60, width=64, height=64)
    data = (folder / "a.avi").read_bytes()
    (folder / "a.avi").write_bytes(data[: len(data) // 2].replace(b"\xff\xc4", b"\xff\xc5"))
    video = {"KIND": "video", "PATH": "a.avi", "LOOP": "false", "RESIZE": "stretch"}
    process = start(folder, **{f"EDGEADAPT__SOURCE__{key}": value for key, value in video.items()})
    assert process.wait(60) in (0, 2)
    lines = (folder / "journal").read_text().splitlines()
    assert [line for line in lines if not line.startswith(("<6>", "<4>", "<3>"))] == []


def test_a_watchdogs_signal_leaves_the_stacks_of_all_threads_in_the_journal(folder: Path) -> None:
    process = start(folder)
    until_it_runs(process, folder)
    process.send_signal(signal.SIGABRT)
    assert process.wait(60) == -signal.SIGABRT
    text = (folder / "journal").read_text()
    assert "Fatal Python error: Aborted" in text
    assert "daemon.py" in text
    assert "builder.py" in text
