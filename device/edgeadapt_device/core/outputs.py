"""Do a model's outputs look like logits? Scores, statistics and patches all work on logits."""

from __future__ import annotations

import math

import numpy as np

from edgeadapt.tensors import FloatArray

_TOLERANCE = 1e-3
_WATCHED_FRAMES = 32
_FORGIVING_FRAMES = 1000


def doubt(logits: FloatArray, *, differ: bool) -> str:
    """What is odd about the outputs, or "".

    Args:
        logits: [N, K] for N frames.
        differ: the frames are known to differ.
    """
    if not np.isfinite(logits).all():
        return "the model's outputs are not all finite numbers"
    if logits.shape[1] > 1 and (logits >= -_TOLERANCE).all():
        if np.allclose(logits.sum(axis=1), 1.0, atol=_TOLERANCE):
            return "the model's outputs are probabilities (each row sums to 1), not logits"
        if (logits <= 1.0 + _TOLERANCE).all() and logits.any():
            return "the model's outputs all lie between 0 and 1: probabilities of single classes, not logits"
    if differ and np.ptp(logits, axis=0).max() <= 1e-6 * (1.0 + np.abs(logits).max()):
        return "the model's outputs are the same whatever the frame"
    return ""


class OutputWatch:
    """Looks at the first frames of a process, and at any that are not finite."""

    def __init__(self) -> None:
        self._seen: list[FloatArray] = []
        self._doubt = ""
        self._odd_frames = self._well_frames = 0

    @property
    def trouble(self) -> str:
        """What is odd, "" while nothing is; frames that were not finite are forgiven after many that are."""
        if self._odd_frames and self._well_frames < _FORGIVING_FRAMES:
            return f"the model's outputs are not finite numbers, on {self._odd_frames} frames so far"
        return self._doubt

    def observe(self, logits: FloatArray, uncertainty: float = math.inf) -> None:
        """One frame's [K] logits, and the entropy of its prediction in nats."""
        self._well_frames += 1
        # What is not finite counts as wholly uncertain; anything less needs no second look.
        if len(self._seen) == _WATCHED_FRAMES and uncertainty < 0.999 * math.log(len(logits)):
            return
        # float32 values do not overflow in this sum, so it is finite when, and only when, they all are.
        if not math.isfinite(np.add.reduce(logits, dtype=np.float64)):
            self._odd_frames += 1
            self._well_frames = 0
        elif len(self._seen) < _WATCHED_FRAMES:
            self._seen.append(logits)
            if len(self._seen) == _WATCHED_FRAMES:
                self._doubt = doubt(np.stack(self._seen), differ=False)
