"""Whether the device still sees its source's domain, whatever classes come.

A camera that shows one class for minutes has a signature far from the source's mean, and is at home all the
same; a model that a new domain has thrown out of step predicts few classes as well. What tells the two apart
is the signature that the source has for the class that was predicted: a frame's vector minus that is near
zero, on the mean over some frames, only at home. How near was measured when the bundle was made
(`drift.tolerance`). Seen with ResNet-8 in whitened distances: each class of Fashion-MNIST alone at most
0.06 (tolerance 0.13), of CIFAR-10 0.10 (0.10); 0.17 or more for all corruptions that cost 4 points of
accuracy, but for the elastic one of CIFAR-10 (0.12).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from edgeadapt.bundle.calibration import Calibration
from edgeadapt.tensors import FloatArray
from edgeadapt.whitening import CLIP, clipped, whiten

# Probed frames that count.
_MEMORY = 64
# By chance alone a mean of n frames is about this / sqrt(n) away.
_CHANCE = 0.75


class Home:
    """The mean residual of the last frames of a segment."""

    def __init__(self, calibration: Calibration) -> None:
        self._calibration = calibration
        self._near = float(calibration.drift_tolerance[0])
        self.restart()

    def restart(self) -> None:
        """What was seen may not hold any more."""
        self._mean: npt.NDArray[np.float64] = np.zeros(len(self._calibration.signature_std))
        self._count = 0
        self._nearness: float | None = None

    def observe(self, vector: FloatArray, predicted: int) -> None:
        """Take one probed frame's vector [S] and its predicted class; one that is not finite is ignored."""
        if not np.isfinite(vector).all():
            return
        difference = vector.astype(np.float64) - self._calibration.class_signatures[predicted]
        residual = clipped(whiten(difference, self._calibration), CLIP)
        self._count = min(self._count + 1, _MEMORY)
        self._mean += (residual - self._mean) / self._count
        self._nearness = None

    @property
    def frames(self) -> int:
        """Probed frames that count, 64 at most."""
        return self._count

    @property
    def nearness(self) -> float:
        """The distance that is still home, over the distance found: above 1 at home; 0 before any frame."""
        if not self._count:
            return 0.0
        # Asked for with every frame; changes only with a probed one.
        if self._nearness is None:
            away = float(np.sqrt(np.mean(self._mean**2)))
            self._nearness = float(self._near + _CHANCE * self._count**-0.5) / max(away, 1e-6)
        return self._nearness
