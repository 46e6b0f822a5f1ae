"""Between a source and the loop that scores: `poll` never waits.

A stream that is mapped into memory is read in the loop's own thread. Everything else is read by a thread
of its own, a few frames ahead: files wait for room, so that none is lost; a camera drops its oldest
picture, so that what is scored is new. However long a read hangs, the loop goes on: events, the broker,
the watchdog. A camera whose read hangs for too long gets another reader; the one that hangs is left to
itself and releases what it holds when it comes back.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Protocol

from edgeadapt.errors import EdgeAdaptError, TransportError
from edgeadapt_device.io.sources.base import Frame, Source, SourceReport, SourceState

# Unusable frames that an inline feed passes over before it lets the loop do something else.
_PASSED = 64
# Readers that may hang at a time.
_MAX_HANGING = 4
_CLOSE_S = 5.0


class Feed(Protocol):
    """Frames for a loop, and how their source is. Used from one thread."""

    def start(self, index: int) -> None:
        """Begin with this frame."""
        ...

    def poll(self) -> Frame | None:
        """The next frame, None when there is none yet, or no more.

        Raises:
            ConfigError: nothing will come any more until a person changes something.
            TransportError: the source failed in a way that nobody foresaw.
        """
        ...

    @property
    def ended(self) -> bool:
        """True when `poll` has given the last frame."""
        ...

    @property
    def count(self) -> int | None:
        """Frames in one round; None when that is not known beforehand, or there is no end."""
        ...

    @property
    def seen(self) -> SourceReport:
        """How the source is."""
        ...

    def done(self, names: Sequence[str]) -> None:
        """Frames of these names are scored, and their predictions written."""
        ...

    def close(self) -> None:
        """Stop reading, and finish what `done` asked for."""
        ...


class InlineFeed:
    """Reads in the loop's own thread."""

    def __init__(self, source: Source) -> None:
        """Nothing is read yet."""
        self._source = source
        self.ended = False

    def start(self, index: int) -> None:
        """Begin with this frame."""
        self._frames = self._source.frames(index, lambda seconds: False)

    def poll(self) -> Frame | None:
        """The next frame; see `Feed`."""
        for _ in range(_PASSED):
            try:
                frame = next(self._frames)
            except StopIteration:
                self.ended = True
                return None
            if frame is not None:
                return frame
        return None

    @property
    def count(self) -> int | None:
        """See `Feed`."""
        return self._source.count

    @property
    def seen(self) -> SourceReport:
        """See `Feed`."""
        seen = self._source.health.seen
        return replace(seen, state=SourceState.ENDED) if self.ended else seen

    def done(self, names: Sequence[str]) -> None:
        """See `Feed`."""
        self._source.done(names)

    def close(self) -> None:
        """See `Feed`."""
        self._source.close()


class _Reader(threading.Thread):
    """Reads until it is told to stop; `busy_since_s` is None while it waits for room."""

    def __init__(self, feed: ReadAhead, source: Source, index: int, clock: Callable[[], float]) -> None:
        super().__init__(name="source", daemon=True)
        self._feed, self._source, self._index, self._clock = feed, source, index, clock
        self.stop = threading.Event()
        self.busy_since_s: float | None = clock()

    def run(self) -> None:
        """Put frames until the end, the error, or the stop."""
        frames = self._source.frames(self._index, self.stop.wait)
        error: EdgeAdaptError | None = None
        try:
            for frame in frames:
                self.busy_since_s = None
                if self.stop.is_set() or (frame is not None and not self._feed.put(self, frame)):
                    return
                self.busy_since_s = self._clock()
        except EdgeAdaptError as found:
            error = found
        except Exception as found:
            error = TransportError(f"the source failed: {type(found).__name__}: {found}")
            error.__cause__ = found
        finally:
            self.busy_since_s = None
            close = getattr(frames, "close", None)
            if close is not None:
                close()
            self._feed.end(self, error)


