"""A glance at the frames themselves: cheap numbers that jump when the world does, without a probe.

A settled device probes few frames, and so would notice a shift late. Every other frame it takes a glance:
mean, spread and graininess of some rows, and the entropy of the prediction. `Watch` compares the last
few glances with the ones before. An alarm is only a reason to look closely, that is to probe; whether
there was a shift is decided on the signatures of probed frames (`domains`).

The threshold is in standard errors of a window's mean. Where neighbouring frames are alike, windows vary
more than that says; their usual deviation is followed, and divides.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence

import numpy as np

from edgeadapt_device.core.events import Image

# Values of a frame that are looked at; more show no more.
_MOST_VALUES = 4096
# Glances in the window, and the pause after an alarm.
_WINDOW = 8
_THRESHOLD = 4.0
# Glances before there is something to compare with, and until the oldest are forgotten.
_FIRST = 24
_MEMORY = 128
# Largest of four squared standard errors, on average, where frames are independent.
_USUAL = 3.0
_SMALL = 1e-9


def glance(frame: Image, channels: int) -> tuple[float, float, float]:
    """(mean, standard deviation, root mean square difference of neighbours) of some rows of a frame.

    Args:
        frame: of any shape; the last axes hold neighbouring values.
        channels: how far apart neighbours of one channel lie.
    """
    rows = frame.reshape(len(frame), -1)
    skip = max(rows.size // _MOST_VALUES, 1)
    values = rows[::skip].astype(np.float32).ravel()
    steps = values[channels:] - values[:-channels]
    count = max(values.size, 1)
    mean = float(np.add.reduce(values)) / count
    square = float(np.dot(values, values)) / count
    return mean, math.sqrt(max(square - mean * mean, 0.0)), math.sqrt(float(np.dot(steps, steps)) / count)


class Watch:
    """Compares the last glances with those before them, feature by feature."""

    def __init__(self) -> None:
        self._window: deque[Sequence[float]] = deque()
        self._sums: list[float] = []
        self._mean: list[float] = []
        self._var: list[float] = []
        self._usual = _USUAL
        self._count = 0
        self._quiet = 0

    def restart(self) -> None:
        """The world is another one: what was usual is so no more."""
        self._window.clear()
        self._count, self._usual, self._quiet = 0, _USUAL, 0

    def observe(self, features: Sequence[float]) -> bool:
        """Take one frame's features; True when the last ones are not like those before.

        Features that are not finite are ignored.
        """
        if not math.isfinite(sum(features)):
            return False
        window = self._window
        window.append(features)
        if len(window) <= _WINDOW:
            if len(window) == _WINDOW:
                self._sums = [sum(values) for values in zip(*window, strict=True)]
            return False
        deviation = self._slide(window.popleft(), features)
        if self._count < _FIRST:
            return False
        if self._quiet:
            self._quiet -= 1
            return False
        most = _THRESHOLD**2 * max(self._usual / _USUAL, 1.0)
        # A jump is not what is usual: it counts as the largest deviation that is none.
        self._usual += (min(deviation, most) - self._usual) / _MEMORY
        if deviation <= most:
            return False
        self._quiet = _WINDOW
        return True

    def _slide(self, old: Sequence[float], new: Sequence[float]) -> float:
        """Move the window on by one frame, and learn from the one that leaves it.

        Mean and variance are over the last `_MEMORY` glances or so.

        Returns:
            Square of the window's largest deviation from that mean, in standard errors.
        """
        self._count += 1
        if self._count == 1:
            self._mean, self._var = list(old), [0.0] * len(old)
        share = 1.0 / min(self._count, _MEMORY)
        sums, means, variances, worst = self._sums, self._mean, self._var, 0.0
        for i, value in enumerate(old):
            step = value - means[i]
            mean = means[i] = means[i] + share * step
            var = variances[i] = variances[i] + share * (step * step * (1.0 - share) - variances[i])
            total = sums[i] = sums[i] + new[i] - value
            distance = total / _WINDOW - mean
            worst = max(worst, distance * distance / (var / _WINDOW + _SMALL))
        return worst
