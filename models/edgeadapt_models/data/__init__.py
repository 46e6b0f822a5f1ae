"""Data: labelled image sets, the fifteen common corruptions, and streams of changing domains.

Start at :func:`load` (a data set by name), then ``corruptions`` and ``stream``. Everything is numpy, scipy
and pillow: training code imports this package, this package never imports torch.
"""

from edgeadapt_models.data.base import Dataset
from edgeadapt_models.data.corruptions import CORRUPTIONS, SEVERITIES, corrupt
from edgeadapt_models.data.registry import load, names
from edgeadapt_models.data.streams.stream import RenderedStream, Segment, StreamSpec, parse_segments, render

__all__ = [
    "CORRUPTIONS",
    "SEVERITIES",
    "Dataset",
    "RenderedStream",
    "Segment",
    "StreamSpec",
    "corrupt",
    "load",
    "names",
    "parse_segments",
    "render",
]
