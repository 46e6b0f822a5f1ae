"""An alarm that may be looked at after every frame: are these frames still the source's?

A frame's residual is its signature minus the one that the source has for the predicted class, whitened, so
that a stretch of one class looks like itself and not like drift. The alarm bets that the next residual points
where the last ones did: with u the direction of their mean, the score s = <z, u> / sqrt(S) has a mean of
about the distance that the stream has moved (root mean square over features, in source deviations of
whitened features). Null hypothesis, for every frame and whatever came before it:

    E[ max(s, -floor) | all frames before ]  <=  tolerance

Then every factor 1 + b (max(s, -floor) - tolerance), 0 <= b < 1 / (floor + tolerance), has a conditional
mean of at most 1, since u and b are chosen before the frame is seen; products of them are test
supermartingales, and so is any mixture. Mixed are bets, memories of the direction, and the frame at
which the run of factors begins, with weights w_k ~ 1 / (k log^2 k) that sum to 1: drift that begins late
pays log(1 / w_k) and not all that was lost before. By Ville's inequality (1939)

    P(the alarm ever sounds, in a stream of any length)  <=  alpha

if the hypothesis holds. Waudby-Smith and Ramdas (JRSS-B 2024, bets on bounded means); Shin, Ramdas and
Rinaldo (2022, mixtures over restart points, there for a mean run length instead of a chance).

The tolerance is measured when the bundle is made: how far frames that nothing was fitted on lie from what is
expected of them, class by class, at worst (`tolerance`). So the classes may come in any order. What the
hypothesis does not cover is a frame that follows from the ones before it, such as a camera before a still
scene: one usual frame, seen a hundred times, is far from the mean a hundred times; so are the few things
that a camera sees in turns for a while. A frame that nearly repeats one of the last that counted is
therefore not counted. Scenes that change slowly, never repeating, still break the assumption; probing a
small share of frames is what helps then.

Not here: what is done about an alarm.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from edgeadapt.bundle.calibration import Calibration
from edgeadapt.sequential import MAX_E_VALUE
from edgeadapt.signature import class_means
from edgeadapt.tensors import FloatArray
from edgeadapt.whitening import CLIP, Array, clipped, whiten

#: Chance at most of an alarm in a stream that does not drift.
ALPHA = 0.01
# The score's lower end, in its usual deviations.
_FLOOR_DEVIATIONS = 3.0
# Frames over which the direction is averaged, and bets as shares of the largest.
_MEMORIES: npt.NDArray[np.float64] = np.array([12.0, 48.0, 192.0])
_BETS: npt.NDArray[np.float64] = np.array([0.05, 0.1, 0.2, 0.4, 0.7, 0.95])
# The weights' offset: larger favours early drift less.
_OFFSET = 8
# A frame nearer than this to one of so many that counted is a repetition. Two independent frames are
# about 1.3 apart, and less than 0.35 in two pairs of a thousand. Nearer frames are left out more often where
# they lie close: that moves the mean of those that count by 0.03 (Fashion-MNIST, where one frame in four is
# left out), and at 0.5 by 0.09, as far as the tolerance. The memory has to hold all that a scene shows.
_REPEAT, _REPEAT_MEMORY = 0.35, 128
# Frames of a class that are enough to measure its offset, the margin on it, and its bounds.
_ENOUGH, _MARGIN = 32, 1.25
_LEAST, _MOST = 0.05, 1.0


class DriftAlarm:
    """Evidence that a stream is not the source's.

    Attributes:
        frames: that counted since the last restart.
        repeats: that did not, being much like one before.
    """

    def __init__(self, calibration: Calibration, alpha: float = ALPHA) -> None:
        """`alpha` is the chance of a false alarm; raises ValueError unless it lies between 0 and 1."""
        if not 0.0 < alpha < 1.0:
            raise ValueError(f"expected 0 < alpha < 1, got {alpha}")
        self._calibration, self.alpha = calibration, alpha
        size = len(calibration.signature_std)
        self._root = math.sqrt(size)
        self._floor = _FLOOR_DEVIATIONS / self._root
        self._tolerance = float(calibration.drift_tolerance[0])
        self._bets = _BETS / (self._floor + self._tolerance)
        self.restart()

    @staticmethod
    def of(calibration: Calibration, alpha: float = ALPHA) -> DriftAlarm:
        """For the source that a bundle was calibrated on."""
        return DriftAlarm(calibration, alpha)

    def restart(self) -> None:
        """Begin anew: another stretch of the stream, with the whole of alpha to spend."""
        size = len(self._calibration.signature_std)
        self._directions: Array = np.zeros((len(_MEMORIES), size))
        self._wealth: Array = np.zeros((len(_MEMORIES), len(_BETS)))
        self._unspent, self._most = 1.0, 1.0
        # Infinitely far from everything until they are filled.
        self._recent: Array = np.full((_REPEAT_MEMORY, size), np.inf)
        self.frames = self.repeats = 0

    def update(self, vector: FloatArray, predicted: int) -> None:
        """Take a probed frame's signature features [S] and its predicted class; ignored if not finite."""
        if not np.isfinite(vector).all():
            return
        expected = self._calibration.class_signatures[predicted]
        whole = whiten(vector.astype(np.float64) - expected, self._calibration)
        if self._is_repeat(whole):
            self.repeats += 1
            return
        self._recent[self.frames % _REPEAT_MEMORY] = whole
        residual = clipped(whole, CLIP)
        if self.frames:
            self._bet(residual)
        self.frames += 1
        self._directions += (residual - self._directions) / np.minimum(self.frames, _MEMORIES)[:, None]

    def _is_repeat(self, residual: Array) -> bool:
        away = self._recent - residual
        return bool(np.einsum("ij,ij->i", away, away).min() < _REPEAT**2 * len(residual))

    def _bet(self, residual: Array) -> None:
        lengths = np.sqrt(np.sum(self._directions**2, axis=1))
        scores = self._directions @ residual / (np.maximum(lengths, 1e-12) * self._root)
        gains = np.maximum(scores, -self._floor) - self._tolerance
        place = self.frames + _OFFSET
        weight = math.log(_OFFSET) / (place * math.log(place) ** 2)
        self._unspent -= weight
        self._wealth = (self._wealth + weight) * (1.0 + gains[:, None] * self._bets)
        np.minimum(self._wealth, MAX_E_VALUE, out=self._wealth)
        self._most = max(self._most, self.e_value)

    @property
    def e_value(self) -> float:
        """Wealth now against "no drift": it began at 1, and averages 1 at most in a stream without drift."""
        return float(self._wealth.mean()) + self._unspent

    @property
    def p_value(self) -> float:
        """A p-value that holds whenever one looks: 1 over the largest e-value since the restart."""
        return 1.0 / self._most

    @property
    def alarm(self) -> bool:
        """True once the evidence has sufficed, until the next restart."""
        return self._most >= 1.0 / self.alpha


