"""Frames of real video files, written and read by OpenCV."""

from __future__ import annotations

import sys
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from edgeadapt.errors import ConfigError
from edgeadapt_device.io.sources.base import Frame, Report
from edgeadapt_device.io.sources.capture import load_opencv, video_file
from edgeadapt_device.io.sources.fit import Fitter
from edgeadapt_device.io.sources.video import VideoSource
from tests.device.io.sources.made import COLOUR, given, images
from tests.device.io.sources.videos import FakeCamera, level_of, make_video

FRAMES = 12


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("videos") / "a.avi"
    make_video(path, FRAMES)
    return path


def source(path: Path, *, loop: bool = False, report: Report | None = None) -> VideoSource:
    return VideoSource(path, video_file(path), Fitter(COLOUR), loop=loop, report=report)


def number_in(frame: Frame) -> int:
    """Which frame of a made video this is, by its grey."""
    return round((float(frame.image.mean()) - 8) / 16)


def test_a_video_gives_every_frame_in_order_from_any_start(path: Path) -> None:
    for start in (0, 5, FRAMES):
        got = list(given(source(path), start))
        assert [frame.index for frame in got] == list(range(start, FRAMES))
        assert [number_in(frame) for frame in got] == list(range(start, FRAMES))
    frame = next(given(source(path)))
    assert frame.image.shape == (8, 8, 3)
    assert abs(frame.image.astype(int) - level_of(0)).max() <= 3


def test_a_looping_video_counts_on_even_from_a_start_of_many_rounds(path: Path) -> None:
    for start in (0, FRAMES - 1, 7 * FRAMES + 3, 7 * FRAMES):
        got = list(islice(given(source(path, loop=True), start), FRAMES + 4))
        assert [frame.index for frame in got] == list(range(start, start + FRAMES + 4))
        assert [number_in(frame) for frame in got] == [frame.index % FRAMES for frame in got]


def test_what_is_no_video_is_a_config_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"source\.path: .*a\.avi is missing"):
        source(tmp_path / "a.avi")
    for content in (b"", b"no video, but some text\n" * 100):
        (tmp_path / "a.mp4").write_bytes(content)
        with pytest.raises(ConfigError, match=r"a\.mp4 cannot be opened as a video"):
            source(tmp_path / "a.mp4")


def test_a_video_without_a_frame_is_a_config_error(tmp_path: Path) -> None:
    make_video(tmp_path / "a.avi", 0)
    with pytest.raises(ConfigError, match=r"a\.avi (holds no frame|cannot be opened)"):
        source(tmp_path / "a.avi")
    (tmp_path / "b.avi").touch()
    with pytest.raises(ConfigError, match=r"b\.avi holds no frame"):
        VideoSource(tmp_path / "b.avi", FakeCamera([]).open, Fitter(COLOUR))


def test_a_video_that_was_cut_off_gives_what_there_is_and_says_so(tmp_path: Path) -> None:
    path = tmp_path / "a.avi"
    make_video(path, 120, width=64, height=64)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    told: list[str] = []
    got = list(given(source(path, report=told.append)))
    assert 20 < len(got) < 100
    assert [number_in(frame) for frame in got] == [index % 15 for index in range(len(got))]
    assert told == [f"{path} ended after {len(got)} of about 120 frames: it is cut off or damaged"]


def test_a_picture_that_cannot_be_decoded_is_skipped_and_uses_up_its_index(tmp_path: Path) -> None:
    path, told = tmp_path / "a.avi", list[str]()
    make_video(path, 10, width=64, height=64)
    data = bytearray(path.read_bytes())
    # Every picture of MJPEG begins like this; from there on the fourth one is none any more.
    marks = [at for at in range(len(data) - 1) if data[at : at + 3] == b"\xff\xd8\xff"]
    data[marks[3] : marks[4] - 8] = bytes(marks[4] - 8 - marks[3])
    path.write_bytes(data)
    for start in (0, 2, 3, 4, 9):
        told.clear()
        got = list(given(source(path, report=told.append), start))
        assert [frame.index for frame in got] == [index for index in range(start, 10) if index != 3]
        assert [number_in(frame) for frame in got] == [frame.index for frame in got]
        assert told == (["a.avi: frame 3 skipped: it cannot be decoded"] if start <= 3 else [])
    looping = source(path, loop=True)
    assert [frame.index for frame in islice(given(looping), 12)] == [*range(3), *range(4, 13)]
    assert looping.health.seen.skipped == 1


def test_frames_of_another_size_are_refused_at_the_start_or_skipped_later(path: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"32x16, the model takes 8x8: set source\.resize"):
        VideoSource(path, video_file(path), Fitter(COLOUR, "off"))
    good, told = images(1)[0], list[str]()
    camera = FakeCamera([good], [good, np.zeros((4, 4, 3), np.uint8), good])
    (tmp_path / "b.avi").touch()
    video = VideoSource(tmp_path / "b.avi", camera.open, Fitter(COLOUR, "off"), report=told.append)
    assert [frame.index for frame in given(video)] == [0, 2]
    assert video.health.seen.skipped == 1
    assert "frame 1 skipped: its size is 4x4" in told[0]
    assert camera.released == camera.openings == 2


def test_a_video_that_vanishes_between_two_rounds_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "a.avi"
    make_video(path, 3)
    frames = given(source(path, loop=True))
    assert len(list(islice(frames, 3))) == 3
    path.unlink()
    with pytest.raises(ConfigError, match=r"a\.avi"):
        next(frames)


def test_without_opencv_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(ConfigError, match=r"pip install 'edgeadapt\[video\]'"):
        load_opencv()
