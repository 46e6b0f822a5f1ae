"""Where a cohort's patches stand, what a patch is made of, and how a device's word on it counts.

Values for `core.release`, which decides; nothing here does.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from edgeadapt.errors import Refusal
from edgeadapt.patch import Evidence
from edgeadapt.tensors import FloatArray
from edgeadapt.wire import Outcome
from edgeadapt_cloud.core.rows import PatchRow

# Refusals that say nothing about the patch: the device knows better, is elsewhere, or has another clock.
_INNOCENT = {Refusal.OLD_SERIAL.value, Refusal.WRONG_COHORT.value, Refusal.EXPIRED.value}


@dataclass(slots=True)
class CohortRelease:
    """The patches of one cohort that still matter.

    Attributes:
        current: the one whose rollout is under way, if any.
        stable: what the stable channel holds, if anything.
        previous: what it held before, for going back.
        deadline_mono_s: when the canary's time is up.
        verdicts: device to True (confirmed) or False (reverted), for the stable patch.
        tried_by: devices that were sent the current patch as canary.
        listener: the device on the canary channel: the last canary, until another is chosen. It stays
            there after a halt, so that it gets the way back even when it was away.
        recall: that way back: what the canary channel holds after a halt.
    """

    current: PatchRow | None = None
    stable: PatchRow | None = None
    previous: PatchRow | None = None
    deadline_mono_s: float | None = None
    verdicts: dict[str, bool] = field(default_factory=dict)
    tried_by: set[str] = field(default_factory=set)
    listener: str = ""
    recall: PatchRow | None = None


@dataclass(frozen=True, slots=True)
class Draft:
    """A patch before it has a serial: what it is made of and why."""

    values: Mapping[str, FloatArray]
    signature: FloatArray
    strategy: str
    samples: int
    evidence: tuple[Evidence, ...]
    job: int = 0
    note: str = ""


def judgement(outcome: Outcome) -> bool | None:
    """True for a patch that a device keeps, False for one that it reverted or refused, else None."""
    if outcome.state == "refused":
        return None if outcome.reason.split(":", 1)[0].strip() in _INNOCENT else False
    return {"confirmed": True, "reverted": False}.get(outcome.state)
