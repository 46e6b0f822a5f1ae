"""The device's own normalisation statistics: collecting moments, and when to fold them in.

Moments count only when they were measured under the patch in force: deep layers see another world
under another patch. Older statistics of the same patch are fine. `settled` is the estimate of a few
updates ago, before a new domain could leak into it; that is what the bank remembers.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping

import numpy as np

from edgeadapt.bundle.bundle import Bundle
from edgeadapt.normstats import (
    Moments,
    NormEstimator,
    StatisticsConfig,
    statistics_of_slots,
    statistics_slots,
)
from edgeadapt.tensors import FloatArray

_SETTLED_LAG = 4
# A new segment is followed with updates this many times more frequent than a settled one.
_YOUNG_DIVISOR = 2


class OwnStatistics:
    """Statistics of one device, under one patch at a time."""

    def __init__(self, bundle: Bundle, config: StatisticsConfig) -> None:
        self._manifest = bundle.manifest
        self._config = config
        source = (bundle.calibration.norm_mean, bundle.calibration.norm_var)
        self._estimator = NormEstimator(*source, config)
        #: Updates since this object was made; `revision` counts those under the patch in force.
        self.updates = 0
        self._history: deque[tuple[FloatArray, FloatArray]] = deque(maxlen=_SETTLED_LAG)
        self.restart("", *source)
        #: False when nothing in the model, or in the configuration, lets statistics move it.
        self.moves_model = config.enabled and bundle.manifest.has_statistics

    def restart(self, patch: str, mean: FloatArray, var: FloatArray) -> None:
        """Go on from [P] statistics under the patch with this digest ("" for the base)."""
        self.patch = patch
        self._estimator.restart(mean, var)
        self._history.clear()
        self._history.append((mean, var))
        self._pending: list[tuple[FloatArray, FloatArray]] = []
        self.revision = 0

    def rename(self, old: str, new: str) -> None:
        """The patch in force has another digest from now on, and the same values."""
        if self.patch == old:
            self.patch = new

    def add(self, mean: FloatArray, mean_square: FloatArray, patch: str) -> None:
        """Take one probed frame's moments [P], measured under `patch`."""
        if patch == self.patch:
            self._pending.append((mean, mean_square))

    def due(self, *, young: bool) -> bool:
        """True when enough frames wait for an update."""
        every = self._config.frames_per_update
        return len(self._pending) >= (max(every // _YOUNG_DIVISOR, 1) if young else every)

    def fold(self) -> bool:
        """Fold the waiting frames into the estimate; True when it moved."""
        means, squares = (np.stack(part) for part in zip(*self._pending, strict=True))
        self._pending = []
        finite = np.isfinite(means).all(axis=1) & np.isfinite(squares).all(axis=1)
        if not finite.any() or not self._estimator.update(Moments.of(means[finite], squares[finite])):
            return False
        self._history.append((self._estimator.mean, self._estimator.var))
        self.revision += 1
        self.updates += 1
        return True

    @property
    def frames(self) -> int:
        """Frames behind the estimate."""
        return self._estimator.frames

    @property
    def current(self) -> tuple[FloatArray, FloatArray]:
        """([P] mean, [P] variance) now."""
        return self._estimator.mean, self._estimator.var

    @property
    def settled(self) -> tuple[FloatArray, FloatArray]:
        """The same, a few updates ago."""
        return self._history[0]

    def of_patch(self, values: Mapping[str, FloatArray]) -> tuple[FloatArray, FloatArray]:
        """The [P] statistics to start from under a patch: its own where it has some, else the current."""
        return statistics_of_slots(self._manifest, dict(values), *self.current)

    def values(
        self, values: Mapping[str, FloatArray], statistics: tuple[FloatArray, FloatArray]
    ) -> dict[str, FloatArray]:
        """Slot values of a generation: a patch's `values` with `statistics` written over them."""
        if not self.moves_model:
            return dict(values)
        return {**values, **statistics_slots(self._manifest, *statistics)}
