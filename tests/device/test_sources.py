"""The daemon on every kind of source, with the faults that each has: real files, a real video, a camera of
a test's own behind OpenCV's interface."""

from __future__ import annotations

import csv
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as PillowImage

from edgeadapt.bundle import InputSpec
from edgeadapt.errors import ConfigError
from edgeadapt.normstats import StatisticsConfig
from edgeadapt_device.config import (
    DeviceConfig,
    DeviceSection,
    HttpSection,
    MqttSection,
    OutputSection,
    SourceSection,
)
from edgeadapt_device.daemon import Daemon
from edgeadapt_device.io.predictions import NAMED_HEADER
from edgeadapt_device.io.sources import OpenCapture
from edgeadapt_device.io.sources.fit import Fitter
from edgeadapt_device.status import DeviceStatus, read_status
from edgeadapt_models.compile import tiny_bundle
from edgeadapt_sim.broker import Broker
from tests.device import rig
from tests.device.io.sources.videos import FakeCamera, make_video

_WAIT_S = 30.0


@pytest.fixture(scope="module")
def bundle_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sources") / "bundle"
    tiny_bundle(folder)
    return folder


Configure = Callable[..., DeviceConfig]


@pytest.fixture
def configured(tmp_path: Path, bundle_folder: Path) -> Configure:
    """A configuration with this [source], offline, with every file in `tmp_path`; it always says the same."""

    def make(*, mqtt: MqttSection | None = None, **source: Any) -> DeviceConfig:
        return rig.config(
            device=DeviceSection(
                name=rig.NAME, fleet=rig.FLEET, bundle=str(bundle_folder), state_dir=str(tmp_path / "state")
            ),
            mqtt=mqtt if mqtt is not None else MqttSection(enabled=False),
            source=SourceSection(**{"path": str(tmp_path / "frames"), **source}),
            statistics=StatisticsConfig(enabled=False),
            http=HttpSection(enabled=False),
            output=OutputSection(predictions=str(tmp_path / "predictions.csv"), status_every_s=0.05),
        )

    return make


def rows(folder: Path) -> list[list[str]]:
    """Whole rows of predictions.csv, with the header."""
    path = folder / "predictions.csv"
    return list(csv.reader(path.read_text().splitlines())) if path.is_file() else []


def labels(folder: Path) -> list[str]:
    return [row[1] for row in rows(folder)[1:]]


def colour(grey: np.ndarray, factor: int = 2) -> PillowImage.Image:
    """A larger picture, in colour, that becomes `grey` when it is fitted."""
    large = grey[:, :, 0].repeat(factor, axis=0).repeat(factor, axis=1)
    return PillowImage.fromarray(np.repeat(large[:, :, None], 3, axis=2))


def run(config: DeviceConfig) -> None:
    Daemon(config, threading.Event()).run()


@contextmanager
def running(config: DeviceConfig, opening: OpenCapture | None = None) -> Iterator[None]:
    """A daemon in a thread of its own; whatever ended it is raised."""
    stop, failed = threading.Event(), list[BaseException]()

    def work() -> None:
        try:
            Daemon(config, stop, opening=opening).run()
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(_WAIT_S)
    assert not thread.is_alive()
    if failed:
        raise failed[0]


def seen(folder: Path, found: Callable[[DeviceStatus], bool]) -> DeviceStatus:
    """The first status like that."""
    deadline_s, last = time.monotonic() + _WAIT_S, None
    while time.monotonic() < deadline_s:
        if (folder / "state" / "status.json").is_file():
            last = read_status(folder / "state")
            if found(last):
                return last
        time.sleep(0.01)
    raise AssertionError(f"never; last {last}")


def fitted(frames: np.ndarray) -> np.ndarray:
    """What becomes of the frames as larger colour pictures."""
    fitter = Fitter(InputSpec((1, 28, 28)))
    return np.stack([fitter.read(colour(frame)) for frame in frames])


