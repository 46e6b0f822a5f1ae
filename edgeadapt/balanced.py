"""A slow mean over a stream, for which it matters little in what order the classes come.

A camera shows one class for minutes. The mean of such a stretch is not the domain's, and a model whose
statistics follow it collapses (a ResNet-50 fell from 18 to 2 per cent in the literature). So a mean is kept
for each predicted class, and what is estimated is

    (N prior + W m) / (N + W),     m = sum_c w_c m_c / sum_c w_c,     w_c = n_c ^ beta,
    W = min(sum_c n_c, N0 / 32 E^3 / (1 - beta)),     N = N0 (1 - W / window)

with n_c the frames of class c, forgotten over the window, and E the effective number of classes, exp of
the entropy of w. Shrinkage to the prior, worth N0 frames, is strong until several classes were seen. beta
says how much the classes' shares in the stream are trusted: 1 where neighbouring frames are independent, 0
(every class counts alike, as in NOTE, Gong et al., NeurIPS 2022) where they go together. `Correlation`
tells: a model that a new domain has thrown out of step predicts few classes as well, but not more often in
a row than their shares say.

A long stretch of one class looks, by its labels, like such a model: some are wrong, and not in runs. Where
the caller knows by other means that the domain is the prior's (`nearness`, the distance that is near over the
one found, is above 1), the prior is hardly left: E is taken with beta = 1, so that a few wrong labels are no
classes, W without the division by 1 - beta, and then divided by nearness^4, at most by 16.
"""

from __future__ import annotations

from collections import deque

import numpy as np
import numpy.typing as npt

Vector = npt.NDArray[np.float64]

# Classes with a mean of their own; the rarest beyond them share one.
_MOST_CLASSES = 32
_OTHERS = -1
# Effective classes at which the guard ends; a model of fewer classes is stretched to as many.
_ENOUGH_CLASSES = 10.0
_CUBE_SHARE = 1.0 / 32.0
# What measured frames count for less where the domain is the prior's.
_NEAR_POWER, _NEAR_MOST = 4.0, 16.0
# What is left of it where neighbouring frames are independent.
_LEAST_GUARD = 0.1
# Frames over which shares and repetitions are measured.
_MEMORY = 128
# Frames for which what was measured in the segments before counts.
_PRIOR_FRAMES = 32.0
# From this excess of repetitions on, shares are not trusted at all.
_FULL_EXCESS = 0.25


