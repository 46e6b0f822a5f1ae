"""The rule that the alarm took the place of, to compare with: a window's distance from a reference.

Distances are in plain source standard deviations, root mean square, without whitening. The segment's first
frames are its reference, kept per predicted class; a window whose mean lies further away for some frames
in a row is a shift. It holds no level: its threshold was set by hand (adr 13).
"""

from __future__ import annotations

from collections import deque

import numpy as np

from edgeadapt.bundle import Calibration
from edgeadapt.tensors import FloatArray

_THRESHOLD, _WINDOW, _REFERENCE, _MOST, _PATIENCE = 0.7, 24, 48, 512, 4
_PRIOR, _WIDENING, _CLIP = 4.0, 1.5, 8.0


class DistanceRule:
    """`update` says whether a segment begins with a frame."""

    def __init__(self, calibration: Calibration) -> None:
        self._scale = np.maximum(calibration.signature_std, 1e-6).astype(np.float64)
        self._classes = len(calibration.class_signatures)
        self.restart()

    def restart(self) -> None:
        """Forget the segment."""
        size = len(self._scale)
        self._sum, self._count = np.zeros(size), 0
        self._class_sum, self._class_count = np.zeros((self._classes, size)), np.zeros(self._classes)
        self._window: deque[tuple[np.ndarray, float]] = deque()
        self._total = np.zeros(size)
        self._over = 0

    def update(self, vector: FloatArray, predicted: int) -> bool:
        """Take a probed frame's features [S] and predicted class."""
        value = vector.astype(np.float64)
        if self._count < _REFERENCE:
            self._learn(value, predicted)
            return False
        count = self._class_count[predicted]
        expected = (_PRIOR * self._sum / self._count + self._class_sum[predicted]) / (_PRIOR + count)
        residual = np.clip((value - expected) / self._scale, -_CLIP, _CLIP)
        self._window.append((residual, _PRIOR / (_PRIOR + count)))
        self._total += residual
        if len(self._window) > _WINDOW:
            self._total -= self._window.popleft()[0]
        away = float(np.sqrt(np.mean((self._total / _WINDOW) ** 2)))
        unseen = sum(u for _, u in self._window) / len(self._window)
        threshold = _THRESHOLD * (1.0 + _WIDENING * unseen)
        if away < 0.5 * threshold and self._count < _MOST:
            self._learn(value, predicted)
        self._over = self._over + 1 if away > threshold else 0
        if self._over < _PATIENCE:
            return False
        self.restart()
        return True

    def _learn(self, value: np.ndarray, predicted: int) -> None:
        self._sum += value
        self._class_sum[predicted] += value
        self._class_count[predicted] += 1.0
        self._count += 1