def streamed(folder: Path, configured: Configure, frames: np.ndarray) -> list[str]:
    """What the device says to the same frames as a stream, after which nothing of it is left."""
    (folder / "frames").mkdir(exist_ok=True)
    np.save(folder / "frames" / "frames.npy", frames)
    run(configured())
    answers = labels(folder)
    (folder / "predictions.csv").unlink()
    (folder / "frames" / "frames.npy").unlink()
    for path in sorted((folder / "state").rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    return answers


def test_a_folder_of_larger_colour_pictures_says_what_the_stream_says(
    tmp_path: Path, configured: Configure
) -> None:
    frames = rig.frames(40)
    expected = streamed(tmp_path, configured, fitted(frames))
    for number, frame in enumerate(frames):
        colour(frame).save(tmp_path / "frames" / f"{number:02}, picture.png")
    (tmp_path / "frames" / "07, picture.png").write_bytes(b"no image")
    run(configured(kind="folder"))
    got = rows(tmp_path)
    assert ",".join(got[0]) == NAMED_HEADER
    assert [row[-1] for row in got[1:]] == [f"{n:02}, picture.png" for n in range(40) if n != 7]
    assert [row[1] for row in got[1:]] == [label for n, label in enumerate(expected) if n != 7]
    status = read_status(tmp_path / "state")
    assert (status.source, status.skipped, status.frames) == ("ended", 1, 39)
    run(configured(kind="folder"))
    assert len(rows(tmp_path)) == 40
    assert "is at its end, all 40 frames" in read_status(tmp_path / "state").note


def test_a_video_is_scored_to_its_end_and_a_second_run_goes_on_there(
    tmp_path: Path, configured: Configure
) -> None:
    make_video(tmp_path / "a.avi", 50)
    config = configured(kind="video", path=str(tmp_path / "a.avi"))
    run(config)
    assert [int(row[0]) for row in rows(tmp_path)[1:]] == list(range(50))
    lines = (tmp_path / "predictions.csv").read_text().splitlines()
    (tmp_path / "predictions.csv").write_text("\n".join(lines[:31]) + "\n")
    run(config)
    assert (tmp_path / "predictions.csv").read_text().splitlines()[:31] == lines[:31]
    assert [int(row[0]) for row in rows(tmp_path)[1:]] == list(range(50))
    assert [row[1] for row in rows(tmp_path)[1:]] == [line.split(",")[1] for line in lines[1:]]
    run(config)
    assert len(rows(tmp_path)) == 51
    assert "is at its end, all 50 frames" in read_status(tmp_path / "state").note


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ({"kind": "video", "path": "nowhere.avi"}, r"nowhere\.avi is missing"),
        ({"kind": "folder", "path": "nowhere"}, "nowhere cannot be listed"),
        ({"kind": "watch", "path": "nowhere"}, "nowhere is missing"),
        ({"kind": "camera", "path": "front door"}, "a camera is a number"),
        ({"kind": "camera", "path": "0", "width": 640}, r"source\.width and source\.height"),
    ],
)
def test_a_source_that_is_not_there_is_named_before_the_first_frame(
    configured: Configure, source: dict[str, Any], words: str
) -> None:
    with pytest.raises(ConfigError, match=words):
        Daemon(configured(**source), threading.Event())


def test_dropped_files_are_scored_once_over_a_restart(tmp_path: Path, configured: Configure) -> None:
    folder, frames = tmp_path / "frames", rig.frames(9)
    expected = streamed(tmp_path, configured, fitted(frames))
    config = configured(kind="watch", poll_s=0.02, settle_s=0.05)

    def drop(number: int) -> None:
        time.sleep(0.02)
        colour(frames[number]).save(tmp_path / "partial.png")
        (tmp_path / "partial.png").rename(folder / f"{9 - number}.png")

    for number in range(3):
        drop(number)
    with running(config):
        seen(tmp_path, lambda status: status.frames == 3 and status.source == "waiting")
        for number in range(3, 6):
            drop(number)
        (folder / "broken.png").write_bytes(b"no image")
        seen(tmp_path, lambda status: status.frames == 6 and status.skipped == 1)
    for number in range(6, 9):
        drop(number)
    with running(config):
        status = seen(tmp_path, lambda status: status.frames == 3 and status.source == "waiting")
    assert status.skipped == 0
    got = rows(tmp_path)[1:]
    assert [(int(row[0]), row[-1]) for row in got] == [(n, f"{9 - n}.png") for n in range(9)]
    assert [row[1] for row in got] == expected


