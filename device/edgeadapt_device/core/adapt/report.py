"""Where a device is: its signature, its statistics and its drift, as a message for the cloud."""

from __future__ import annotations

import numpy as np

from edgeadapt.wire import SignatureReport, pack_vector
from edgeadapt_device.core.adapt.domains import DomainTracker
from edgeadapt_device.core.adapt.running import Statistics


def signature_report(bundle: str, tracker: DomainTracker, statistics: Statistics) -> SignatureReport:
    """The message; the outbox fills in its id and the sequence."""
    mean, var = statistics
    drift = tracker.drift
    return SignatureReport(
        outbox="",
        sequence=0,
        bundle=bundle,
        segment=tracker.segment,
        frames=max(tracker.frames, 1),
        vector=pack_vector(tracker.signature.vector),
        mean=pack_vector(mean),
        var=pack_vector(var),
        drift=drift if np.isfinite(drift) else 0.0,
    )
