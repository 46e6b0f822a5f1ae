"""The daemon as a process: killed and started again, stopped, asked, and set up wrongly."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from edgeadapt.bundle import read_folder
from edgeadapt.digest import sha256_hex
from edgeadapt_device.io.installed import COPY_NAME
from edgeadapt_device.io.predictions import HEADER
from edgeadapt_device.io.store import GenerationStore
from edgeadapt_models.compile import tiny_bundle
from edgeadapt_models.compile.tiny import tiny_images
from tests.device import disk, rig

pytestmark = pytest.mark.integration

_WAIT_S = 60.0
_CONFIG = """\
[device]
name = "camera-1"
bundle = "{bundle}"
state_dir = "state"
[mqtt]
enabled = false
[http]
enabled = false
[source]
path = "stream"
frames_per_second = {pace}
[probe]
share = 1.0
[output]
predictions = "predictions.csv"
status_every_s = 0.1
commit_every_s = 0.2
[trust]
keys = ["{key}"]
"""

Start = Callable[[], subprocess.Popen[str]]


def command(*words: str) -> list[str]:
    return [sys.executable, "-c", "from edgeadapt.cli import main; main()", "device", *words]


@pytest.fixture(scope="session")
def bundle_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("daemon") / "bundle"
    tiny_bundle(folder)
    return folder


def prepare(folder: Path, bundle: Path, *, frames: int, pace: float) -> Path:
    """A stream and a configuration in `folder`."""
    (folder / "stream").mkdir()
    key = rig.KEY.public_key().public_bytes_raw().hex()
    images, _ = tiny_images(frames, 3)
    np.save(folder / "stream" / "frames.npy", images)
    (folder / "device.toml").write_text(_CONFIG.format(bundle=bundle, pace=pace, key=key))
    return folder


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts the daemon in `tmp_path`; whatever still runs at the end is killed."""
    started: list[subprocess.Popen[str]] = []

    def begin() -> subprocess.Popen[str]:
        process = subprocess.Popen(
            command("run"),
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        started.append(process)
        return process

    yield begin
    for process in started:
        if process.poll() is None:
            process.kill()
        process.communicate()


def rows(folder: Path) -> list[list[str]]:
    """Whole lines of predictions.csv, without the header."""
    path = folder / "predictions.csv"
    text = path.read_text() if path.is_file() else ""
    return [line.split(",") for line in text[: text.rfind("\n") + 1].splitlines()[1:]]


def until(found: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    """Wait for something that a running process will do."""
    deadline_s = time.monotonic() + _WAIT_S
    while not found():
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline_s, "nothing came of it"
        time.sleep(0.02)


def ask(folder: Path, *words: str) -> tuple[int, str]:
    """Exit code and output of `device status`."""
    done = subprocess.run(
        command("status", *words), cwd=folder, capture_output=True, text=True, check=False, timeout=_WAIT_S
    )
    return done.returncode, done.stdout


def asked(folder: Path, *, runs: bool = False) -> dict[str, object]:
    code, output = ask(folder, "--json")
    assert code == (0 if runs else 3)
    found: dict[str, object] = json.loads(output)
    assert found["running"] is runs
    return found


def test_a_killed_device_goes_on_at_the_next_frame_with_every_frame_once(
    tmp_path: Path, bundle_folder: Path, start: Start
) -> None:
    prepare(tmp_path, bundle_folder, frames=400, pace=150.0)
    first = start()
    until(lambda: len(rows(tmp_path)) >= 120, first)
    first.send_signal(signal.SIGKILL)
    assert first.wait(_WAIT_S) == -signal.SIGKILL
    before = rows(tmp_path)
    assert 120 <= len(before) < 400

    second = start()
    output, _ = second.communicate(timeout=_WAIT_S)
    assert second.returncode == 0, output
    assert f"scoring from frame {len(before)} with generation {before[-1][3]}" in output
    after = rows(tmp_path)
    assert [int(row[0]) for row in after] == list(range(400))
    assert after[: len(before)] == before
    assert {row[3] for row in after} == {before[-1][3]}
    assert asked(tmp_path)["frames"] == 400 - len(before)

    assert asked(tmp_path)["reasons"] == ["its source is at its end"]

    third = start()
    output, _ = third.communicate(timeout=_WAIT_S)
    assert third.returncode == 0, output
    assert rows(tmp_path) == after
    assert asked(tmp_path)["health"] == "stopped"


def test_a_killed_device_goes_on_with_the_patch_it_had_confirmed(
    tmp_path: Path, bundle_folder: Path, start: Start
) -> None:
    prepare(tmp_path, bundle_folder, frames=300, pace=150.0)
    bundle = read_folder(bundle_folder)
    device = rig.Rig(bundle, store=GenerationStore(tmp_path / "state" / "generation"))
    device.assign()
    envelope = rig.sealed(bundle, rig.harmless(bundle))
    device.publish(envelope)
    device.play(rig.frames(70))
    name = sha256_hex(envelope)[:12]
    assert device.generation == name
    first = start()
    until(lambda: len(rows(tmp_path)) >= 60, first)
    first.send_signal(signal.SIGKILL)
    first.wait(_WAIT_S)
    second = start()
    output, _ = second.communicate(timeout=_WAIT_S)
    assert second.returncode == 0, output
    after = rows(tmp_path)
    assert {row[3] for row in after} == {name}
    assert [int(row[0]) for row in after] == list(range(int(after[0][0]), 300))


def test_sigterm_ends_it_cleanly_and_status_tells_what_it_did(
    tmp_path: Path, bundle_folder: Path, start: Start
) -> None:
    prepare(tmp_path, bundle_folder, frames=3000, pace=100.0)
    process = start()
    until(lambda: len(rows(tmp_path)) >= 40, process)
    status = asked(tmp_path, runs=True)
    assert status["pid"] == process.pid
    assert status["generation"] == "base"
    assert status["connected"] is False
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=_WAIT_S)
    assert process.returncode == 0, output
    assert "Traceback" not in output
    written = rows(tmp_path)
    assert [int(row[0]) for row in written] == list(range(len(written)))
    assert len(written) < 3000
    assert asked(tmp_path)["frames"] == len(written)
    code, text = ask(tmp_path)
    assert code == 3
    assert "stopped: it was told to stop" in text.splitlines()[0]
    assert f"does not run: {process.pid} ended, last seen 0:00:" in text
    assert "not connected" in text


def test_status_after_a_kill_shows_the_last_counts_and_that_nothing_runs(
    tmp_path: Path, bundle_folder: Path, start: Start
) -> None:
    prepare(tmp_path, bundle_folder, frames=3000, pace=100.0)
    process = start()
    until(lambda: len(rows(tmp_path)) >= 40, process)
    code, text = ask(tmp_path)
    assert code == 0
    assert f"{process.pid}, runs; as of 0 s ago" in text
    process.kill()
    process.wait(_WAIT_S)
    code, text = ask(tmp_path)
    assert code == 3
    assert f"does not run: {process.pid} ended without a goodbye" in text
    frames = asked(tmp_path)["frames"]
    assert isinstance(frames, int)
    assert frames > 0


def test_a_second_device_on_the_same_state_folder_is_refused(
    tmp_path: Path, bundle_folder: Path, start: Start
) -> None:
    prepare(tmp_path, bundle_folder, frames=3000, pace=100.0)
    first = start()
    until(lambda: len(rows(tmp_path)) >= 10, first)
    second = start()
    output, _ = second.communicate(timeout=_WAIT_S)
    assert second.returncode == 2, output
    assert f"ERROR   state is in use by process {first.pid}:" in output.splitlines()[-1]
    assert asked(tmp_path, runs=True)["health"] == "ok"
    first.send_signal(signal.SIGTERM)
    output, _ = first.communicate(timeout=_WAIT_S)
    assert first.returncode == 0, output
    assert [int(row[0]) for row in rows(tmp_path)] == list(range(len(rows(tmp_path))))


def test_a_full_disk_does_not_stop_the_model(tmp_path: Path, bundle_folder: Path, start: Start) -> None:
    prepare(tmp_path, bundle_folder, frames=400, pace=200.0)
    # Room for the outbox and the state, and for a few more predictions.
    old = [f"{frame},9,0.417387,base,0,0" for frame in range(-9000, 0)]
    (tmp_path / "predictions.csv").write_text("\n".join([HEADER, *old]) + "\n")
    size = (tmp_path / "predictions.csv").stat().st_size + 1000
    with disk.full(size):
        process = start()
    output, _ = process.communicate(timeout=_WAIT_S)
    assert process.returncode == 0, output
    assert "finished after 400 frames" in output
    assert "Traceback" not in output
    lines = [line for line in output.splitlines() if "predictions.csv" in line]
    assert len(lines) == 2
    assert "File too large" in lines[0]
    lost = 400 - (len(rows(tmp_path)) - 9000)
    assert f"closed, and {lost} predictions are lost" in lines[1]
    assert asked(tmp_path)["storage_errors"] == 2
    assert (tmp_path / "predictions.csv").stat().st_size == size


def test_damage_is_told_and_the_device_goes_on(tmp_path: Path, bundle_folder: Path, start: Start) -> None:
    prepare(tmp_path, bundle_folder, frames=30, pace=0.0)
    state = tmp_path / "state"
    (state / "generation").mkdir(parents=True)
    (state / "generation" / "state.msgpack").write_bytes(b"damaged" * 100)
    (state / "outbox.sqlite").write_bytes(b"damaged" * 1000)
    output, _ = (process := start()).communicate(timeout=_WAIT_S)
    assert process.returncode == 0, output
    assert "state.msgpack: damaged" in output
    assert "outbox.sqlite is damaged" in output
    assert len(rows(tmp_path)) == 30


def test_frames_of_another_shape_exit_with_2_and_one_clear_line(
    tmp_path: Path, bundle_folder: Path, start: Start
) -> None:
    prepare(tmp_path, bundle_folder, frames=3, pace=0.0)
    np.save(tmp_path / "stream" / "frames.npy", np.zeros((3, 32, 32, 3), np.uint8))
    process = start()
    output, _ = process.communicate(timeout=_WAIT_S)
    assert process.returncode == 2
    (line,) = output.splitlines()
    assert " ERROR " in line
    assert "(32, 32, 3)" in line
    assert "(28, 28, 1)" in line
    assert not (tmp_path / "predictions.csv").exists()


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('path = "stream"', 'path = "nowhere"', "nowhere"),
        ("share = 1.0", "share = 7.0", "probe.share"),
        ("share = 1.0", "shard = 1.0", "shard"),
        ('bundle = "', 'bundle = "/nonexistent', "/nonexistent"),
    ],
)
def test_a_mistake_exits_with_2_before_the_first_frame(
    tmp_path: Path, bundle_folder: Path, start: Start, old: str, new: str, words: str
) -> None:
    prepare(tmp_path, bundle_folder, frames=3, pace=0.0)
    path = tmp_path / "device.toml"
    path.write_text(path.read_text().replace(old, new))
    process = start()
    output, _ = process.communicate(timeout=_WAIT_S)
    assert process.returncode == 2, output
    assert words in output
    assert "Traceback" not in output


