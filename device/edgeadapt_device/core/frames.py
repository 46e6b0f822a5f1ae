"""A frame's way through the device.

    plan, route     how it is to be scored
    take            what follows once it was: `Adaptation` (what runs) -> `Flagging` (what the frame is) ->
                    `Uploads` (whether it is worth its bytes) -> the answer for the host

Not here: what comes from the cloud and what goes there (`core`).
"""

from __future__ import annotations

import numpy as np

from edgeadapt.clock import Instant
from edgeadapt.scoring import softmax_and_entropy
from edgeadapt.tensors import FloatArray
from edgeadapt_device.config import DeviceConfig
from edgeadapt_device.core.adapt.adaptation import Adaptation
from edgeadapt_device.core.effects import CountStarts, Effect, Predicted
from edgeadapt_device.core.events import FrameScored
from edgeadapt_device.core.flagging.decision import Decision
from edgeadapt_device.core.flagging.flagging import Flagging
from edgeadapt_device.core.outputs import OutputWatch
from edgeadapt_device.core.uplink.candidate import Candidate
from edgeadapt_device.core.uplink.uploads import Uploads
from edgeadapt_device.core.view import FramePlan

_LATENCY_SHARE = 0.02
# Frames after which a start has not failed.
_PROVEN_FRAMES = 50


class Frames:
    """The frames of one device.

    Attributes:
        seen: how many since start.
        next_index: one more than the last one's position in the source; a process before may have set it.
        latency_ms: time the model takes, a running mean.
    """

    def __init__(
        self,
        config: DeviceConfig,
        adaptation: Adaptation,
        flagging: Flagging,
        uploads: Uploads,
        *,
        rng: np.random.Generator,
        next_index: int,
    ) -> None:
        self._config, self._rng = config, rng
        self._adaptation, self._flagging, self._uploads = adaptation, flagging, uploads
        self._outputs = OutputWatch()
        self.seen, self.next_index, self.latency_ms = 0, next_index, 0.0

    @property
    def trouble(self) -> str:
        """What is odd about the model's outputs, or ""."""
        return self._outputs.trouble

    @property
    def generation(self) -> str:
        """What scores frames; before the first session is built, what it is built for."""
        switching = self._adaptation.switching
        running = switching.generations.running
        return _name(running.patch if running is not None else switching.running.digest)

    def plan(self) -> FramePlan:
        """How to score the next frame; raises RuntimeError before the first generation is ready."""
        adaptation = self._adaptation
        generations, trial = adaptation.switching.generations, adaptation.patches.trial
        if generations.running is None:
            raise RuntimeError("no generation is ready yet")
        previous = None
        if trial.running and generations.fallback is not None:
            previous = generations.fallback.token if self._rng.random() < self._config.trial.share else None
        probing = adaptation.probing
        # On trial both sides are probed: their inner values are evidence, too.
        needed = trial.settling or previous is not None or adaptation.routes.enabled
        probe = probing.wanted() or (probing.enabled and needed)
        # Frames that follow one another are often of one domain: the next begins where the last one went.
        first = adaptation.routes.last if previous is None else None
        return FramePlan(first if first is not None else generations.running.token, probe, previous)

    def route(self, plan: FramePlan, mean: FloatArray, mean_square: FloatArray) -> tuple[int, ...]:
        """As `DeviceCore.route`."""
        adaptation = self._adaptation
        return adaptation.routes.route(plan.token, mean, mean_square, adaptation.tracker.signature)

    def take(self, event: FrameScored, now: Instant) -> list[Effect]:
        """A frame was scored: what runs next, what it is, what of it is kept, and what its host is told."""
        probabilities, uncertainty = softmax_and_entropy(event.logits)
        label = int(probabilities.argmax())
        effects = self._count(event, uncertainty)
        adaptation = self._adaptation
        segment = adaptation.tracker.segment
        # The frame that ends a trial was still scored by what was on trial.
        generation = _name(adaptation.switching.generations.patch_of(event.token))
        effects += adaptation.on_frame(event, label, uncertainty, now)
        if adaptation.tracker.segment != segment:
            self._uploads.new_segment(now)
        decision = self._flagging.judge(event, uncertainty)
        frame = self._candidate(event, probabilities, label, uncertainty, decision, generation, now)
        stores, kept = self._uploads.offer(frame, now)
        answer = Predicted(
            event.index,
            label,
            probabilities,
            uncertainty,
            generation,
            frame.segment,
            kept,
            decision.verdict,
        )
        return [*effects, answer, *stores, *self._follow(frame, now)]

    def _count(self, event: FrameScored, uncertainty: float) -> list[Effect]:
        self._outputs.observe(event.logits, uncertainty)
        self.seen += 1
        self.next_index = event.index + 1
        self.latency_ms += _LATENCY_SHARE * (event.latency_ms - self.latency_ms)
        return [CountStarts(0)] if self.seen == _PROVEN_FRAMES else []

    def _candidate(
        self,
        event: FrameScored,
        probabilities: FloatArray,
        label: int,
        uncertainty: float,
        decision: Decision,
        generation: str,
        now: Instant,
    ) -> Candidate:
        adaptation = self._adaptation
        return Candidate(
            index=event.index,
            image=event.image,
            probabilities=probabilities,
            predicted=label,
            entropy=uncertainty,
            embedding=event.embedding,
            decision=decision,
            segment=adaptation.tracker.segment,
            generation=generation,
            captured_s=now.wall_s,
            # What went to another domain's patch says nothing new about this segment.
            at_home=adaptation.routes.is_elsewhere(event.token)
            or adaptation.at_home(self._config.flagging.min_drift),
            early=adaptation.tracker.frames < self._config.budget.shift_frames,
        )

    def _follow(self, frame: Candidate, now: Instant) -> list[Effect]:
        """What becomes of a strange frame, and the questions that are due."""
        followed = self._flagging.follow(frame, now)
        asked = self._uploads.ask(followed.questions, now)
        said = self._flagging.asked(followed.questions, {store.cluster for store in asked}, now)
        return [*asked, *said, *followed.effects]


def _name(patch: str | None) -> str:
    """What a generation is called where people see it."""
    return (patch or "")[:12] or "base"
