"""A camera that stalls, changes its size, breaks, dies and comes back; the clock is a test's."""

from __future__ import annotations

import threading
from itertools import islice

import numpy as np
import pytest

from edgeadapt_device.io.sources.base import Frame, SourceState
from edgeadapt_device.io.sources.camera import FIRST_PAUSE_S, LONGEST_PAUSE_S, CameraSource
from edgeadapt_device.io.sources.fit import Fitter, Resize
from tests.device.io.sources.made import COLOUR, Clock, images
from tests.device.io.sources.videos import FakeCamera

_A, _B, _C = images(3, side=8)
_WIDE = images(1, side=16)[0][:12]


class Rig:
    """A camera source on a camera of a test's, with what it told."""

    def __init__(self, camera: FakeCamera, resize: Resize = "crop", stall_s: float = 5.0) -> None:
        self.camera, self.clock, self.told = camera, Clock(), list[str]()
        self.source = CameraSource(
            "camera 0",
            camera.open,
            Fitter(COLOUR, resize),
            stall_s=stall_s,
            report=self.told.append,
            clock=self.clock,
        )
        self._frames = self.source.frames(7, self.clock.pause)

    def state(self) -> SourceState:
        return self.source.health.seen.state

    @property
    def trouble(self) -> str:
        return self.source.health.seen.trouble

    def next(self) -> Frame:
        """The next frame, however long it takes."""
        return next(frame for frame in islice(self._frames, 10_000) if frame is not None)

    def until(self, state: SourceState) -> None:
        """Go on until the source says that."""
        for _ in range(10_000):
            if self.state() is state:
                return
            next(self._frames)
        raise AssertionError(f"never {state}")

    def play(self, seconds: float) -> list[Frame]:
        """All frames of a while."""
        until_s, got = self.clock.now_s + seconds, list[Frame]()
        while self.clock.now_s < until_s:
            frame = next(self._frames)
            if frame is not None:
                got.append(frame)
        return got


