"""A camera, or any other live stream: it comes and goes, and the device stays.

The index of a frame counts the pictures that were read since index 0; a camera has no end. When it gives
nothing for `stall_s`, or says that it is gone, it is closed and opened again, with growing pauses. One
that was never there is waited for in the same way: after a power cut the device may be faster than it.
A read that does not return at all is `feed`'s business, which then starts another reader.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import numpy.typing as npt

from edgeadapt_device.io.sources.base import Frame, Health, Misfit, Pause, Report, SourceState, Unusable, rest
from edgeadapt_device.io.sources.capture import Capture, OpenCapture
from edgeadapt_device.io.sources.fit import Fitter

FIRST_PAUSE_S = 0.5
LONGEST_PAUSE_S = 30.0
_STEP_S = 0.1
# Failed reads in a row that mean the camera is gone.
_MAX_FAILED = 5


class CameraSource:
    """Pictures as they come."""

    count = None

    def __init__(
        self,
        name: str,
        opening: OpenCapture,
        fitter: Fitter,
        *,
        stall_s: float,
        report: Report | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Nothing is opened yet.

        Args:
            name: what people know it by.
            opening: opens it.
            fitter: makes the model's frames of its pictures.
            stall_s: without a usable picture for so long it is opened again.
            report: told, from the reader's thread, when it comes and goes.
            clock: monotonic seconds.
        """
        self._name, self._open, self._fitter = name, opening, fitter
        self._stall_s, self._clock = stall_s, clock
        self.health = Health(report)
        self._size: tuple[int, ...] | None = None

    def frames(self, start: int, pause: Pause) -> Iterator[Frame | None]:
        """Pictures for ever, numbered from `start`."""
        index, wait_s = start, FIRST_PAUSE_S
        while True:
            capture = self._opened(pause)
            if capture is not None:
                try:
                    for frame in self._read_all(capture, index, pause):
                        if frame is not None:
                            index, wait_s = frame.index + 1, FIRST_PAUSE_S
                        yield frame
                finally:
                    _release(capture)
            yield from rest(wait_s, pause, self._clock)
            wait_s = min(2.0 * wait_s, LONGEST_PAUSE_S)

    def _opened(self, pause: Pause) -> Capture | None:
        why, capture = "it cannot be opened", None
        try:
            capture = self._open()
            if capture.isOpened():
                return capture
        except Exception as error:  # OpenCV's have no base of their own
            why = f"it cannot be opened: {error}"
        if capture is not None:
            _release(capture)
        # Whoever comes back late from a call that hung has been replaced, and has nothing to say.
        if not pause(0.0):
            never = self.health.seen.state is SourceState.STARTING
            self.health.bad(SourceState.STARTING if never else SourceState.LOST, f"{self._name}: {why}")
        return None

    def _read_all(self, capture: Capture, index: int, pause: Pause) -> Iterator[Frame | None]:
        """Frames until the camera is to be opened again."""
        failed, good_s = 0, self._clock()
        while True:
            image, why = self._read(capture)
            if pause(0.0):
                return
            late = self._clock() - good_s >= self._stall_s
            failed = failed + 1 if image is None else 0
            if image is None and (late or failed >= _MAX_FAILED):
                self.health.bad(SourceState.LOST, f"{self._name}: {why}")
                return
            frame = self._fit(index, image) if image is not None else None
            if frame is not None:
                good_s = self._clock()
            elif late:
                # Perhaps its pictures can be used when it is opened anew.
                if self.health.seen.state is not SourceState.MISFIT:
                    why = f"{self._name}: no usable picture for {self._stall_s:.0f} s"
                    self.health.bad(SourceState.STALLED, why)
                return
            else:
                pause(_STEP_S if image is None else 0.0)
            index += image is not None
            yield frame

    def _read(self, capture: Capture) -> tuple[npt.NDArray[np.generic] | None, str]:
        """A picture, or None and why."""
        try:
            good, image = capture.read()
        except Exception as error:  # OpenCV's have no base of their own
            return None, f"a read failed: {error}"
        return (image, "") if good else (None, "it gives no picture any more")

    def _fit(self, index: int, image: npt.NDArray[np.generic]) -> Frame | None:
        if image.shape != self._size:
            if self._size is not None:
                self.health.tell(f"{self._name}: pictures are {image.shape} now, no longer {self._size}")
            self._size = image.shape
        try:
            frame = Frame(index, self._fitter.convert(image))
        except Misfit as error:
            self.health.skip()
            self.health.bad(SourceState.MISFIT, f"{self._name}: a picture does not fit: {error}")
            return None
        except Unusable as error:
            self.health.skip(f"{self._name}: a picture was skipped: {error}")
            return None
        self.health.good()
        return frame

    def done(self, names: Sequence[str]) -> None:
        """Nothing is kept."""

    def close(self) -> None:
        """The reader has released the camera."""


def _release(capture: Capture) -> None:
    """A camera that is gone may refuse even that."""
    try:
        capture.release()
    except Exception:
        return
