"""Data: labelled image sets, the fifteen common corruptions, and streams of changing domains.

Start at :func:`load` (a data set by name), then ``corruptions`` and ``stream``. Everything is numpy, scipy
and pillow: training code imports this package, this package never imports torch.
"""

from edgeadapt_models.data.base import Dataset
from edgeadapt_models.data.registry import load, names

__all__ = ["Dataset", "load", "names"]
