"""Where frames come from: a stream, a folder, a video, a camera, or files that are dropped into a folder.

`open_feed` gives what the loop polls; `base` says what a source is. One file per kind.
"""

from edgeadapt_device.io.sources.base import Frame, SourceReport, SourceState
from edgeadapt_device.io.sources.capture import OpenCapture
from edgeadapt_device.io.sources.feed import Feed
from edgeadapt_device.io.sources.opening import open_feed

__all__ = ["Feed", "Frame", "OpenCapture", "SourceReport", "SourceState", "open_feed"]
