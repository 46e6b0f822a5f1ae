"""Which test picture comes next: draws without replacement, with any mix of classes and any order.

Not here: what happens to the picture (``domain``, ``stream``).
"""

import numpy as np
from numpy.typing import NDArray

from edgeadapt.errors import ConfigError

Indices = NDArray[np.int64]


class Deck:
    """Pictures grouped by class, dealt without replacement.

    Plain draws empty the whole deck, then it is shuffled anew. Draws of a wanted class shuffle that class
    anew when it alone is used up. Both share one deck: a picture dealt one way is not dealt the other way.
    """

    def __init__(self, labels: NDArray[np.int64], class_count: int, rng: np.random.Generator) -> None:
        self._rng = rng
        self._members = [np.flatnonzero(labels == label) for label in range(class_count)]
        self._left: list[list[int]] = [[] for _ in range(class_count)]
        self._shuffle_all()

    def plain(self, frames: int) -> Indices:
        """Deal ``frames`` pictures, each equally likely among those left; int64 ``[frames]``."""
        dealt: list[int] = []
        while len(dealt) < frames:
            left = np.array([len(pile) for pile in self._left])
            if left.sum() == 0:
                self._shuffle_all()
                continue
            take = min(frames - len(dealt), int(left.sum()))
            counts = self._rng.multivariate_hypergeometric(left, take)
            labels = self._rng.permutation(np.repeat(np.arange(len(left)), counts))
            dealt.extend(self._left[label].pop() for label in labels.tolist())
        return np.array(dealt, dtype=np.int64)

    def weighted(self, frames: int, weights: NDArray[np.float64]) -> Indices:
        """Deal ``frames`` pictures whose classes are drawn with ``weights`` (which sum to 1).

        Raises:
            ConfigError: a class with weight has no pictures.
        """
        for label in np.flatnonzero(weights).tolist():
            if self._members[label].size == 0:
                raise ConfigError(f"class {label} has a weight, but no pictures")
        labels = self._rng.choice(len(weights), size=frames, p=weights)
        return np.array([self._one_of(label) for label in labels.tolist()], dtype=np.int64)

    def _one_of(self, label: int) -> int:
        if not self._left[label]:
            self._shuffle(label)
        return self._left[label].pop()

    def _shuffle(self, label: int) -> None:
        self._left[label] = self._rng.permutation(self._members[label]).tolist()

    def _shuffle_all(self) -> None:
        for label in range(len(self._members)):
            self._shuffle(label)


def in_runs(
    indices: Indices, labels: NDArray[np.int64], run_length: int, rng: np.random.Generator
) -> Indices:
    """Reorder ``indices`` so that pictures of one class follow each other, ``run_length`` at a time.

    The runs come in random order, so two of one class may meet; a class's last run may be shorter.
    ``labels`` are those of ``indices``. Temporal correlation as in a camera that dwells on one thing.
    """
    runs: list[Indices] = []
    for label in np.unique(labels):
        members = indices[labels == label]
        runs.extend(members[start : start + run_length] for start in range(0, len(members), run_length))
    order = rng.permutation(len(runs))
    return np.concatenate([runs[place] for place in order.tolist()])
