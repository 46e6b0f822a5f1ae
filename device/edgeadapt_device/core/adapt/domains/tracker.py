"""Which domain the device is in, and when that changes.

Each probed frame gives a signature vector (`edgeadapt.signature`). A segment is a stretch of one
domain; its reference is the mean of its first frames, kept per predicted class as well. There are two
ways out of it:

    at home      the drift alarm (`edgeadapt.drift`), which holds frames against the source: the chance
                 that a stream of any length that stays at home ever leaves is `domains.alarm_level` at most
    elsewhere    a window of frames that lies far from the segment's own reference

An alarm among a segment's first frames says that it is elsewhere; a later one begins a segment, which is
elsewhere from its first frame. For the window a frame's residual is its vector minus the reference of its
predicted class, whitened (`edgeadapt.whitening`), so a stretch of a single class looks like itself and not
like a new domain; where the reference has seen little of a class, the threshold widens, and so it does
far from the source, where frames differ more among themselves. The mean residual over the window, held for
some frames in a row, is a shift. A single odd frame is clipped and cannot make one.

Not here: what is done about a shift, and finding a known domain again (`bank`).
"""

from __future__ import annotations

from collections import deque

import numpy as np
import numpy.typing as npt

from edgeadapt.bundle.calibration import Calibration
from edgeadapt.drift import DriftAlarm
from edgeadapt.signature import Signature, distance
from edgeadapt.tensors import FloatArray
from edgeadapt.whitening import CLIP, clipped, whiten
from edgeadapt_device.config import DomainsSection

# A class seen this often in the reference is half trusted.
_CLASS_PRIOR_FRAMES = 4.0
# How much wider the threshold is when the window holds only classes that the reference has not seen.
_UNSEEN_WIDENING = 1.5
# The window's threshold is at least this share of the segment's distance from the source.
_FAR_SHARE = 0.25
# An alarm after this many times the reference's frames means that the world has changed since.
_LATE = 2


class DomainTracker:
    """Follows the segments of one device.

    Attributes:
        segment: its number.
        frames: probed in it so far.
        distance: of the window from the reference.
        alarm: whether the segment's frames are the source's.
        elsewhere: it has sounded, in this segment or on the way to it.
    """

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
        self._size = len(calibration.signature_std)
        self._sum: npt.NDArray[np.float64] = np.zeros(self._size)
        self.alarm = DriftAlarm.of(calibration, config.alarm_level)
        self.segment = segment
        self._restart()
        if reference is not None and reference.count >= config.reference_frames:
            self._sum = reference.vector.astype(np.float64) * reference.count
            self.frames = self._reference_count = reference.count

    def _restart(self, *, elsewhere: bool = False) -> None:
        self.alarm.restart()
        self.elsewhere = elsewhere
        size = self._size
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
        self.alarm.update(vector, predicted)
        if self.alarm.alarm and not self.elsewhere:
            self.elsewhere = True
            # After a restart of the device the reference is older than what the alarm has seen.
            if self.alarm.frames + self.alarm.repeats > _LATE * self._config.reference_frames:
                self._next(elsewhere=True)
                return True
        if self._reference_count < self._config.reference_frames:
            self._learn(value, predicted)
            return False
        threshold = self._slide(value, predicted)
        if self.distance < 0.5 * threshold and self._reference_count < self._config.max_reference_frames:
            self._learn(value, predicted)
        self._over = self._over + 1 if self.elsewhere and self.distance > threshold else 0
        if self._over < self._config.patience_frames:
            return False
        self._next()
        return True

    def _next(self, *, elsewhere: bool = False) -> None:
        """Begin the next segment with an empty reference."""
        self.segment += 1
        self._restart(elsewhere=elsewhere)

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
        residual = clipped(whiten(value - expected, self._calibration), CLIP)
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
        least = max(self._config.shift_distance, _FAR_SHARE * self.drift)
        return least * (1.0 + _UNSEEN_WIDENING * self._window_unseen / size)

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
