"""A new patch on trial: a table of states, and when the evidence is enough.

    IDLE -> BUILDING -> SETTLING -> RUNNING -> CONFIRMED | REVERTED

The rule: `TABLE` lists every pair of state and event that may happen; any other raises. A patch's first
frames settle the statistics held under it and count for nothing. Then a share of frames is scored by the
old generation too, until the evidence proves harm or harmlessness, or the trial's time ends. A domain
shift in mid-trial abandons it: nothing was learnt. What is compared is in `evidence`.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from edgeadapt.clock import Instant
from edgeadapt_device.config import TrialSection
from edgeadapt_device.core.adapt.trial.evidence import Evidence, Seen

# How many times as long a patch that seems to do harm is watched.
_SUSPECT_TIMES = 4


class TrialState(Enum):
    """Where the trial is."""

    IDLE = "idle"
    BUILDING = "building"
    SETTLING = "settling"
    RUNNING = "running"
    CONFIRMED = "confirmed"
    REVERTED = "reverted"


class TrialEvent(Enum):
    """What moves it."""

    START = "start"
    READY = "ready"
    BUILD_FAILED = "build-failed"
    SETTLED = "settled"
    PASS = "pass"
    FAIL = "fail"
    ABANDON = "abandon"


TABLE: dict[tuple[TrialState, TrialEvent], TrialState] = {
    (TrialState.IDLE, TrialEvent.START): TrialState.BUILDING,
    (TrialState.CONFIRMED, TrialEvent.START): TrialState.BUILDING,
    (TrialState.REVERTED, TrialEvent.START): TrialState.BUILDING,
    (TrialState.BUILDING, TrialEvent.READY): TrialState.SETTLING,
    (TrialState.BUILDING, TrialEvent.BUILD_FAILED): TrialState.REVERTED,
    (TrialState.BUILDING, TrialEvent.ABANDON): TrialState.IDLE,
    (TrialState.SETTLING, TrialEvent.SETTLED): TrialState.RUNNING,
    (TrialState.SETTLING, TrialEvent.FAIL): TrialState.REVERTED,
    (TrialState.SETTLING, TrialEvent.ABANDON): TrialState.IDLE,
    (TrialState.RUNNING, TrialEvent.PASS): TrialState.CONFIRMED,
    (TrialState.RUNNING, TrialEvent.FAIL): TrialState.REVERTED,
    (TrialState.RUNNING, TrialEvent.ABANDON): TrialState.IDLE,
}


@dataclass(frozen=True, slots=True)
class Candidate:
    """The patch on trial, and the one it replaced ("" for the base)."""

    cohort: str
    serial: int
    digest: str
    previous: str


class Trial:
    """One device's trial, reused from patch to patch.

    Attributes:
        candidate: the patch of the present or the last trial.
        evidence: what was compared in it.
        frames: frames watched in it, without those that only settled the statistics.
        deadline_mono_s: when it ends at the latest.
        deadline_wall_s: the same moment on the other clock, for people.
    """

    def __init__(self, config: TrialSection, classes: int) -> None:
        self._config = config
        self._classes = classes
        self.state = TrialState.IDLE
        self.candidate = Candidate("", 0, "", "")
        self.deadline_mono_s = 0.0
        self.deadline_wall_s = 0.0
        self._reset(0)

    def _reset(self, settle_frames: int) -> None:
        self.frames = 0
        self._to_settle = settle_frames
        self.evidence = Evidence(self._config, self._classes)

    def move(self, event: TrialEvent) -> None:
        """Take one step of the table; raises RuntimeError on an unlisted pair."""
        try:
            self.state = TABLE[self.state, event]
        except KeyError:
            raise RuntimeError(f"trial: {event.value} in state {self.state.value}") from None

    @property
    def active(self) -> bool:
        """True while a patch is being built for trial or watched."""
        return self.state is TrialState.BUILDING or self.watched

    @property
    def watched(self) -> bool:
        """True while the patch scores frames, and what ran before is kept warm."""
        return self.state in (TrialState.SETTLING, TrialState.RUNNING)

    @property
    def settling(self) -> bool:
        """True while the statistics under the patch settle."""
        return self.state is TrialState.SETTLING

    @property
    def running(self) -> bool:
        """True while old and new are compared."""
        return self.state is TrialState.RUNNING

    def start(self, candidate: Candidate, now: Instant, *, settles: bool) -> None:
        """Begin with a patch that is being built; `settles`: statistics are held under it."""
        self.move(TrialEvent.START)
        self._reset(self._config.settle_frames if settles else 0)
        self.candidate = candidate
        self.deadline_mono_s = now.mono_s + self._config.deadline_s
        self.deadline_wall_s = now.wall_s + self._config.deadline_s

    def ready(self) -> None:
        """The patch is built, and scores the next frame."""
        self.move(TrialEvent.READY)
        if not self._to_settle:
            self.move(TrialEvent.SETTLED)

    def observe(self, new: Seen, old: Seen | None) -> None:
        """Count a frame scored by the new generation, and by the old one if it was compared."""
        if self.settling:
            self._to_settle -= 1
            if self._to_settle <= 0:
                self.move(TrialEvent.SETTLED)
            return
        self.frames += 1
        if old is not None:
            self.evidence.observe(new, old)

    def verdict(self, now: Instant) -> str | None:
        """None while the trial goes on, "" when the patch is kept, else the reason to revert.

        Proof of harm ends it at once, proof of the contrary as soon as enough was compared. Undecided at
        its end, a patch is kept: to revert it, too, would revert harmless ones at any rate. One of which
        too little was seen is not; and one that seems to break a bound is watched on, some times as long,
        as a test that may be looked at at any time allows.
        """
        overdue = now.mono_s >= self.deadline_mono_s
        if self.running and (harm := self.evidence.harm()):
            return harm
        if self.evidence.frames < self._config.min_compared:
            return "the trial's time ended with too few compared frames" if overdue else None
        if overdue or self.evidence.is_harmless():
            return ""
        times = _SUSPECT_TIMES if self.evidence.is_suspect() else 1
        return "" if self.frames >= times * self._config.frames else None
