"""The policies of the study: each is a configuration of the device's own uplink.

A baseline has the adapt lane for itself, with all of the budget; ours is the device as it comes: three lanes,
and facility location in the adapt lane. `entropy-band` is the device's own rule of CEMA.
"""

from __future__ import annotations

from dataclasses import dataclass

from edgeadapt.registry import Registry
from edgeadapt.wire import Lane


@dataclass(frozen=True, slots=True)
class Choice:
    """How a device is set up.

    Attributes:
        policy: of the adapt lane, by its name in the device's registry.
        lanes: whether the other two lanes take their shares.
        lane: what its uploads are to the cloud, where there is one lane only.
    """

    policy: str
    lanes: bool
    lane: Lane = "adapt"


POLICIES: Registry[Choice] = Registry("selection policy of the study")

# Drawn at random from all frames: that is what the audit lane is, and the cloud may use it as that.
POLICIES.add("uniform", Choice("uniform", lanes=False, lane="audit"))
POLICIES.add("entropy-band", Choice("entropy-band", lanes=False))
POLICIES.add("top-entropy", Choice("top-entropy", lanes=False))
POLICIES.add("k-centre", Choice("k-centre", lanes=False))
POLICIES.add("ours", Choice("facility-location", lanes=True))
