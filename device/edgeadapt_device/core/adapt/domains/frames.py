"""Routing of single frames: each is scored by the remembered patch whose domain it looks like.

For streams in which domains alternate faster than a segment could follow: a camera that looks in and out,
frames of several cameras. A frame's own signature is compared with that of the running segment, of the
source and of every patch that has proved itself here; the nearest takes the frame, if it is nearer than
the running segment by a margin and not far away in itself. Which of them have a session is not known here
(`warm`).
"""

from __future__ import annotations

import numpy as np

from edgeadapt.bundle.calibration import Calibration
from edgeadapt.signature import Signature, distance
from edgeadapt.tensors import FloatArray
from edgeadapt_device.config import DomainsSection
from edgeadapt_device.core.adapt.domains.bank import BankEntry, PatchBank

# One frame lies about one source standard deviation from its domain's mean, root mean square.
_FRAME_SPREAD = 1.5


class FrameRouter:
    """The choice for one frame at a time."""

    def __init__(self, bank: PatchBank, calibration: Calibration, config: DomainsSection) -> None:
        self._bank, self._calibration, self._config = bank, calibration, config

    def choose(self, vector: FloatArray, domain: Signature, running: BankEntry | None) -> str | None:
        """Digest of the patch whose domain the frame looks like; "" for the base, None for what runs.

        Args:
            vector: [S] signature of the frame.
            domain: of the running segment.
            running: the patch that runs in it.
        """
        if not np.isfinite(vector).all() or not domain.count:
            return None
        here = distance(vector, domain.vector, self._calibration)
        most = min(here - self._config.hysteresis, self._config.match_distance + _FRAME_SPREAD)
        found: str | None = None
        if running is not None and running.patch.values:
            home = distance(vector, self._calibration.signature_mean, self._calibration)
            if home < most:
                found, most = "", home
        for entry in self._bank.entries():
            if entry is running or not entry.confirmed or not entry.patch.values:
                continue
            away = distance(vector, entry.signature, self._calibration)
            if away < most:
                found, most = entry.patch.digest, away
        return found