@pytest.mark.parametrize("ran", [False, True])
def test_what_kept_it_from_starting_is_in_the_status_until_it_starts(
    tmp_path: Path, bundle_folder: Path, start: Start, ran: bool
) -> None:
    prepare(tmp_path, bundle_folder, frames=30, pace=0.0)
    if ran:
        start().communicate(timeout=_WAIT_S)
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    shutil.copytree(bundle_folder, whole)
    shutil.copytree(bundle_folder, broken)
    (broken / "model.onnx").write_bytes((whole / "model.onnx").read_bytes()[:-100])
    shutil.rmtree(tmp_path / "state" / COPY_NAME, ignore_errors=True)
    config = (tmp_path / "device.toml").read_text()
    (tmp_path / "device.toml").write_text(config.replace(str(bundle_folder), "broken"))
    (process := start()).communicate(timeout=_WAIT_S)
    assert process.returncode == 2
    status = asked(tmp_path)
    assert (status["health"], status["frames"]) == ("failed", 30 if ran else 0)
    assert "does not run: model.onnx does not have the digest" in str(status["reasons"])
    (tmp_path / "device.toml").write_text(config.replace(str(bundle_folder), "whole"))
    output, _ = (process := start()).communicate(timeout=_WAIT_S)
    assert process.returncode == 0, output
    assert (asked(tmp_path)["health"], asked(tmp_path)["failure"]) == ("stopped", "")


def test_status_before_the_first_run_exits_with_2(tmp_path: Path, bundle_folder: Path) -> None:
    prepare(tmp_path, bundle_folder, frames=3, pace=0.0)
    done = subprocess.run(
        command("status"), cwd=tmp_path, capture_output=True, text=True, check=False, timeout=_WAIT_S
    )
    assert done.returncode == 2
    assert "no device has run" in done.stderr
