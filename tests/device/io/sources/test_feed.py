"""Between a source and the loop: nothing waits, files are all kept, of a camera's pictures the newest."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from edgeadapt.errors import ConfigError, TransportError
from edgeadapt_device.io.sources import feed as feed_module
from edgeadapt_device.io.sources.base import Frame, Health, Pause
from edgeadapt_device.io.sources.camera import CameraSource
from edgeadapt_device.io.sources.feed import Feed, InlineFeed, ReadAhead
from edgeadapt_device.io.sources.fit import Fitter
from edgeadapt_device.io.sources.stream import StreamSource
from tests.device.io.sources.made import COLOUR, SERIES, images
from tests.device.io.sources.videos import FakeCamera

_WAIT_S = 20.0


class Numbers:
    """A source of `count` black frames; `before` is called before each."""

    def __init__(self, count: int, before: Callable[[int], object] = lambda index: None) -> None:
        self.count = count
        self.health = Health()
        self.finished: list[str] = []
        self.closed = self.left = 0
        self._before = before

    def frames(self, start: int, pause: Pause) -> Iterator[Frame | None]:
        try:
            for index in range(start, self.count):
                self._before(index)
                self.health.good()
                yield Frame(index, np.zeros((8, 8, 3), np.uint8), f"{index}.png")
        finally:
            self.left += 1

    def done(self, names: Sequence[str]) -> None:
        self.finished += names

    def close(self) -> None:
        self.closed += 1


def ahead(source: Numbers | CameraSource, *, room: int = 3, newest: bool = False) -> ReadAhead:
    return ReadAhead(source, room=room, newest=newest, stall_s=5.0, wake=lambda: None)


def state(feed: Feed) -> str:
    """What a status would show."""
    return feed.seen.state.value


def until(found: Callable[[], bool]) -> None:
    """Wait for something that another thread will do."""
    deadline_s = time.monotonic() + _WAIT_S
    while not found():
        assert time.monotonic() < deadline_s, "nothing came of it"
        time.sleep(0.002)


def take(feed: Feed) -> Frame:
    """The next frame, waited for."""
    got: list[Frame] = []

    def found() -> bool:
        frame = feed.poll()
        if frame is not None:
            got.append(frame)
        return bool(got)

    until(found)
    return got[0]


def test_frames_that_are_read_ahead_come_in_order_and_none_is_lost() -> None:
    source = Numbers(500)
    feed = ahead(source)
    feed.start(3)
    assert [take(feed).index for _ in range(497)] == list(range(3, 500))
    until(lambda: feed.ended)
    assert feed.poll() is None
    assert state(feed) == "ended"
    assert feed.seen.dropped == 0
    feed.close()
    assert (source.closed, source.left) == (1, 1)


def test_no_more_is_read_ahead_than_there_is_room_for() -> None:
    read: list[int] = []
    feed = ahead(Numbers(100, read.append), room=3)
    feed.start(0)
    until(lambda: len(read) == 4)
    time.sleep(0.05)
    assert len(read) == 4, "three that wait, and one in hand"
    assert not feed.ended
    feed.close()


def test_of_a_cameras_pictures_the_newest_are_kept_and_the_others_counted() -> None:
    source = Numbers(50)
    feed = ahead(source, room=2, newest=True)
    feed.start(0)
    until(lambda: feed._over)
    assert [take(feed).index for _ in range(2)] == [48, 49]
    assert feed.ended
    assert feed.seen.dropped == 48


def test_whoever_waits_is_woken() -> None:
    woken, go = threading.Event(), threading.Event()
    source = Numbers(1, lambda index: go.wait(_WAIT_S))
    feed = ReadAhead(source, room=2, newest=False, stall_s=60.0, wake=woken.set)
    feed.start(0)
    assert feed.poll() is None
    assert not woken.is_set()
    go.set()
    assert woken.wait(_WAIT_S)
    assert take(feed).index == 0


@pytest.mark.parametrize(
    ("raised", "expected", "words"),
    [
        (ConfigError("no file can be read"), ConfigError, "^no file can be read$"),
        (ZeroDivisionError("odd"), TransportError, "the source failed: ZeroDivisionError: odd"),
    ],
)
def test_an_error_comes_out_after_the_frames_before_it(
    raised: Exception, expected: type[Exception], words: str
) -> None:
    def fails(index: int) -> None:
        if index == 2:
            raise raised

    feed = ahead(Numbers(5, fails))
    feed.start(0)
    assert [take(feed).index for _ in range(2)] == [0, 1]
    with pytest.raises(expected, match=words):
        take(feed)
    feed.close()


def test_what_is_done_reaches_the_source() -> None:
    source = Numbers(1)
    for feed in (ahead(source), InlineFeed(source)):
        feed.done(["a.png", "b.png"])
    assert source.finished == ["a.png", "b.png"] * 2
    assert ahead(source).count == InlineFeed(source).count == 1


def test_a_read_that_hangs_is_a_state_and_the_loop_is_not_held_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed_module, "_CLOSE_S", 0.1)
    before = threading.active_count()
    hang, now_s = threading.Event(), [0.0]
    source = Numbers(3, lambda index: index < 1 or hang.wait(_WAIT_S))
    feed = ReadAhead(source, room=2, newest=False, stall_s=5.0, wake=lambda: None, clock=lambda: now_s[0])
    feed.start(0)
    assert take(feed).index == 0
    assert feed.poll() is None
    assert state(feed) == "running"
    now_s[0] = 6.0
    assert feed.poll() is None
    assert state(feed) == "stalled"
    assert feed.seen.trouble == "no frame for 6 s: the source does not answer"
    assert threading.active_count() <= before + 1
    hang.set()
    assert [take(feed).index for _ in range(2)] == [1, 2]
    assert state(feed) == "ended"
    feed.close()


def test_a_camera_whose_read_hangs_gets_another_reader_and_a_bound_on_them() -> None:
    """The first three openings hang in their second read; the fourth is well."""
    hangs, now_s, told = [threading.Event() for _ in range(3)], [0.0], list[str]()
    pictures = images(4)
    camera = FakeCamera(*[[pictures[n], hangs[n]] for n in range(3)], [pictures[3]] * 3)
    source = CameraSource(
        "camera 0", camera.open, Fitter(COLOUR), stall_s=5.0, report=told.append, clock=lambda: now_s[0]
    )
    feed = ReadAhead(source, room=2, newest=True, stall_s=5.0, wake=lambda: None, clock=lambda: now_s[0])
    feed.start(0)
    for number, patience_s in enumerate((5.0, 10.0, 20.0)):
        frame = take(feed)
        assert frame.index == number
        until(lambda number=number: camera.reads == 2 * number + 2)  # type: ignore[misc]
        now_s[0] += patience_s - 0.1
        assert feed.poll() is None
        assert camera.openings == number + 1, "each that hangs makes the next one more patient"
        now_s[0] += 0.2
        feed.poll()
        until(lambda number=number: camera.openings == number + 2)  # type: ignore[misc]
    assert take(feed).index >= 3
    assert len(feed._hanging) == 3
    assert len([text for text in told if text.startswith("no frame for")]) == 3
    assert len([text for text in told if text.startswith("the source is well again, after: no frame")]) == 3
    for event in hangs:
        event.set()
    until(lambda: camera.released >= 3)
    feed.poll()
    feed.close()
    until(lambda: camera.released == camera.openings)


def test_hanging_readers_have_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed_module, "_CLOSE_S", 0.1)
    hang, now_s = threading.Event(), [0.0]
    camera = FakeCamera([hang])
    source = CameraSource("camera 0", camera.open, Fitter(COLOUR), stall_s=5.0, clock=lambda: now_s[0])
    feed = ReadAhead(source, room=2, newest=True, stall_s=5.0, wake=lambda: None, clock=lambda: now_s[0])
    feed.start(0)
    for number in range(20):
        until(lambda number=number: camera.reads == min(number, 4) + 1)  # type: ignore[misc]
        now_s[0] += 10_000.0
        feed.poll()
    assert camera.openings == 5
    feed.close()  # returns, though nothing else does
    hang.set()
    until(lambda: camera.released == 5)


def test_an_inline_feed_passes_over_what_cannot_be_used(tmp_path: Path) -> None:
    frames = np.zeros((200, 2, 5), np.float32)
    frames[10:190] = np.nan
    np.save(tmp_path / "frames.npy", frames)
    feed = InlineFeed(StreamSource(tmp_path, SERIES))
    feed.start(0)
    got, nothing = list[int](), 0
    while not feed.ended:
        frame = feed.poll()
        got, nothing = (got, nothing + 1) if frame is None else ([*got, frame.index], nothing)
    assert got == [*range(10), *range(190, 200)]
    assert 1 < nothing < 10, "a long stretch of bad frames does not hold the loop up"
    assert feed.seen.skipped == 180
    assert state(feed) == "ended"
