"""Whether the device still sees its source's domain, whatever classes come.

A camera that shows one class for minutes has a signature far from the source's mean, and is at home all the
same; a model that a new domain has thrown out of step predicts few classes as well. What tells the two apart
is the signature that the source has for the class that was predicted: a frame's vector minus that is near
zero, on the mean over some frames, only at home. Seen with Fashion-MNIST and ResNet-8 over 64 frames: 0.04 to
0.09 source deviations for each class alone (0.3 to 0.9 from the mean of all), 0.2 or more for nearly all
corruptions that cost accuracy.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from edgeadapt.bundle.calibration import Calibration
from edgeadapt.tensors import FloatArray

# Probed frames that count.
_MEMORY = 64
# Further from the expected signature than this is not at home; by chance alone a mean of n frames is about
# `_CHANCE` / sqrt(n) away.
_NEAR, _CHANCE = 0.1, 0.75
# Residuals of one frame count up to this many source standard deviations per feature.
_CLIP = 8.0


class Home:
    """The mean residual of the last frames of a segment."""

    def __init__(self, calibration: Calibration) -> None:
        self._signatures = calibration.class_signatures
        self._scale = np.maximum(calibration.signature_std, 1e-6).astype(np.float64)
        self.restart()

    def restart(self) -> None:
        """What was seen may not hold any more."""
        self._mean: npt.NDArray[np.float64] = np.zeros_like(self._scale)
        self._count = 0
        self._nearness: float | None = None

    def observe(self, vector: FloatArray, predicted: int) -> None:
        """Take one probed frame's vector [S] and its predicted class; one that is not finite is ignored."""
        if not np.isfinite(vector).all():
            return
        residual = (vector.astype(np.float64) - self._signatures[predicted]) / self._scale
        self._count = min(self._count + 1, _MEMORY)
        self._mean += (np.clip(residual, -_CLIP, _CLIP) - self._mean) / self._count
        self._nearness = None

    @property
    def nearness(self) -> float:
        """The distance that is still home, over the distance found: above 1 at home; 0 before any frame."""
        if not self._count:
            return 0.0
        # Asked for with every frame; changes only with a probed one.
        if self._nearness is None:
            away = float(np.sqrt(np.mean(self._mean**2)))
            self._nearness = float(_NEAR + _CHANCE * self._count**-0.5) / max(away, 1e-6)
        return self._nearness
