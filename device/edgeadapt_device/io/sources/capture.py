"""OpenCV as far as it is used here: something that gives pictures one after the other, or does not.

The port is that of `cv2.VideoCapture`, so that a test can stand in for a camera. OpenCV itself is an
optional extra and is loaded when the first source that needs it is opened.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from edgeadapt.errors import ConfigError


class Capture(Protocol):
    """An opened camera or file; made, used and released in one thread. Any call may raise anything."""

    def isOpened(self) -> bool:  # noqa: N802
        """False when nothing can be read."""
        ...

    def read(self) -> tuple[bool, npt.NDArray[np.generic] | None]:
        """(True, picture with blue first), or (False, anything) at the end or on a failure."""
        ...

    def grab(self) -> bool:
        """Go on by one picture without giving it."""
        ...

    def get(self, property_id: int) -> float:
        """A property; 0 when it is not known."""
        ...

    def release(self) -> None:
        """Close."""
        ...


OpenCapture = Callable[[], Capture]

# cv2.CAP_PROP_FRAME_COUNT
FRAME_COUNT = 7


def load_opencv() -> Any:
    """The module `cv2`; raises ConfigError that names the extra when it is missing or broken."""
    try:
        import cv2
    except ImportError as error:
        raise ConfigError(
            f"videos and cameras need OpenCV, which cannot be loaded ({error}): "
            "pip install 'edgeadapt[video]'"
        ) from error
    # What it would print of a damaged file or a missing camera is told as a state.
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_FATAL)
    return cv2


def video_file(path: Path) -> OpenCapture:
    """Opens a video file; raises ConfigError when OpenCV is missing."""
    cv2 = load_opencv()

    def opening() -> Capture:
        # Any other backend might take a name with digits for a series of pictures.
        capture: Capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
        return capture

    return opening


def camera(where: str, *, width: int, height: int, timeout_s: float) -> OpenCapture:
    """Opens a V4L2 camera (a number or a device file), or a stream by its URL.

    Args:
        where: "0", "/dev/video0", or "rtsp://...".
        width: asked of a camera, in pixels; 0 leaves its own.
        height: likewise.
        timeout_s: how long a read may take, where that can be set.

    Raises:
        ConfigError: OpenCV is missing.
    """
    cv2 = load_opencv()
    milliseconds = int(timeout_s * 1000)

    def opening() -> Capture:
        if "://" in where:
            limits = [
                *(cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, milliseconds),
                *(cv2.CAP_PROP_READ_TIMEOUT_MSEC, milliseconds),
            ]
            stream: Capture = cv2.VideoCapture(where, cv2.CAP_FFMPEG, limits)
            return stream
        # The newest picture, not the oldest of four.
        wishes = [cv2.CAP_PROP_BUFFERSIZE, 1]
        if width and height:
            wishes += [cv2.CAP_PROP_FRAME_WIDTH, width, cv2.CAP_PROP_FRAME_HEIGHT, height]
        device: Capture = cv2.VideoCapture(int(where) if where.isdigit() else where, cv2.CAP_V4L2)
        if device.isOpened():
            for wish, value in zip(wishes[::2], wishes[1::2], strict=True):
                cv2.VideoCapture.set(device, wish, value)
        return device

    return opening
