"""What becomes of every frame's verdict: judged, kept as a suspect, scored again, quarantined, asked about.

    judge(event, entropy) -> Decision           the verdict, for whoever reads predictions
    follow(frame, now) -> Followed              what is to be done about it, after the uplink saw the frame
    rescored(event, now)                        a suspect's second scores, under the adapted model

Adapt first, then ask. A frame that is strange before the model has adapted waits as a suspect; what is normal
to the adapted model was the domain, and is done with. A frame that is strange after it is on probation for a
while, since a shift is noticed some frames late: if a new segment begins, it was the domain again. What stays
strange is quarantined.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Sequence, Set
from typing import Literal

import msgspec
import numpy as np

from edgeadapt.bundle.bundle import Bundle
from edgeadapt.clock import Instant
from edgeadapt.scoring import softmax_and_entropy
from edgeadapt.wire import Verdict, VerdictCounts
from edgeadapt_device.config import DeviceConfig, suppressed_classes
from edgeadapt_device.core.adapt.adaptation import Adaptation
from edgeadapt_device.core.effects import Effect, Flagged, ScoreAgain
from edgeadapt_device.core.events import FrameScored, Rescored
from edgeadapt_device.core.flagging.basis import Bases, Basis
from edgeadapt_device.core.flagging.decider import Decider
from edgeadapt_device.core.flagging.decision import Decision, WindowVerdict
from edgeadapt_device.core.flagging.quarantine import Quarantine
from edgeadapt_device.core.flagging.settled import Settled
from edgeadapt_device.core.flagging.suspects import Suspects, kept
from edgeadapt_device.core.flagging.windows import Windows
from edgeadapt_device.core.state import ClusterRecord
from edgeadapt_device.core.uplink.candidate import Candidate

# Frames for which a strange one waits, in case the domain has shifted and nobody has noticed yet.
_PROBATION_FRAMES = 128
# Sessions come and go: how often a suspect is handed out in vain.
_MOST_TRIES = 3


class Followed(msgspec.Struct, frozen=True):
    """What is to be done after a frame: questions for the uplink, and effects."""

    questions: list[Candidate]
    effects: list[Effect]


_NOTHING = Followed([], [])


class Flagging:
    """The verdicts of one device.

    Attributes:
        window: the verdict about the segment's last whole window, None before the first.
        quarantine: what stays strange.
        covariate: suspects that were normal to the adapted model, since start.
    """

    def __init__(
        self,
        bundle: Bundle,
        config: DeviceConfig,
        adaptation: Adaptation,
        *,
        rng: np.random.Generator,
        saved: tuple[ClusterRecord, ...] = (),
    ) -> None:
        """`saved` are an earlier process's clusters; raises ConfigError on a scorer that is not there."""
        flagging = config.flagging
        self._adaptation = adaptation
        self._decider = Decider(bundle, flagging)
        self._settled = Settled(adaptation, config.statistics.prior_frames)
        self._bases = Bases(self._decider, adaptation, self._settled, flagging.alpha, rng)
        self._windows = Windows(flagging.verdict_frames, flagging.alpha)
        self._suspects = Suspects(flagging.suspects, flagging.suspect_bytes, rng)
        self.quarantine = Quarantine(
            bundle.calibration.prototypes, flagging.clusters, flagging.suspect_bytes, saved
        )
        self._most_waiting = flagging.suspects
        self._mute = not (config.mqtt.enabled and flagging.enabled and config.privacy.mode != "statistics")
        self._suppressed = suppressed_classes(config.privacy, bundle.manifest.classes)
        self._probation: deque[tuple[int, Candidate]] = deque()
        self._again: Candidate | None = None
        self._tries = self._frames = 0
        self._segment = adaptation.tracker.segment
        self._counts: Counter[Verdict] = Counter()
        self.window: WindowVerdict | None = None
        self.covariate = 0

    @property
    def names(self) -> tuple[str, ...]:
        """The scorers that decide, in the order of `Decision.scores`."""
        return self._decider.names

    @property
    def counts(self) -> VerdictCounts:
        """Frames by verdict since start."""
        count = self._counts
        return VerdictCounts(
            familiar=count["familiar"],
            informative=count["informative"],
            shifted=count["shifted"],
            unknown=count["unknown"],
            unreliable=count["unreliable"],
        )

    @property
    def suspects(self) -> int:
        """Frames that wait to be scored again."""
        return len(self._suspects)

    def judge(self, event: FrameScored, entropy: float) -> Decision:
        """The verdict about a frame with this entropy (nats), as what scored it sees it."""
        basis = self._basis(event)
        decision = self._decider.judge(
            event.logits,
            event.embedding,
            entropy,
            adapted=basis.adapted,
            knots=basis.knots,
            window=self.window,
        )
        if basis.record and decision.scores:
            self._bases.observe(decision.scores)
        self._counts[decision.verdict] += 1
        if self._windows.observe(decision):
            self.window = self._windows.close(drifted=self._settled.drifted, adapted=basis.adapted)
        return decision

    def _basis(self, event: FrameScored | Rescored) -> Basis:
        return self._bases.find(event.token, embedded=event.embedding is not None)

    # After a frame

    def follow(self, frame: Candidate, now: Instant) -> Followed:
        """What is to be done, now that the frame was judged and shown to the uplink."""
        self._frames += 1
        self.quarantine.tick()
        if frame.segment != self._segment:
            self._new_segment(frame.segment)
        effects = self._keep(frame) if frame.decision.verdict in ("shifted", "unknown") else []
        while self._probation and self._frames - self._probation[0][0] >= _PROBATION_FRAMES:
            effects += self._quarantine(self._probation.popleft()[1])
        effects += self._score_again()
        questions = self.quarantine.due(now)
        return Followed(questions, effects) if effects or questions else _NOTHING

    def _keep(self, frame: Candidate) -> list[Effect]:
        if frame.decision.verdict == "shifted":
            return [Flagged(frame, "suspect" if self._suspects.offer(frame) else "counted")]
        if len(self._probation) >= self._most_waiting:
            return [Flagged(frame, "counted")]
        self._probation.append((self._frames, kept(frame)))
        return [Flagged(frame, "watched")]

    def _quarantine(self, frame: Candidate) -> list[Effect]:
        cluster, members = self.quarantine.add(frame)
        return [Flagged(frame, "quarantined" if cluster else "counted", cluster, members)]

    def asked(self, questions: Sequence[Candidate], taken: Set[int], now: Instant) -> list[Effect]:
        """The uplink was shown questions, and took those about the clusters `taken`."""
        effects: list[Effect] = []
        for question in questions:
            number, took = question.cluster, question.cluster in taken
            self.quarantine.asked(number, now, taken=took)
            barred = self._mute or question.predicted in self._suppressed
            fate: Literal["asked", "dear", "barred"] = "asked" if took else "barred" if barred else "dear"
            effects.append(Flagged(question, fate, number, question.members))
        return effects

    def _new_segment(self, segment: int) -> None:
        self._segment, self.window = segment, None
        self._windows.restart()
        self._suspects.new_segment()
        self._again = None
        for _, frame in self._probation:
            self._suspects.offer(msgspec.structs.replace(frame, segment=segment))
        self._probation.clear()

    def _score_again(self) -> list[Effect]:
        """One suspect at a time, so that no frame waits for more than one run of the model."""
        running = self._adaptation.switching.generations.running
        if self._again is not None or not len(self._suspects) or running is None:
            return []
        if not self._bases.find(running.token).adapted:
            return []
        self._again, self._tries = self._suspects.take(), 0
        return [ScoreAgain(running.token, self._again.image)] if self._again is not None else []

    def rescored(self, event: Rescored) -> list[Effect]:
        """A suspect's second scores: what is strange still is quarantined; the rest was the domain."""
        frame, self._again = self._again, None
        if frame is None:
            return []
        running = self._adaptation.switching.generations.running
        if event.logits is None:
            # Its session is gone, or refuses.
            self._tries += 1
            if running is None or self._tries >= _MOST_TRIES:
                return []
            self._again = frame
            return [ScoreAgain(running.token, frame.image)]
        probabilities, entropy = softmax_and_entropy(event.logits)
        decision = self._decider.judge(
            event.logits,
            event.embedding,
            entropy,
            adapted=True,
            knots=self._basis(event).knots,
            window=self.window,
        )
        frame = msgspec.structs.replace(
            frame,
            probabilities=probabilities,
            predicted=int(probabilities.argmax()),
            entropy=entropy,
            embedding=event.embedding,
            decision=decision,
        )
        if decision.verdict == "unknown":
            return self._quarantine(frame)
        self.covariate += decision.verdict != "unreliable"
        return [Flagged(frame, "normal")]
