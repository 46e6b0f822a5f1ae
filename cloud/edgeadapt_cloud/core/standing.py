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
        retired: what it held before, oldest first, for going back step by step.
        deadline_mono_s: when the canary's time is up.
        verdicts: what each device made of the current and of the stable patch, by (digest, device): True
            for confirmed, False for reverted or refused.
        listener: the device on the canary channel: the last canary, until another is chosen. It stays
            there after a halt, so that it gets the way back even when it was away.
        recall: that way back: what the canary channel holds after a halt.
    """

    current: PatchRow | None = None
    stable: PatchRow | None = None
    retired: list[PatchRow] = field(default_factory=list)
    deadline_mono_s: float | None = None
    verdicts: dict[tuple[str, str], bool] = field(default_factory=dict)
    listener: str = ""
    recall: PatchRow | None = None

    def heed(self, device: str, outcome: Outcome) -> bool | None:
        """Remember a device's judgement of the current or the stable patch; None when it is neither."""
        good = judgement(outcome)
        digests = {row.digest for row in (self.current, self.stable) if row is not None}
        if good is None or outcome.patch not in digests:
            return None
        self.verdicts[outcome.patch, device] = good
        return good

    def judgements(self) -> list[bool]:
        """What the devices made of the stable patch."""
        digest = self.stable.digest if self.stable is not None else ""
        return [good for (patch, _), good in self.verdicts.items() if patch == digest]


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
