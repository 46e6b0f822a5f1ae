"""What a source is: frames in order, by index, from one place; and what is said about its state.

A source is read by one thread, which need not be the one that scores: `feed` is between the two. A source
never waits longer than it takes to read one frame; when there is none yet it pauses and gives None.
Faults of a source end nothing: they are states with a reason, and are told once. Only what a person must
change is an error.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from typing import Protocol

from edgeadapt.errors import ConfigError
from edgeadapt_device.core.events import Image

Report = Callable[[str], None]
# Waits for so many seconds, or less when the reader is to end; True when it is. 0 only asks.
Pause = Callable[[float], bool]
_STEP_S = 0.25


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame as the model takes it.

    Attributes:
        index: position in the source, from 0; a frame that was skipped or dropped uses up its index.
        image: uint8 [H, W, C], or float32 of the model's shape for a model of arrays.
        name: the file it came from, "" when it is no file of its own.
    """

    index: int
    image: Image
    name: str = ""


class SourceState(str, Enum):
    """How a source is. The value is what the status shows."""

    STARTING = "starting"  # no frame yet
    RUNNING = "running"
    WAITING = "waiting"  # all is well, and nothing new is there
    STALLED = "stalled"  # no frame for too long, and nobody says why
    LOST = "lost"  # gone; it is being opened again
    MISFIT = "misfit"  # frames come, but not such as the model takes
    ENDED = "ended"


@dataclass(frozen=True, slots=True)
class SourceReport:
    """One look at a source.

    Attributes:
        state: how it is.
        trouble: why it gives no frames, "" when it does or need not.
        skipped: frames that could not be used, since the start.
        dropped: frames that were overtaken by newer ones, since the start.
    """

    state: SourceState = SourceState.STARTING
    trouble: str = ""
    skipped: int = 0
    dropped: int = 0


class Health:
    """The state of a source, as it changes. One thread writes; any thread may look at `seen`."""

    def __init__(self, report: Report | None = None) -> None:
        """Tell changes for the worse, and recoveries, to `report`."""
        self.seen = SourceReport()
        self._report = report

    def good(self, state: SourceState = SourceState.RUNNING) -> None:
        """All is well; said when it was not."""
        if self.seen.state is state and not self.seen.trouble:
            return
        if self.seen.trouble:
            self.tell(f"the source is well again, after: {self.seen.trouble}")
        self.seen = replace(self.seen, state=state, trouble="")

    def bad(self, state: SourceState, trouble: str) -> None:
        """Something keeps frames from coming; said when it is not what was said last."""
        if trouble != self.seen.trouble:
            self.tell(trouble)
        self.seen = replace(self.seen, state=state, trouble=trouble)

    def skip(self, why: str = "") -> None:
        """A frame could not be used; why, where `bad` does not say it."""
        self.seen = replace(self.seen, skipped=self.seen.skipped + 1)
        if why:
            self.tell(why)

    def drop(self) -> None:
        """A frame was overtaken by a newer one."""
        self.seen = replace(self.seen, dropped=self.seen.dropped + 1)

    def tell(self, text: str) -> None:
        """Something worth knowing."""
        if self._report is not None:
            self._report(text)


class Unusable(Exception):
    """A frame cannot be used; the text says what was found and how to fix it. Never leaves the sources."""


class Misfit(Unusable):
    """A frame is whole, but of another size or kind than the model takes."""


class Source(Protocol):
    """Where frames come from."""

    @property
    def count(self) -> int | None:
        """Frames in one round; None when that is not known beforehand, or there is no end."""
        ...

    @property
    def health(self) -> Health:
        """How it is."""
        ...

    def frames(self, start: int, pause: Pause) -> Iterator[Frame | None]:
        """Frames from index `start` on; None when there is none yet, after a pause.

        Raises:
            ConfigError: nothing will come any more until a person changes something.
        """
        ...

    def done(self, names: Sequence[str]) -> None:
        """The frames of these names are scored, and their predictions written; from any thread."""
        ...

    def close(self) -> None:
        """Finish what `done` asked for; called when nobody reads any more."""
        ...


def rounds(
    start: int, count: int, *, loop: bool, read: Callable[[int], Frame | None], nothing: str
) -> Iterator[Frame | None]:
    """Frames of a source with `count` places, once or for ever; `read` gives None for one to skip.

    Raises:
        ConfigError: with the text `nothing`, when a whole round of a looping source had no usable frame.
    """
    index, skipped = start, 0
    while loop or index < count:
        frame = read(index)
        index += 1
        skipped = skipped + 1 if frame is None else 0
        yield frame
        if loop and skipped >= count:
            raise ConfigError(nothing)


def rest(seconds: float, pause: Pause, clock: Callable[[], float]) -> Iterator[None]:
    """Pause so long, in steps, so that a reader that rests does not look like one that hangs."""
    until_s, ended = clock() + seconds, False
    while not ended and (left_s := until_s - clock()) > 0:
        ended = pause(min(left_s, _STEP_S))
        yield None
