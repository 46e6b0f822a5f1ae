"""The device's own statistics: collecting moments, when to fold them in, and when a session is worth it.

Moments count only when they were measured under the patch in force: deep layers see another world
under another patch. Older statistics of the same patch are fine. Guards: a single frame far from its
neighbours is left out, as is one that is not finite; a stretch of few classes moves little
(`edgeadapt.balanced`); a build is asked for only when the values have moved. `settled` is the estimate of
a few updates ago, before a new domain could leak into it; that is what the bank remembers.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from edgeadapt.balanced import Correlation
from edgeadapt.bundle.bundle import Bundle
from edgeadapt.normstats import (
    NormEstimator,
    StatisticsConfig,
    distance_moved,
    statistics_of_slots,
    statistics_slots,
)
from edgeadapt.tensors import FloatArray
from edgeadapt_device.core.adapt.statistics.embedding import EmbeddingShift

_SETTLED_LAG = 4
# A new segment is followed with updates this many times more frequent than a settled one.
_YOUNG_DIVISOR = 2
# A frame further from the estimate than this many times its neighbours, and by this much, is a glitch.
_GLITCH_TIMES, _GLITCH_DISTANCE = 4.0, 4.0

Pair = tuple[FloatArray, FloatArray]


class OwnStatistics:
    """Statistics of one device, under one patch at a time.

    Attributes:
        patch: the one in force ("" for the base).
        updates: re-estimations since this object was made.
        moves_model: False when nothing in the model, or in the configuration, lets statistics move it.
        shift: the embedding's mean, for models that have a slot for it.
    """

    def __init__(self, bundle: Bundle, config: StatisticsConfig) -> None:
        manifest = bundle.manifest
        self._manifest, self._config = manifest, config
        self._scale = np.sqrt(np.maximum(bundle.calibration.norm_var, 1e-12))
        self._bounds = {slot.name: (slot.lower, slot.upper) for slot in manifest.slots}
        source = (bundle.calibration.norm_mean, bundle.calibration.norm_var)
        self._estimator = NormEstimator(*source, config, len(manifest.classes))
        self._correlation = Correlation(len(manifest.classes))
        self.shift = EmbeddingShift(bundle, config)
        self._history: deque[Pair] = deque(maxlen=_SETTLED_LAG)
        self.updates = 0
        self.moves_statistics = config.enabled and manifest.has_statistics
        self.moves_model = self.moves_statistics or bool(self.shift.slot)
        self.restart("", *source)

    def restart(self, patch: str, mean: FloatArray, var: FloatArray) -> None:
        """Go on from [P] statistics under the patch with this digest ("" for the base)."""
        self.patch = patch
        self._estimator.restart(mean, var)
        self.shift.restart()
        self._history.clear()
        self._history.append((mean, var))
        self._pending: list[tuple[FloatArray, FloatArray, int]] = []
        self._built: tuple[Pair, FloatArray] | None = ((mean, var), self.shift.value)

    def new_segment(self) -> None:
        """The classes' shares are others from here on."""
        self._correlation.new_segment()

    def rename(self, old: str, new: str) -> None:
        """The patch in force has another digest from now on, and the same values."""
        if self.patch == old:
            self.patch = new

    def relax(self) -> None:
        """The world has jumped: new frames move the estimate quickly."""
        self._estimator.relax()

    def see(
        self, predicted: int, embedding: FloatArray | None, patch: str | None, nearness: float = 0.0
    ) -> bool:
        """Take any frame, in order; True when something but moments moved that a session may follow.

        `nearness` is that of `domains.Home`, here and for `fold`.
        """
        if not self.moves_model:
            return False
        self._correlation.observe(predicted)
        if not self.shift.slot or embedding is None or patch != self.patch:
            return False
        return self.shift.observe(embedding, predicted, self._correlation.excess, nearness)

    def add(self, mean: FloatArray, mean_square: FloatArray, predicted: int, patch: str) -> None:
        """Take one probed frame's moments [P] and predicted class, measured under `patch`."""
        if self.moves_statistics and patch == self.patch:
            self._pending.append((mean, mean_square, predicted))

    def due(self, *, young: bool) -> bool:
        """True when enough frames wait for an update."""
        every = self._config.frames_per_update
        return len(self._pending) >= (max(every // _YOUNG_DIVISOR, 1) if young else every)

    def fold(self, nearness: float = 0.0) -> bool:
        """Fold the waiting frames into the estimate; True when it moved."""
        found = tuple(zip(*self._pending, strict=True))
        means, squares, labels = np.stack(found[0]), np.stack(found[1]), np.array(found[2])
        self._pending = []
        usable = self._usable(means, squares)
        moved = usable.any() and self._estimator.update(
            means[usable], squares[usable], labels[usable], self._correlation.excess, nearness
        )
        if not moved:
            return False
        self._history.append(self.current)
        self.updates += 1
        return True

    def _usable(self, means: FloatArray, squares: FloatArray) -> npt.NDArray[np.bool_]:
        """[N] True for frames that are finite and no glitch beside the others."""
        with np.errstate(over="ignore", invalid="ignore"):
            away = np.sqrt(
                np.mean(((means - self._estimator.mean) / self._scale) ** 2, axis=1, dtype=np.float64)
            )
        finite: npt.NDArray[np.bool_] = np.isfinite(away) & np.isfinite(squares).all(axis=1)
        if not finite.any():
            return finite
        most = _GLITCH_TIMES * float(np.median(away[finite])) + _GLITCH_DISTANCE
        return finite & np.asarray(away <= most)

    @property
    def moved(self) -> bool:
        """True when a session with the present values would differ from the last one by enough."""
        if not self.moves_model or self._built is None:
            return self.moves_model
        (statistics, shift), step = self._built, 0.0
        if self.moves_statistics:
            step = distance_moved(statistics, self.current)
        if self.shift.slot:
            away = np.sqrt(np.mean((self.shift.value - shift) ** 2, dtype=np.float64)) / self.shift.unit
            step = max(step, float(away))
        return step > self._config.min_move

    def asked_for(self) -> None:
        """A session with the present values is being built."""
        self._built = (self.current, self.shift.value)

    def not_built(self) -> None:
        """It could not be built: the next one is worth a try, however little has moved."""
        self._built = None

    @property
    def frames(self) -> int:
        """Frames behind the estimate."""
        return self._estimator.frames

    @property
    def current(self) -> Pair:
        """([P] mean, [P] variance) now."""
        return self._estimator.mean, self._estimator.var

    @property
    def settled(self) -> Pair:
        """The same, a few updates ago."""
        return self._history[0]

    def of_patch(self, values: Mapping[str, FloatArray]) -> Pair:
        """The [P] statistics to start from under a patch: its own where it has some, else the current."""
        return statistics_of_slots(self._manifest, dict(values), *self.current)

    def values(self, values: Mapping[str, FloatArray], statistics: Pair) -> dict[str, FloatArray]:
        """Slot values of a generation: a patch's `values` with `statistics` written over them."""
        if not self.moves_statistics:
            return dict(values)
        own = statistics_slots(self._manifest, *statistics)
        return {**values, **{name: np.clip(value, *self._bounds[name]) for name, value in own.items()}}

    def own_values(self, values: Mapping[str, FloatArray]) -> dict[str, FloatArray]:
        """The same with what is held now under the patch in force."""
        shift = {self.shift.slot: self.shift.value} if self.shift.slot else {}
        return {**self.values(values, self.current), **shift}
