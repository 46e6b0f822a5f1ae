"""Real video files, and a camera that a test can play with."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

Picture = npt.NDArray[np.generic]


def level_of(index: int) -> int:
    """The grey of a made video's frame: 16 apart, so that its number survives lossy coding."""
    return 8 + 16 * (index % 15)


def make_video(path: Path, frames: int, *, width: int = 32, height: int = 16) -> None:
    """An MJPEG video; frame n is grey of `level_of(n)`."""
    code = cv2.VideoWriter.fourcc(*"MJPG")
    writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, code, 10.0, (width, height))
    assert writer.isOpened()
    for index in range(frames):
        writer.write(np.full((height, width, 3), level_of(index), np.uint8))
    writer.release()


class FakeCamera:
    """`cv2.VideoCapture`'s port; each opening plays the next script, and the last one for ever.

    A script is a list of steps: a picture is read, None is a failed read, an exception is raised, an event
    is waited for and then read as a failure. A script of None cannot be opened. At the end of its script an
    opened camera goes on with failed reads.
    """

    def __init__(
        self, *scripts: list[Picture | Exception | threading.Event | None] | None, pace_s: float = 0.0
    ) -> None:
        self._scripts = list(scripts)
        self.pace_s = pace_s
        self.openings = self.reads = self.released = 0

    def open(self) -> FakeOpening:
        """The next opening."""
        script = self._scripts[min(self.openings, len(self._scripts) - 1)]
        self.openings += 1
        return FakeOpening(self, script)


class FakeOpening:
    """One opening of a `FakeCamera`."""

    def __init__(
        self, camera: FakeCamera, script: list[Picture | Exception | threading.Event | None] | None
    ) -> None:
        self._camera = camera
        self._steps = None if script is None else list(script)

    def isOpened(self) -> bool:  # noqa: N802
        """False for a script of None."""
        return self._steps is not None

    def read(self) -> tuple[bool, Picture | None]:
        """The next step."""
        self._camera.reads += 1
        if self._camera.pace_s:
            time.sleep(self._camera.pace_s)
        step = self._steps.pop(0) if self._steps else None
        if isinstance(step, Exception):
            raise step
        if isinstance(step, threading.Event):
            step.wait(30)
            step = None
        return step is not None, step

    def grab(self) -> bool:
        """A read that is thrown away."""
        return self.read()[0]

    def get(self, property_id: int) -> float:
        """Nothing is known."""
        return 0.0

    def release(self) -> None:
        """Counted."""
        self._camera.released += 1
