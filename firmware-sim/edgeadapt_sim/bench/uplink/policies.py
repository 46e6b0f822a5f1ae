"""The policies of the study: each is a configuration of the device's own uplink.

A baseline has the adapt lane for itself, with all of the budget; ours is the device as it comes: three lanes,
and facility location in the adapt lane. `entropy-band` is the device's own rule of CEMA. To the cloud all
that a baseline sends is of the adapt lane, uniform draws too: of the audit lane it would keep half unseen
rather than a quarter, and policies are to be compared by what they choose, not by how much is learned from.
"""

from __future__ import annotations

from dataclasses import dataclass

from edgeadapt.registry import Registry


@dataclass(frozen=True, slots=True)
class Choice:
    """How a device is set up.

    Attributes:
        policy: of the adapt lane, by its name in the device's registry.
        lanes: whether the other two lanes take their shares.
    """

    policy: str
    lanes: bool


POLICIES: Registry[Choice] = Registry("selection policy of the study")

POLICIES.add("uniform", Choice("uniform", lanes=False))
POLICIES.add("entropy-band", Choice("entropy-band", lanes=False))
POLICIES.add("top-entropy", Choice("top-entropy", lanes=False))
POLICIES.add("k-centre", Choice("k-centre", lanes=False))
POLICIES.add("ours", Choice("facility-location", lanes=True))