class BalancedMean:
    """The mean of vectors [V], each of which comes with a predicted class."""

    def __init__(
        self, prior: Vector, *, prior_frames: float, window_frames: float, classes: int, guarded: bool = True
    ) -> None:
        """Start at `prior` [V].

        Args:
            prior: counts as `prior_frames` (N0).
            prior_frames: how much the prior counts, for ever.
            window_frames: after so many frames the oldest are forgotten.
            classes: K; with one there is nothing to guard.
            guarded: False is the plain mean, W = sum_c n_c and beta = 1.
        """
        self._prior_frames, self._window = prior_frames, max(window_frames, 1.0)
        self._classes, self._guarded = classes, guarded and classes > 1
        self.restart(prior)

    def restart(self, prior: Vector) -> None:
        """Forget what was measured."""
        self._prior = np.asarray(prior, dtype=np.float64)
        self._means: dict[int, Vector] = {}
        self._counts: dict[int, float] = {}
        self.value: Vector = self._prior.copy()
        self.frames = 0

    def relax(self) -> None:
        """Keep the estimate but let new frames move it quickly: the world has changed."""
        total = sum(self._counts.values())
        if total > self._prior_frames:
            share = self._prior_frames / total
            self._counts = {label: share * count for label, count in self._counts.items()}

    def update(
        self, values: Vector, labels: npt.NDArray[np.int64], excess: float, nearness: float = 0.0
    ) -> None:
        """Take finite vectors [N, V] with their predicted classes [N].

        `excess` is `Correlation.excess`; `nearness` is above 1 where the prior is known to be right.
        """
        keep = (1.0 - 1.0 / self._window) ** len(values)
        self._counts = {label: keep * count for label, count in self._counts.items()}
        for label in np.unique(labels):
            part = values[labels == label]
            self._take(int(label), part.mean(axis=0), float(len(part)))
        self.frames += len(values)
        beta = max(1.0 - max(excess, 0.0) / _FULL_EXCESS, 0.0) if self._guarded else 1.0
        self._estimate(beta, nearness)

    def _take(self, label: int, mean: Vector, count: float) -> None:
        if label in self._counts:
            self._counts[label] += count
            self._means[label] += count / self._counts[label] * (mean - self._means[label])
            return
        self._counts[label], self._means[label] = count, mean
        if len(self._counts) > _MOST_CLASSES and label != _OTHERS:
            rare = min((c for c in self._counts if c != _OTHERS), key=self._counts.__getitem__)
            self._take(_OTHERS, self._means.pop(rare), self._counts.pop(rare))

    def _estimate(self, beta: float, nearness: float) -> None:
        counts = np.array(list(self._counts.values()))
        weights = counts**beta
        shares = weights / weights.sum()
        measured = shares @ np.stack(list(self._means.values()))
        total = float(counts.sum())
        if self._guarded and nearness > 1.0:
            total = min(total, self._most(counts / total)) / min(nearness**_NEAR_POWER, _NEAR_MOST)
        elif self._guarded:
            total = min(total, self._most(shares) / max(1.0 - beta, _LEAST_GUARD))
        prior = self._prior_frames * max(1.0 - total / self._window, 0.0)
        if total + prior > 0.0:
            self.value = (prior * self._prior + total * measured) / (total + prior)

    def _most(self, shares: Vector) -> float:
        """Frames that may count, by the effective number of classes: W of the module's docstring."""
        effective = float(np.exp(-(shares * np.log(np.maximum(shares, 1e-12))).sum()))
        stretch = (_ENOUGH_CLASSES - 1.0) / (min(self._classes, _ENOUGH_CLASSES) - 1.0)
        return _CUBE_SHARE * max(self._prior_frames, 1.0) * float((1.0 + (effective - 1.0) * stretch) ** 3)


class Correlation:
    """Whether neighbouring frames show the same class more often than the classes' shares say.

    >>> runs, mixed = Correlation(4), Correlation(4)
    >>> for i, label in enumerate(np.random.default_rng(1).integers(0, 4, 400)):
    ...     runs.observe(i // 25 % 4)
    ...     mixed.observe(int(label))
    >>> runs.excess > 0.6, mixed.excess < 0.1
    (True, True)
    """

    def __init__(self, classes: int) -> None:
        """`classes` is K."""
        self._classes = classes
        self._labels: deque[int] = deque()
        self._before = _FULL_EXCESS
        self.new_segment()

    def new_segment(self) -> None:
        """A new domain has other shares, but the same camera: the excess is remembered."""
        self._before = self.excess if self._labels else self._before
        self._labels.clear()
        # Plain numbers: this is done for every frame, and a vector operation takes ten times as long.
        self._counts = [0] * self._classes
        self._repeats = 0

    def observe(self, label: int) -> None:
        """Take any frame's predicted class, in order."""
        labels = self._labels
        self._repeats += bool(labels) and labels[-1] == label
        labels.append(label)
        self._counts[label] += 1
        if len(labels) > _MEMORY:
            oldest = labels.popleft()
            self._counts[oldest] -= 1
            self._repeats -= labels[0] == oldest

    @property
    def excess(self) -> float:
        """In [0, 1]: 0 for independent frames, 1 for frames that all are like the one before.

        A stretch of one class alone says nothing about it: then it is what it was.
        """
        count = len(self._labels)
        if count < 3:
            return self._before
        # The chance that two of the frames, drawn at random, are of one class.
        chance = sum(c * (c - 1) for c in self._counts) / (count * (count - 1))
        if chance >= 1.0:
            return self._before
        repeats = self._repeats / (count - 1)
        excess = min(max((repeats - chance) / (1.0 - chance), 0.0), 1.0)
        known, prior = count * (1.0 - chance), _PRIOR_FRAMES * (1.0 - count / _MEMORY)
        return (known * excess + prior * self._before) / (known + prior)
