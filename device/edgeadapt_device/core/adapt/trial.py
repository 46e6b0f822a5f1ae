"""A new patch on trial: a table of states, and label-free evidence.

    IDLE -> BUILDING -> RUNNING -> CONFIRMED | REVERTED

The rule: `TABLE` lists every pair of state and event that may happen; any other raises. While a trial
runs, a share of frames is scored by the old generation too. A patch is reverted when the mean entropy
rises too much, when predictions concentrate on few classes (entropy of the mean prediction), or
when old and new hardly ever agree. A domain shift in mid-trial abandons it: nothing was learnt.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum

import numpy as np

from edgeadapt.clock import Instant
from edgeadapt.scoring import entropy, softmax
from edgeadapt.tensors import FloatArray
from edgeadapt_device.config import TrialSection


class TrialState(Enum):
    """Where the trial is."""

    IDLE = "idle"
    BUILDING = "building"
    RUNNING = "running"
    CONFIRMED = "confirmed"
    REVERTED = "reverted"


class TrialEvent(Enum):
    """What moves it."""

    START = "start"
    READY = "ready"
    BUILD_FAILED = "build-failed"
    PASS = "pass"
    FAIL = "fail"
    ABANDON = "abandon"


TABLE: dict[tuple[TrialState, TrialEvent], TrialState] = {
    (TrialState.IDLE, TrialEvent.START): TrialState.BUILDING,
    (TrialState.CONFIRMED, TrialEvent.START): TrialState.BUILDING,
    (TrialState.REVERTED, TrialEvent.START): TrialState.BUILDING,
    (TrialState.BUILDING, TrialEvent.READY): TrialState.RUNNING,
    (TrialState.BUILDING, TrialEvent.BUILD_FAILED): TrialState.REVERTED,
    (TrialState.BUILDING, TrialEvent.ABANDON): TrialState.IDLE,
    (TrialState.RUNNING, TrialEvent.PASS): TrialState.CONFIRMED,
    (TrialState.RUNNING, TrialEvent.FAIL): TrialState.REVERTED,
    (TrialState.RUNNING, TrialEvent.ABANDON): TrialState.IDLE,
}


@dataclass(frozen=True, slots=True)
class TrialEvidence:
    """What was seen so far. Entropies in nats; class entropies are of the mean prediction."""

    frames: int
    entropy_old: float
    entropy_new: float
    class_entropy_old: float
    class_entropy_new: float
    agreement: float


@dataclass(frozen=True, slots=True)
class Candidate:
    """The patch on trial, and the one it replaced ("" for the base)."""

    cohort: str
    serial: int
    digest: str
    previous: str


class Trial:
    """One device's trial, reused from patch to patch."""

    def __init__(self, config: TrialSection, classes: int) -> None:
        self._config = config
        self._classes = classes
        self.state = TrialState.IDLE
        self.candidate = Candidate("", 0, "", "")
        self.deadline_mono_s = 0.0
        self.deadline_wall_s = 0.0
        self._reset()

    def _reset(self) -> None:
        self.frames = 0
        self._compared = 0
        self._agreed = 0
        self._entropy = np.zeros(2)
        self._mean = np.zeros((2, self._classes))

    def move(self, event: TrialEvent) -> None:
        """Take one step of the table; raises RuntimeError on an unlisted pair."""
        try:
            self.state = TABLE[self.state, event]
        except KeyError:
            raise RuntimeError(f"trial: {event.value} in state {self.state.value}") from None

    @property
    def active(self) -> bool:
        """True while a patch is being built for trial or watched."""
        return self.state in (TrialState.BUILDING, TrialState.RUNNING)

    @property
    def running(self) -> bool:
        """True while a patch is watched."""
        return self.state is TrialState.RUNNING

    def start(self, candidate: Candidate, now: Instant) -> None:
        """Begin with a patch that is being built."""
        self.move(TrialEvent.START)
        self._reset()
        self.candidate = candidate
        self.deadline_mono_s = now.mono_s + self._config.deadline_s
        self.deadline_wall_s = now.wall_s + self._config.deadline_s

    def observe(self, new_logits: FloatArray, old_logits: FloatArray | None) -> None:
        """Count a frame [K] scored by the new generation, and by the old one if it was compared."""
        self.frames += 1
        if old_logits is None:
            return
        pair = softmax(np.stack([old_logits, new_logits]))
        self._compared += 1
        self._agreed += int(pair[0].argmax() == pair[1].argmax())
        self._entropy += entropy(pair)
        self._mean += pair

    @property
    def evidence(self) -> TrialEvidence:
        """The evidence so far; zeros before the first compared frame."""
        if not self._compared:
            return TrialEvidence(0, 0.0, 0.0, 0.0, 0.0, 0.0)
        old, new = (float(e) for e in self._entropy / self._compared)
        spread = entropy((self._mean / self._compared).astype(np.float32))
        agreement = self._agreed / self._compared
        return TrialEvidence(self._compared, old, new, float(spread[0]), float(spread[1]), agreement)

    def verdict(self, now: Instant) -> str | None:
        """None while the trial goes on, "" when the patch is good, else the reason to revert.

        Gross harm ends a trial as soon as there are enough frames; the rest is judged at its end.
        """
        overdue = now.mono_s >= self.deadline_mono_s
        done = self.frames >= self._config.frames and self._compared >= self._config.min_compared
        if self._compared < self._config.min_compared:
            return "the trial's time ended with too few compared frames" if overdue else None
        if done or overdue:
            return self._harm(1.0)
        return self._harm(2.0) or None

    def _harm(self, slack: float) -> str:
        """The first bound that is broken, `slack` times over, in words; "" when all hold."""
        seen, config = self.evidence, self._config
        rise = seen.entropy_new - seen.entropy_old
        if rise > slack * config.max_entropy_rise * math.log(self._classes):
            return f"mean entropy rose from {seen.entropy_old:.3f} to {seen.entropy_new:.3f} nats"
        ratio = seen.class_entropy_new / max(seen.class_entropy_old, 1e-6)
        if ratio < config.min_class_entropy / slack:
            return f"predictions concentrated: class entropy fell to {ratio:.0%} of what it was"
        if seen.agreement < config.min_agreement / slack:
            return f"old and new agree on only {seen.agreement:.0%} of the frames"
        return ""
