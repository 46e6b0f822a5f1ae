"""A session of two graphs, the same for every runtime: one run at a time, its errors translated, its moments
turned into those of the norm layers' inputs.

Not here: how a graph is run, which is the affair of each engine.
"""

from __future__ import annotations

import threading
from typing import ClassVar, Protocol

from edgeadapt.bundle import MomentInversion
from edgeadapt.errors import TransportError
from edgeadapt.tensors import FloatArray
from edgeadapt_device.io.engines.base import Frames, Scores
from edgeadapt_device.io.engines.inputs import Frame


class Graph(Protocol):
    """One graph of a model."""

    def run(self, frames: Frames) -> list[FloatArray]:
        """The outputs of SCORES, and those of MOMENTS from the probe; float32 [N, width]."""
        ...


class GraphSession:
    """A fast graph and a probe graph, or one probe graph for both.

    Attributes:
        errors: what the runtime raises when a run fails.
    """

    errors: ClassVar[tuple[type[Exception], ...]]

    def __init__(self, frame: Frame, fast: Graph, probe: Graph, inversion: MomentInversion) -> None:
        """`fast` may be a view of the same graph as `probe`."""
        self._frame, self._fast, self._probe, self._inversion = frame, fast, probe, inversion
        self._lock = threading.Lock()

    def run(self, images: Frames, *, probe: bool) -> Scores:
        """Score N frames, with their moments when `probe`; raises TransportError."""
        self._frame.check(images)
        try:
            with self._lock:
                outputs = self._probe.run(images) if probe else self._fast.run(images)
        except self.errors as error:
            raise TransportError(f"inference failed: {str(error) or type(error).__name__}") from error
        if not probe:
            return Scores(*outputs)
        logits, embedding, mean, mean_square = outputs
        return Scores(logits, embedding, *self._inversion.apply(mean, mean_square))