def bgr(picture: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(picture[:, :, ::-1])


def test_pictures_come_in_order_and_in_the_models_colours() -> None:
    rig = Rig(FakeCamera([bgr(_A), bgr(_B), bgr(_C)]))
    assert rig.state() is SourceState.STARTING
    got = [rig.next() for _ in range(3)]
    assert [frame.index for frame in got] == [7, 8, 9]
    assert all((f.image == p).all() for f, p in zip(got, (_A, _B, _C), strict=True))
    assert rig.state() is SourceState.RUNNING
    assert rig.told == []


def test_a_camera_that_is_not_there_yet_is_waited_for() -> None:
    rig = Rig(FakeCamera(None, None, None, [_A]))
    assert rig.next().index == 7
    assert rig.camera.openings == 4
    assert rig.told == [
        "camera 0: it cannot be opened",
        "the source is well again, after: camera 0: it cannot be opened",
    ]


def test_until_its_first_picture_it_is_starting_and_not_lost() -> None:
    rig = Rig(FakeCamera(None))
    rig.play(20.0)
    assert rig.state() is SourceState.STARTING
    assert rig.trouble == "camera 0: it cannot be opened"


def test_the_pauses_between_two_attempts_grow_to_a_bound_and_begin_anew_after_a_picture() -> None:
    rig = Rig(FakeCamera(None))
    rig.play(3600.0)
    wanted = 1 + 3600.0 / LONGEST_PAUSE_S + np.log2(LONGEST_PAUSE_S / FIRST_PAUSE_S)
    assert abs(rig.camera.openings - wanted) <= 4
    back = Rig(FakeCamera(*([None] * 8), [_A], [_B]))
    back.next()
    gone_s = back.clock.now_s
    back.next()
    assert back.clock.now_s - gone_s < 3.0


def test_a_camera_that_dies_and_comes_back_goes_on_with_the_next_index() -> None:
    rig = Rig(FakeCamera([_A, _B], None, [_C]))
    assert [rig.next().index for _ in range(2)] == [7, 8]
    rig.until(SourceState.LOST)
    assert rig.trouble == "camera 0: it gives no picture any more"
    assert rig.next().index == 9
    assert rig.state() is SourceState.RUNNING
    assert rig.trouble == ""
    assert rig.camera.released == 2
    assert rig.told[-1].startswith("the source is well again, after: camera 0: it cannot be opened")


def test_a_failed_read_now_and_then_is_nothing() -> None:
    rig = Rig(FakeCamera([_A, None, None, _B, RuntimeError("a cable"), _C]))
    assert [rig.next().index for _ in range(3)] == [7, 8, 9]
    assert rig.camera.openings == 1
    assert rig.told == []


def test_reads_that_raise_make_it_lost_and_say_what_was_raised() -> None:
    rig = Rig(FakeCamera([_A, *([RuntimeError("select() timeout")] * 9)]))
    rig.next()
    rig.until(SourceState.LOST)
    assert rig.trouble == "camera 0: a read failed: select() timeout"


def test_a_read_that_took_too_long_and_failed_is_enough() -> None:
    rig = Rig(FakeCamera([_A, None], [_B]))
    rig.next()
    rig.clock.now_s += 6.0  # the read took longer than a stall may
    rig.until(SourceState.LOST)
    assert rig.camera.reads == 2
    assert rig.next().index == 8


def test_another_size_in_mid_run_is_resized_and_told_once() -> None:
    rig = Rig(FakeCamera([_A, _WIDE, _WIDE, _WIDE]))
    got = [rig.next() for _ in range(4)]
    assert [frame.image.shape for frame in got] == [(8, 8, 3)] * 4
    assert rig.told == ["camera 0: pictures are (12, 16, 3) now, no longer (8, 8, 3)"]
    assert rig.state() is SourceState.RUNNING


def test_another_size_that_may_not_be_resized_is_a_state_and_the_camera_is_opened_anew() -> None:
    rig = Rig(FakeCamera([_A, *([_WIDE] * 50)], [_B]), "off", stall_s=3.0)
    rig.next()
    rig.until(SourceState.MISFIT)
    assert "camera 0: a picture does not fit: its size is 16x12" in rig.trouble
    rig.clock.now_s += 4.0
    assert (rig.next().image == bgr(_B)).all()
    assert rig.state() is SourceState.RUNNING
    assert rig.camera.openings == 2
    assert rig.source.health.seen.skipped > 0
    assert len([text for text in rig.told if text.startswith("camera 0: a picture does not")]) == 1


def test_broken_pictures_are_skipped_and_counted() -> None:
    odd = np.zeros((8, 8, 3), np.float32)
    rig = Rig(FakeCamera([_A, odd, np.zeros((0, 0, 3), np.uint8), _B]))
    assert [rig.next().index for _ in range(2)] == [7, 10]
    assert rig.source.health.seen.skipped == 2
    assert rig.state() is SourceState.RUNNING


def test_nothing_but_broken_pictures_is_a_stall_and_the_camera_is_opened_anew() -> None:
    odd = np.zeros((8, 8, 3), np.float32)
    rig = Rig(FakeCamera([_A, *([odd] * 5)], [_B]))
    rig.next()
    next(rig._frames)
    rig.clock.now_s += 6.0
    rig.until(SourceState.STALLED)
    assert rig.trouble == "camera 0: no usable picture for 5 s"
    assert (rig.next().image == bgr(_B)).all()


def test_a_reader_that_was_replaced_while_it_hung_says_nothing_and_lets_go() -> None:
    hang, ended = threading.Event(), threading.Event()
    camera, told = FakeCamera([_A, hang]), list[str]()
    source = CameraSource("camera 0", camera.open, Fitter(COLOUR), stall_s=5.0, report=told.append)
    frames = source.frames(0, ended.wait)
    assert next(frames) is not None
    before = source.health.seen
    ended.set()
    hang.set()
    assert next(frames) is None
    assert camera.released == 1
    assert source.health.seen == before
    assert told == []


@pytest.mark.parametrize("fails", ["open", "opened", "release"])
def test_opencv_may_raise_anywhere(fails: str) -> None:
    camera = FakeCamera([_A], [_B])
    first = [True]

    class Odd:
        def __init__(self) -> None:
            if fails == "open" and first and first.pop():
                raise RuntimeError("no such backend")
            self._real = camera.open()

        def isOpened(self) -> bool:  # noqa: N802
            if fails == "opened" and first and first.pop():
                raise RuntimeError("busy")
            return self._real.isOpened()

        def read(self) -> tuple[bool, np.ndarray | None]:
            return self._real.read()

        def grab(self) -> bool:
            return self._real.grab()

        def get(self, property_id: int) -> float:
            return 0.0

        def release(self) -> None:
            self._real.release()
            raise RuntimeError("already gone")

    clock, told = Clock(), list[str]()
    source = CameraSource("camera 0", Odd, Fitter(COLOUR), stall_s=5.0, report=told.append, clock=clock)
    frames = source.frames(0, clock.pause)
    assert next(f for f in islice(frames, 1000) if f is not None).index == 0
    if fails != "release":
        assert told[0].startswith("camera 0: it cannot be opened: ")
    if fails == "opened":
        assert camera.released == 1
