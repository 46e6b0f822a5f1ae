"""How much a frame may move the statistics: little while the stream shows one class only.

Statistics of a stretch of one class are not those of the domain: batch statistics collapse there (a
ResNet-50 fell from 18 to 2 per cent in the literature). The effective number of classes among the last
probed frames, exp of the entropy of their predicted classes, tells such a stretch: at one class nothing
counts, from `FULL_CLASSES` on everything does.

A model that a new domain has thrown out of step predicts few classes, too, and needs its statistics
moved most of all. So while a segment is young a frame counts `FLOOR` at least: shrinkage to the source
bounds what the first frames can do.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

#: Effective classes from which on a frame counts in full.
FULL_CLASSES = 4.0
#: What a frame of a young segment counts at least.
FLOOR = 0.5
# Frames after which a class is forgotten, about.
_MEMORY = 48.0


class Diversity:
    """The predicted classes of the last probed frames."""

    def __init__(self, classes: int) -> None:
        """`classes` is K; with one class there is nothing to guard."""
        self._full = min(FULL_CLASSES, float(classes))
        self._counts: npt.NDArray[np.float64] = np.zeros(classes)

    def restart(self) -> None:
        """Forget all."""
        self._counts[:] = 0.0

    def observe(self, predicted: int) -> None:
        """Take one probed frame's predicted class."""
        self._counts *= 1.0 - 1.0 / _MEMORY
        self._counts[predicted] += 1.0

    @property
    def effective_classes(self) -> float:
        """Between 1 and K; 1 before the first frame."""
        seen = self._counts[self._counts > 0.0]
        if not seen.size:
            return 1.0
        shares = seen / seen.sum()
        return float(np.exp(-(shares * np.log(shares)).sum()))

    def weight(self, *, young: bool) -> float:
        """What a frame counts now, in [0, 1]."""
        if self._full <= 1.0:
            return 1.0
        weight = min((self.effective_classes - 1.0) / (self._full - 1.0), 1.0)
        return max(weight, FLOOR) if young else weight
