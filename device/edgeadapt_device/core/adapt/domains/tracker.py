"""Which domain the device is in, and when that changes.

Each probed frame gives a signature vector (`edgeadapt.signature`). A segment is a stretch of one
domain; its reference is the mean of its first frames, kept per predicted class as well. A frame's
residual is its vector minus the reference of its predicted class, in source standard deviations, so a
stretch of a single class looks like itself and not like a new domain; where the reference has seen
little of a class, the threshold widens. The mean residual over a sliding window, held for some
frames in a row, is a shift. A single odd frame is clipped and cannot make one.

Not here: what is done about a shift, and finding a known domain again (`bank`).
"""

from __future__ import annotations

from collections import deque

import numpy as np
import numpy.typing as npt

from edgeadapt.bundle.calibration import Calibration
from edgeadapt.signature import Signature, distance
from edgeadapt.tensors import FloatArray
from edgeadapt_device.config import DomainsSection

# A class seen this often in the reference is half trusted.
_CLASS_PRIOR_FRAMES = 4.0
# How much wider the threshold is when the window holds only classes that the reference has not seen.
_UNSEEN_WIDENING = 1.5
# Residuals of one frame count up to this many source standard deviations per feature.
_CLIP = 8.0


class DomainTracker:
    """Follows the segments of one device."""

    def __init__(
        self,
        calibration: Calibration,
        config: DomainsSection,
        classes: int,
        *,
        segment: int = 0,
        reference: Signature | None = None,
    ) -> None:
        """Start in `segment`; `reference` is its signature from before a restart, if there is one."""
        self._calibration = calibration
        self._config = config
        self._classes = classes
        self._scale = np.maximum(calibration.signature_std, 1e-6).astype(np.float64)
        self._sum: npt.NDArray[np.float64] = np.zeros_like(self._scale)
        self.segment = segment
        self._restart()
        if reference is not None and reference.count >= config.reference_frames:
            self._sum = reference.vector.astype(np.float64) * reference.count
            self.frames = self._reference_count = reference.count

    def _restart(self) -> None:
        size = self._scale.shape[0]
        self._sum = np.zeros(size)
        self._class_sum: npt.NDArray[np.float64] = np.zeros((self._classes, size))
        self._class_count: npt.NDArray[np.float64] = np.zeros(self._classes)
        self._reference_count = 0
        self._signature: Signature | None = None
        self._drift: float | None = None
        self._window: deque[tuple[npt.NDArray[np.float64], float]] = deque()
        self._window_sum: npt.NDArray[np.float64] = np.zeros(size)
        self._window_unseen = 0.0
        self._over = 0
        self.frames = 0
        self.distance = 0.0

    def observe(self, vector: FloatArray, predicted: int) -> bool:
        """Take one probed frame's vector [S] and its predicted class; True when a new segment began."""
        if not np.isfinite(vector).all():
            return False
        value = vector.astype(np.float64)
        self.frames += 1
        if self._reference_count < self._config.reference_frames:
            self._learn(value, predicted)
            return False
        threshold = self._slide(value, predicted)
        if self.distance < 0.5 * threshold and self._reference_count < self._config.max_reference_frames:
            self._learn(value, predicted)
        self._over = self._over + 1 if self.distance > threshold else 0
        if self._over < self._config.patience_frames:
            return False
        self.new_segment()
        return True

    def new_segment(self) -> None:
        """Begin the next segment with an empty reference."""
        self.segment += 1
        self._restart()

    def _learn(self, value: npt.NDArray[np.float64], predicted: int) -> None:
        self._sum += value
        self._class_sum[predicted] += value
        self._class_count[predicted] += 1.0
        self._reference_count += 1
        self._signature = self._drift = None

    def _slide(self, value: npt.NDArray[np.float64], predicted: int) -> float:
        """Move the window on, set `distance`, and return the threshold it has to pass."""
        centre = self._sum / self._reference_count
        count = self._class_count[predicted]
        expected = (_CLASS_PRIOR_FRAMES * centre + self._class_sum[predicted]) / (_CLASS_PRIOR_FRAMES + count)
        residual = np.clip((value - expected) / self._scale, -_CLIP, _CLIP)
        unseen = _CLASS_PRIOR_FRAMES / (_CLASS_PRIOR_FRAMES + count)
        self._window.append((residual, unseen))
        self._window_sum += residual
        self._window_unseen += unseen
        if len(self._window) > self._config.window_frames:
            old, old_unseen = self._window.popleft()
            self._window_sum -= old
            self._window_unseen -= old_unseen
        size = len(self._window)
        # A short window is read as if the missing frames were on the reference: no alarm on little evidence.
        mean = self._window_sum / max(size, self._config.window_frames)
        self.distance = float(np.sqrt(np.mean(mean**2)))
        return self._config.shift_distance * (1.0 + _UNSEEN_WIDENING * self._window_unseen / size)

    @property
    def signature(self) -> Signature:
        """Mean signature of the segment so far; the source's own before the first frame."""
        if self._signature is None:
            self._signature = Signature(self._calibration.signature_mean, 0)
            if self._reference_count:
                mean = (self._sum / self._reference_count).astype(np.float32)
                self._signature = Signature(mean, self._reference_count)
        return self._signature

    @property
    def drift(self) -> float:
        """Distance of the segment's signature from the source, in source standard deviations."""
        # Asked for with every frame; changes only with a probed one.
        if self._drift is None:
            source = self._calibration.signature_mean
            self._drift = distance(self.signature.vector, source, self._calibration)
        return self._drift

    def at_home(self, min_drift: float) -> bool:
        """True while the segment looks like the source: within `min_drift` plus chance, 1/sqrt(n)."""
        count = self.signature.count
        return count == 0 or self.drift < min_drift + count**-0.5
