"""Where a cohort's patches stand, what a patch is made of, and how a device's word on it counts.

Values for `rollout.release`, which decides; nothing here does.
"""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import dataclass, field

from edgeadapt.errors import Refusal
from edgeadapt.patch import Evidence
from edgeadapt.tensors import FloatArray
from edgeadapt.wire import Outcome
from edgeadapt_cloud.core.rollout.stages import Stage
from edgeadapt_cloud.core.rows import PatchRow

# Refusals that blame what is in the patch. Any other is about the device or its link: it pins another
# key, runs another bundle, knows a newer serial, is elsewhere, has another clock, or got damaged bytes.
_BLAMES_VALUES = {
    Refusal.UNKNOWN_SLOT.value,
    Refusal.WRONG_SHAPE.value,
    Refusal.WRONG_DTYPE.value,
    Refusal.NOT_FINITE.value,
    Refusal.OUT_OF_BOUNDS.value,
}


@dataclass(slots=True)
class CohortRelease:
    """The patches of one cohort that still matter.

    Attributes:
        current: the one whose rollout is under way, if any.
        stable: what the stable channel holds, if anything.
        retired: what it held before, oldest first, for going back step by step.
        deadline_mono_s: when the canary's time is up, or, for a patch that waits because devices could not
            take it, when they are asked again.
        verdicts: what each device made of the current and of the stable patch, by (digest, device): True
            for confirmed, False for reverted or refused.
        unable: (digest, device) of devices that could not take a patch for a reason of their own, and are
            not asked for now.
        declined: the same, for as long as the patch is under way: a device that is asked again and says
            nothing, as one does that has said so already, is no evidence against the patch.
        listener: the device on the canary channel: the last canary, until another is chosen. It stays
            there after a halt, so that it gets the way back even when it was away.
        recall: that way back: what the canary channel holds after a halt.
    """

    current: PatchRow | None = None
    stable: PatchRow | None = None
    retired: list[PatchRow] = field(default_factory=list)
    deadline_mono_s: float | None = None
    verdicts: dict[tuple[str, str], bool] = field(default_factory=dict)
    unable: set[tuple[str, str]] = field(default_factory=set)
    declined: set[tuple[str, str]] = field(default_factory=set)
    listener: str = ""
    recall: PatchRow | None = None

    def heed(self, device: str, outcome: Outcome) -> bool | None:
        """Remember what a device made of the current or the stable patch; None when it judges neither."""
        good = judgement(outcome)
        if outcome.patch not in {row.digest for row in (self.current, self.stable) if row is not None}:
            return None
        if good is not None:
            self.verdicts[outcome.patch, device] = good
        elif outcome.state == "refused":
            self.unable.add((outcome.patch, device))
            self.declined.add((outcome.patch, device))
        return good

    def judgements(self, devices: Set[str]) -> list[bool]:
        """What these devices made of the stable patch."""
        digest = self.stable.digest if self.stable is not None else ""
        return [good for (patch, name), good in self.verdicts.items() if patch == digest and name in devices]

    def refused(self) -> bool:
        """True when the patch waits, and a device could not take it."""
        row = self.current
        if row is None or row.stage is not Stage.GATED:
            return False
        return any(digest == row.digest for digest, _ in self.unable)

    def settle(self, row: PatchRow) -> None:
        """`row` is the stable patch now, no rollout is under way, and only words about it still matter."""
        self.stable, self.current, self.deadline_mono_s, self.recall = row, None, None, None
        self.verdicts = {key: good for key, good in self.verdicts.items() if key[0] == row.digest}
        self.unable, self.declined = set(), set()


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
    thresholds: Mapping[str, FloatArray] = field(default_factory=dict)


def judgement(outcome: Outcome) -> bool | None:
    """True for a patch that a device keeps, False for one that it reverted or whose values it refused."""
    if outcome.state == "refused":
        return False if outcome.reason.split(":", 1)[0].strip() in _BLAMES_VALUES else None
    return {"confirmed": True, "reverted": False}.get(outcome.state)
