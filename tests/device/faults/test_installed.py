"""A bundle that is damaged where it was installed: the device goes on with its copy of the last whole one."""

from __future__ import annotations

import errno
import shutil
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from edgeadapt.bundle import read_folder
from edgeadapt.errors import BundleError
from edgeadapt_device import Agent
from edgeadapt_device.config import DeviceConfig, DeviceSection, MqttSection, OutputSection, SourceSection
from edgeadapt_device.daemon import Daemon
from edgeadapt_device.io.durable import Disk
from edgeadapt_device.io.installed import COPY_NAME, keep_copy, open_installed
from edgeadapt_device.status import read_status
from edgeadapt_models.compile import tiny_bundle
from tests.device import rig

FRAMES = 40


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("installed") / "whole"
    tiny_bundle(folder)
    return folder


@pytest.fixture
def installed(tmp_path: Path, whole: Path) -> Path:
    """A copy of the bundle that a test may damage."""
    return Path(shutil.copytree(whole, tmp_path / "bundle"))


@pytest.fixture
def state(tmp_path: Path) -> Path:
    folder = tmp_path / "state"
    folder.mkdir()
    return folder


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def run(tmp_path: Path, installed: Path, *, keeps: bool = True, frames: int = FRAMES) -> None:
    """Score frames up to that one, offline."""
    np.save(tmp_path / "frames.npy", rig.frames(frames))
    config: DeviceConfig = rig.config(
        device=DeviceSection(
            name=rig.NAME, bundle=str(installed), state_dir=str(tmp_path / "state"), keep_bundle=keeps
        ),
        mqtt=MqttSection(enabled=False),
        source=SourceSection(path=str(tmp_path)),
        output=OutputSection(predictions=str(tmp_path / "predictions.csv")),
    )
    Daemon(config, threading.Event()).run()


@pytest.mark.parametrize("file", ["model.onnx", "manifest.json", "slots.safetensors"])
def test_a_file_that_was_cut_short_stops_no_device_that_has_run(
    tmp_path: Path, installed: Path, file: str
) -> None:
    run(tmp_path, installed)
    before = read_status(tmp_path / "state")
    assert before.bundle_trouble == ""
    cut(installed / file)
    run(tmp_path, installed, frames=2 * FRAMES)
    after = read_status(tmp_path / "state")
    assert after.frames == FRAMES
    assert after.bundle == before.bundle
    assert file in after.bundle_trouble
    assert "install the bundle again" in after.bundle_trouble
    assert after.health != "ok"
    assert any(file in reason for reason in after.reasons)
    assert (tmp_path / "predictions.csv").read_text().count("\n") == 1 + 2 * FRAMES


def test_an_agent_goes_on_likewise(tmp_path: Path, installed: Path) -> None:
    frame = rig.frames(1)[0]
    with Agent(installed, device={"state_dir": str(tmp_path / "state")}) as agent:
        wanted = agent.infer(frame)
        deadline_s = time.monotonic() + 30.0
        while not (tmp_path / "state" / COPY_NAME).is_dir() and time.monotonic() < deadline_s:
            time.sleep(0.01)
    cut(installed / "model.onnx")
    with Agent(installed, device={"state_dir": str(tmp_path / "state")}) as agent:
        np.testing.assert_array_equal(agent.infer(frame).logits, wanted.logits)
        assert "model.onnx" in agent.status().bundle_trouble


def test_without_a_copy_a_damaged_bundle_is_an_error_that_names_the_file(
    tmp_path: Path, installed: Path
) -> None:
    run(tmp_path, installed, keeps=False)
    assert not (tmp_path / "state" / COPY_NAME).exists()
    cut(installed / "model.onnx")
    with pytest.raises(BundleError, match=r"model\.onnx"):
        run(tmp_path, installed)


def test_a_folder_that_is_not_there_is_a_mistake_and_no_damage(
    installed: Path, state: Path, tmp_path: Path
) -> None:
    assert keep_copy(read_folder(installed), installed, state) == ""
    with pytest.raises(BundleError, match="holds no manifest"):
        open_installed(tmp_path / "elsewhere", state, keeps=True)


def test_a_copy_that_is_damaged_too_is_not_run(installed: Path, state: Path) -> None:
    assert keep_copy(read_folder(installed), installed, state) == ""
    cut(installed / "model.onnx")
    cut(state / COPY_NAME / "probe.bin")
    with pytest.raises(BundleError, match=r"model\.onnx"):
        open_installed(installed, state, keeps=True)


def test_another_bundle_takes_the_place_of_the_copy_and_the_same_one_is_left(
    installed: Path, state: Path, tmp_path: Path
) -> None:
    assert keep_copy(read_folder(installed), installed, state) == ""
    made = (state / COPY_NAME).stat().st_ino
    assert keep_copy(read_folder(installed), installed, state) == ""
    assert (state / COPY_NAME).stat().st_ino == made
    tiny_bundle(tmp_path / "other", seed=2)
    other = read_folder(tmp_path / "other")
    assert other.digest != read_folder(installed).digest
    assert keep_copy(other, tmp_path / "other", state) == ""
    assert read_folder(state / COPY_NAME).digest == other.digest
    assert sorted(path.name for path in state.iterdir()) == [COPY_NAME]


def test_a_disk_that_refuses_leaves_the_copy_that_was_there(
    installed: Path, state: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = read_folder(installed)
    assert keep_copy(first, installed, state) == ""
    tiny_bundle(tmp_path / "other", seed=2)

    def full(disk: Disk, path: Path, data: bytes) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Disk, "write", full)
    assert "No space left" in keep_copy(read_folder(tmp_path / "other"), tmp_path / "other", state)
    assert read_folder(state / COPY_NAME).digest == first.digest
    assert sorted(path.name for path in state.iterdir()) == [COPY_NAME]