def tolerance(
    features: FloatArray,
    predicted: npt.NDArray[np.integer],
    labels: npt.NDArray[np.integer],
    calibration: Calibration,
) -> float:
    """How far frames of any one class lie from what is expected of them, though nothing drifts.

    The classes' signatures of one half of the source frames are held against the other half, and the other
    way round: for each label the root mean square of the mean residual, less what chance adds. It counts how
    wrong a class's signature is that few frames were seen of, and what wrong predictions do.

    Args:
        features: [N, S] of the source.
        predicted: [N] classes that the model gives.
        labels: [N] true ones, or again the predicted ones where nobody knows them.
        calibration: for the whitening and the number of classes.

    Returns:
        The largest over labels with many frames; the others count together, twice their mean.
    """
    order = np.random.default_rng(0).permutation(len(features))
    halves = order[: len(order) // 2], order[len(order) // 2 :]
    squares: dict[int, list[tuple[float, int]]] = {}
    for fitted, held in (halves, halves[::-1]):
        expected = class_means(features[fitted], predicted[fitted], len(calibration.class_signatures))
        residuals = clipped(whiten(features[held] - expected[predicted[held]], calibration), CLIP)
        for label in np.unique(labels[held]).tolist():
            part = residuals[labels[held] == label]
            if len(part) > 1:
                chance = float(part.var(axis=0, ddof=1).mean()) / len(part)
                square = float(np.mean(part.mean(axis=0) ** 2)) - chance
                squares.setdefault(label, []).append((square, len(part)))
    return _worst([(np.mean([s for s, _ in pairs]), min(n for _, n in pairs)) for pairs in squares.values()])


def _worst(offsets: list[tuple[np.floating, int]]) -> float:
    many = [float(square) for square, count in offsets if count >= _ENOUGH]
    few = [float(square) for square, count in offsets if count < _ENOUGH]
    worst = max([0.0, *many, 4.0 * float(np.mean(few)) if few else 0.0])
    return float(np.clip(_MARGIN * math.sqrt(worst), _LEAST, _MOST))