def test_a_file_counts_as_scored_only_when_its_prediction_is_written(
    tmp_path: Path, configured: Configure
) -> None:
    (tmp_path / "frames").mkdir()
    for number, frame in enumerate(rig.frames(5)):
        colour(frame).save(tmp_path / "frames" / f"{number}.png")
    config = configured(kind="watch", poll_s=0.02, settle_s=0.0, after="delete")
    daemon = Daemon(config, threading.Event())
    daemon._predictions = None

    class Waiting:
        waiting_rows = 1

    daemon._predictions = Waiting()  # type: ignore[assignment]
    daemon._feed.start(0)
    deadline_s = time.monotonic() + _WAIT_S
    while len(daemon._unsettled) < 5 and time.monotonic() < deadline_s:
        frame = daemon._feed.poll()
        if frame is not None:
            daemon._unsettled.append(frame.name)
    daemon._settle()
    time.sleep(0.1)
    assert len(list((tmp_path / "frames").iterdir())) == 5
    Waiting.waiting_rows = 0
    daemon._settle()
    daemon._feed.close()
    assert list((tmp_path / "frames").iterdir()) == []


@pytest.mark.integration
def test_a_camera_that_hangs_holds_nothing_up_and_is_opened_again(
    tmp_path: Path, configured: Configure
) -> None:
    """Two pictures and a read that never returns; another one; and pictures in another size."""
    hang = threading.Event()
    small, large = np.full((28, 28, 3), 90, np.uint8), np.full((60, 80, 3), 90, np.uint8)
    camera = FakeCamera([small, small, hang], [hang], [large] * 100_000, pace_s=0.005)
    with Broker.start(log_dir=tmp_path / "broker") as broker:
        config = configured(
            kind="camera", path="0", stall_s=1.0, mqtt=MqttSection(port=broker.port), frames_per_second=50.0
        )
        try:
            with running(config, camera.open):
                stalled = seen(tmp_path, lambda status: status.source == "stalled")
                assert stalled.source_trouble.endswith("the source does not answer")
                assert stalled.generation == "base"
                assert stalled.health == "failed"
                assert any("stalled" in reason for reason in stalled.reasons)
                later = seen(tmp_path, lambda status: status.connected and status.time_s > stalled.time_s)
                assert later.running
                back = seen(tmp_path, lambda status: status.source == "running" and status.frames > 40)
                assert back.source_trouble == ""
                assert back.health == "ok"
        finally:
            hang.set()
    got = [int(row[0]) for row in rows(tmp_path)[1:]]
    assert got[:2] == [0, 1]
    assert got == sorted(set(got))
    assert back.frames + 2 < got[-1] + 1, "what was overtaken has used up its index"
    assert read_status(tmp_path / "state").dropped > 0


def test_a_camera_that_is_never_there_leaves_a_device_that_says_so(
    tmp_path: Path, configured: Configure
) -> None:
    with running(configured(kind="camera", path="0"), FakeCamera(None).open):
        status = seen(tmp_path, lambda status: bool(status.source_trouble))
        assert (status.source, status.ready) == ("starting", True)
        assert status.health == "degraded"
        assert status.source_trouble == "camera 0: it cannot be opened"


def test_a_camera_that_does_not_exist_is_told_by_opencv_itself(tmp_path: Path, configured: Configure) -> None:
    with running(configured(kind="camera", path="/dev/video97")):
        status = seen(tmp_path, lambda status: bool(status.source_trouble))
        assert status.source_trouble == "camera /dev/video97: it cannot be opened"
