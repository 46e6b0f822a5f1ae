"""The three lanes: which frames to learn from, which to ask about, which to audit. Pure; no device needed.

A `Policy` chooses what the adapt lane sends, window by window; `AdaptLane` is its window and reservoir.
`AskLane` spreads what it asks about, `AuditLane` draws at random with a known chance.
"""

from __future__ import annotations

from edgeadapt_device.core.uplink.lanes.adapt import AdaptLane
from edgeadapt_device.core.uplink.lanes.ask import AskLane
from edgeadapt_device.core.uplink.lanes.audit import AuditLane
from edgeadapt_device.core.uplink.lanes.band import EntropyBand
from edgeadapt_device.core.uplink.lanes.facility import FacilityLocation
from edgeadapt_device.core.uplink.lanes.item import Item
from edgeadapt_device.core.uplink.lanes.policy import POLICIES, Policy, make_policy

__all__ = [
    "POLICIES",
    "AdaptLane",
    "AskLane",
    "AuditLane",
    "EntropyBand",
    "FacilityLocation",
    "Item",
    "Policy",
    "make_policy",
]
