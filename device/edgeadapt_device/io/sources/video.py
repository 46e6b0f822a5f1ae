"""A video file, frame by frame from the first to the last: the index of a frame is its place in the file.

A seek by number is not exact for every codec, so a reader that begins later goes there frame by frame. A
picture that cannot be decoded is skipped and uses up its index.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import repeat
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edgeadapt.errors import ConfigError
from edgeadapt_device.io.sources.base import Frame, Health, Pause, Report, Unusable
from edgeadapt_device.io.sources.capture import FRAME_COUNT, Capture, OpenCapture
from edgeadapt_device.io.sources.fit import Fitter

# Frames that are passed over before the reader looks whether it is to end.
_STRIDE = 64
# Reads that fail in a row before they are taken for the end of the file: it looks like a damaged picture.
_END = 100
# A file that gives fewer than this share of the frames it says it has is damaged.
_WHOLE = 0.9


class VideoSource:
    """Every frame of one file, once or for ever."""

    count = None

    def __init__(
        self,
        path: Path,
        opening: OpenCapture,
        fitter: Fitter,
        *,
        loop: bool = False,
        report: Report | None = None,
    ) -> None:
        """See that the file is a video with a frame that can be used.

        Raises:
            ConfigError: it is missing, no video, empty, or its frames do not fit.
        """
        if not path.is_file():
            raise ConfigError(f"source.path: {path} is missing, or no file")
        self._path, self._open, self._fitter, self._loop = path, opening, fitter, loop
        self.health = Health(report)
        with self._opened() as capture:
            image = next((found for found in _places(capture, 0) if found is not None), None)
        if image is None:
            raise ConfigError(f"{path} holds no frame that can be read: it is empty, or no video")
        try:
            fitter.convert(image)
        except Unusable as error:
            raise ConfigError(f"{path}: {error}") from error

    def frames(self, start: int, pause: Pause) -> Iterator[Frame | None]:
        """Frames from `start`.

        Raises:
            ConfigError: a whole round of a looping source had no usable frame, or the file is gone.
        """
        index = skip = start
        while True:
            passed = used = 0
            with self._opened() as capture:
                for image in _places(capture, skip):
                    passed += 1
                    if passed > skip:
                        frame = self._fit(index, image)
                        index, used = index + 1, used + (frame is not None)
                        yield frame
                    elif passed % _STRIDE == 0:
                        yield None
                self._tell_damage(capture, passed)
            if not self._loop:
                return
            if not passed or (not skip and not used):
                raise ConfigError(f"{self._path}: none of its frames can be read any more")
            # It may have ended on the way to the first frame; then its length is known now.
            skip = skip % passed if passed < skip else 0

    def _fit(self, index: int, image: npt.NDArray[np.generic] | None) -> Frame | None:
        self.health.good()
        try:
            if image is None:
                raise Unusable("it cannot be decoded")
            return Frame(index, self._fitter.convert(image))
        except Unusable as error:
            self.health.skip(f"{self._path.name}: frame {index} skipped: {error}")
            return None

    @contextmanager
    def _opened(self) -> Iterator[Capture]:
        try:
            capture = self._open()
        except Exception as error:  # OpenCV's have no base of their own
            raise ConfigError(f"{self._path} cannot be opened as a video: {error}") from error
        try:
            if not capture.isOpened():
                raise ConfigError(f"{self._path} cannot be opened as a video")
            yield capture
        finally:
            capture.release()

    def _tell_damage(self, capture: Capture, frames: int) -> None:
        promised = capture.get(FRAME_COUNT)
        if frames < _WHOLE * promised:
            self.health.tell(
                f"{self._path} ended after {frames} of about {promised:.0f} frames: it is cut off or damaged"
            )

    def done(self, names: Sequence[str]) -> None:
        """Nothing is kept."""

    def close(self) -> None:
        """The reader has closed the file."""


def _places(capture: Capture, start: int) -> Iterator[npt.NDArray[np.generic] | None]:
    """The pictures of a file from its beginning; None for one before `start`, or that cannot be decoded."""
    place = failed = 0
    while failed < _END:
        wanted = place + failed >= start
        image = _read(capture) if wanted else None
        if image is None and (wanted or not _grab(capture)):
            failed += 1
            continue
        yield from repeat(None, failed)
        place, failed = place + failed + 1, 0
        yield image


def _read(capture: Capture) -> npt.NDArray[np.generic] | None:
    try:
        good, image = capture.read()
    except Exception:  # OpenCV's have no base of their own
        return None
    return image if good else None


def _grab(capture: Capture) -> bool:
    try:
        return capture.grab()
    except Exception:
        return False
