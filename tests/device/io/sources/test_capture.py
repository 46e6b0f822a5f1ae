"""OpenCV behind its port: real files and URLs; what is asked of a V4L2 camera, since there is none here."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import Any

import cv2
import pytest

from edgeadapt_device.io.sources.base import SourceState
from edgeadapt_device.io.sources.camera import CameraSource
from edgeadapt_device.io.sources.capture import FRAME_COUNT, camera, video_file
from edgeadapt_device.io.sources.fit import Fitter
from tests.device.io.sources.made import COLOUR, Clock
from tests.device.io.sources.videos import make_video


def test_a_stream_by_its_url_is_read_and_opened_again_at_its_end(tmp_path: Path) -> None:
    make_video(tmp_path / "a.avi", 6)
    opening = camera((tmp_path / "a.avi").as_uri(), width=0, height=0, timeout_s=5.0)
    clock, told = Clock(), list[str]()
    source = CameraSource("a", opening, Fitter(COLOUR), stall_s=5.0, report=told.append, clock=clock)
    frames = (frame for frame in source.frames(0, clock.pause) if frame is not None)
    assert [frame.index for frame in islice(frames, 15)] == list(range(15))
    assert told[0] == "a: it gives no picture any more"
    assert source.health.seen.state is SourceState.RUNNING


def test_a_url_that_nobody_answers_cannot_be_opened() -> None:
    assert not camera("rtsp://127.0.0.1:1/none", width=0, height=0, timeout_s=2.0)().isOpened()


def test_the_property_of_a_files_length_is_opencvs(tmp_path: Path) -> None:
    assert FRAME_COUNT == cv2.CAP_PROP_FRAME_COUNT
    make_video(tmp_path / "a.avi", 6)
    capture = video_file(tmp_path / "a.avi")()
    assert capture.get(FRAME_COUNT) == 6
    capture.release()


@pytest.mark.parametrize(
    ("where", "width", "opened", "wishes"),
    [
        ("0", 0, (0, cv2.CAP_V4L2), [(cv2.CAP_PROP_BUFFERSIZE, 1)]),
        (
            "/dev/video2",
            640,
            ("/dev/video2", cv2.CAP_V4L2),
            [
                (cv2.CAP_PROP_BUFFERSIZE, 1),
                (cv2.CAP_PROP_FRAME_WIDTH, 640),
                (cv2.CAP_PROP_FRAME_HEIGHT, 480),
            ],
        ),
    ],
)
def test_a_v4l2_camera_is_asked_for_its_newest_picture_in_the_size_that_is_wanted(
    monkeypatch: pytest.MonkeyPatch, where: str, width: int, opened: object, wishes: list[tuple[int, int]]
) -> None:
    class Device:
        asked: tuple[Any, ...] = ()

        def __init__(self, *arguments: Any) -> None:
            self.asked, self.wishes = arguments, list[tuple[int, int]]()

        def isOpened(self) -> bool:  # noqa: N802
            return True

        def set(self, wish: int, value: int) -> bool:
            self.wishes.append((wish, value))
            return False  # a camera need not do what it is asked

    monkeypatch.setattr(cv2, "VideoCapture", Device)
    device: Any = camera(where, width=width, height=480 if width else 0, timeout_s=5.0)()
    assert device.asked == opened
    assert device.wishes == wishes