class ReadAhead:
    """Reads in a thread, a few frames ahead."""

    def __init__(
        self,
        source: Source,
        *,
        room: int,
        newest: bool,
        stall_s: float,
        wake: Callable[[], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Nothing is read yet.

        Args:
            source: what to read.
            room: frames to keep.
            newest: drop the oldest when there is no room, and replace a reader that hangs; else wait.
            stall_s: a read that takes longer hangs.
            wake: called in the reader's thread when there is a frame, or an end, after there was nothing.
            clock: monotonic seconds.
        """
        self._source, self._room, self._newest = source, room, newest
        self._stall_s, self._wake, self._clock = stall_s, wake, clock
        self._changed = threading.Condition()
        self._frames: deque[Frame] = deque()
        self._next = 0
        self._reader: _Reader | None = None
        self._hanging: list[_Reader] = []
        self._over = False
        self._error: EdgeAdaptError | None = None

    def start(self, index: int) -> None:
        """Begin with this frame."""
        self._next = index
        self._begin()

    def _begin(self) -> None:
        self._reader = _Reader(self, self._source, self._next, self._clock)
        self._reader.start()

    # From the reader's thread

    def put(self, reader: _Reader, frame: Frame) -> bool:
        """Take a frame; False when this reader is to end."""
        with self._changed:
            if not self._newest:
                self._changed.wait_for(lambda: reader.stop.is_set() or len(self._frames) < self._room)
            if reader.stop.is_set() or reader is not self._reader:
                return False
            if len(self._frames) >= self._room:
                self._frames.popleft()
                self._source.health.drop()
            self._frames.append(frame)
            self._next = frame.index + 1
            first = len(self._frames) == 1
        if first:
            self._wake()
        return True

    def end(self, reader: _Reader, error: EdgeAdaptError | None) -> None:
        """Nothing more comes from this reader."""
        with self._changed:
            if reader is not self._reader or reader.stop.is_set():
                return
            self._over, self._error = True, error
        self._wake()

    # From the loop's

    def poll(self) -> Frame | None:
        """The next frame; see `Feed`."""
        with self._changed:
            if self._frames:
                frame = self._frames.popleft()
                self._changed.notify_all()
                return frame
            if self._over and self._error is not None:
                raise self._error
        self._look_after_reader()
        return None

    def _look_after_reader(self) -> None:
        """A read that hangs is a trouble; a camera's is tried again by another reader."""
        reader = self._reader
        since_s = reader.busy_since_s if reader is not None else None
        self._hanging = [old for old in self._hanging if old.is_alive()]
        # Each that hangs makes the next one wait twice as long.
        patience_s = self._stall_s * 2.0 ** len(self._hanging)
        if reader is None or since_s is None or self._clock() - since_s < patience_s:
            return
        text = f"no frame for {self._clock() - since_s:.0f} s: the source does not answer"
        if self._source.health.seen.state is not SourceState.STALLED:
            self._source.health.bad(SourceState.STALLED, text)
        if self._newest and len(self._hanging) < _MAX_HANGING:
            reader.stop.set()
            self._hanging.append(reader)
            self._begin()

    @property
    def ended(self) -> bool:
        """See `Feed`."""
        return self._over and not self._frames

    @property
    def count(self) -> int | None:
        """See `Feed`."""
        return self._source.count

    @property
    def seen(self) -> SourceReport:
        """See `Feed`."""
        seen = self._source.health.seen
        return replace(seen, state=SourceState.ENDED) if self.ended and not self._error else seen

    def done(self, names: Sequence[str]) -> None:
        """See `Feed`."""
        self._source.done(names)

    def close(self) -> None:
        """See `Feed`; a read that hangs is left behind."""
        reader = self._reader
        if reader is not None and reader.is_alive():
            reader.stop.set()
            with self._changed:
                self._changed.notify_all()
            reader.join(_CLOSE_S)
            if reader.is_alive():
                return
        self._source.close()
