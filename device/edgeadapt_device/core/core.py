"""Every decision of a device: events and the time in, effects out.

    handle(event, now) -> effects      to be performed in order
    plan() -> FramePlan                how to score the next frame
    next_deadline() -> mono_s | None   when to send a Tick if nothing else happens

The core reads no clock, touches no file and starts no thread. A frame goes `FrameScored` ->
`Adaptation` (what runs) -> `Flagger` and `Budget` (what is uploaded) -> `Delivery` (when it is sent).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping

import numpy as np

from edgeadapt.bundle.bundle import Bundle
from edgeadapt.clock import Instant
from edgeadapt.errors import WireError
from edgeadapt.patch import TrustedKeys
from edgeadapt.scoring import entropy, softmax
from edgeadapt.wire import Ack, Assign, Command, Metric, Status, encode, topics
from edgeadapt_device.config import DeviceConfig
from edgeadapt_device.core import events as ev
from edgeadapt_device.core import outcomes
from edgeadapt_device.core.adaptation import Adaptation
from edgeadapt_device.core.budget import Budget
from edgeadapt_device.core.delivery import Delivery, PendingRow
from edgeadapt_device.core.effects import (
    CommitState,
    Effect,
    Forget,
    Log,
    Predicted,
    PublishNow,
    StoreMessage,
    StoreSample,
    Subscribe,
)
from edgeadapt_device.core.flagging import Flagger
from edgeadapt_device.core.intake import Accepted, Intake, Refused
from edgeadapt_device.core.restore import restore, snapshot
from edgeadapt_device.core.state import Assignment, DeviceState
from edgeadapt_device.core.view import CoreView, FramePlan

_ENVELOPE_BYTES = 320  # what a Sample adds to the encoded image, about
_LATENCY_SHARE = 0.02


class DeviceCore:
    """One device."""

    def __init__(
        self,
        bundle: Bundle,
        config: DeviceConfig,
        trusted: TrustedKeys,
        *,
        rng: np.random.Generator,
        outbox: str,
        state: DeviceState | None = None,
        envelopes: Mapping[str, bytes] | None = None,
        pending: tuple[PendingRow, ...] = (),
    ) -> None:
        """Go on from `state` (and the envelopes it names), or start fresh.

        Args:
            outbox: id of the outbox file; acknowledgements for another one are ignored.
            pending: rows that an earlier process left in the outbox.
        """
        self._bundle, self._config, self._rng, self._outbox = bundle, config, rng, outbox
        restored = restore(bundle, config, trusted, state, envelopes or {})
        self._restored = restored
        self.epoch = restored.epoch
        self.adaptation: Adaptation = restored.adaptation
        self._intake = Intake(
            bundle, trusted, config.device.fleet, config.device.name, restored.adaptation.bank
        )
        for assignment in restored.assignments:
            self._intake.assign(assignment)
        self._intake.serials.update(restored.serials)
        for digest in self.adaptation.blocked:
            self._intake.block(digest)
        self._flagger = Flagger(config.flagging, len(bundle.manifest.classes), rng)
        self._budget = Budget(config.budget)
        self._rate = restored.budget_bytes_per_hour
        self._delivery = Delivery(config.delivery, rng, pending)
        spec = bundle.manifest.input
        self._sample_bytes = float(spec.height * spec.width * spec.channels) + _ENVELOPE_BYTES
        self._estimates: deque[int] = deque()
        self._frames, self._last_index = 0, restored.frames
        self._flagged = self._uploaded = self._bytes_down = self._quarantined = 0
        self._latency_ms = 0.0
        self._refusals: deque[str] = deque(maxlen=16)
        self._samples: set[int] = {row.sequence for row in pending if row.kind == "sample"}
        self._metric_due_s: float | None = None
        self._commit_due_s: float | None = None

    def start(self, now: Instant) -> list[Effect]:
        """First effects: build what ran before, and report a trial that was cut off."""
        if self._rate is not None:
            self._budget.set_rate(self._rate, now)
        self._metric_due_s = now.mono_s + self._config.output.metric_every_s
        self._commit_due_s = now.mono_s + self._config.output.commit_every_s
        effects = self.adaptation.start(self._restored.running)
        effects += [Log(note) for note in self._restored.notes]
        if self._restored.cut_off is not None:
            effects.append(StoreMessage(self._restored.cut_off))
        return [*effects, self.commit()]

    def plan(self) -> FramePlan:
        """How to score the next frame; raises RuntimeError before the first generation is ready."""
        generations, adaptation = self.adaptation.generations, self.adaptation
        if generations.running is None:
            raise RuntimeError("no generation is ready yet")
        share = self._config.probe.share
        young = adaptation.tracker.frames < self._config.probe.young_frames
        probe = share > 0 and (young or self._rng.random() < share)
        previous = None
        if adaptation.trial.running and generations.fallback is not None:
            previous = generations.fallback.token if self._rng.random() < self._config.trial.share else None
        return FramePlan(generations.running.token, probe, previous)

    @property
    def ready(self) -> bool:
        """True once a generation can score frames."""
        return self.adaptation.generations.running is not None

    def handle(self, event: ev.Event, now: Instant) -> list[Effect]:
        """Take one event; returns what to do, in order."""
        effects = self._dispatch(event, now)
        sent, oversized = self._delivery.pump(now, self._budget)
        effects += sent
        if oversized:
            effects += [
                Forget(self._delivery.forget(oversized)),
                Log("a message is larger than the broker allows"),
            ]
        if self.adaptation.must_commit:
            effects.append(self.commit())
        return effects

    def _dispatch(self, event: ev.Event, now: Instant) -> list[Effect]:
        match event:
            case ev.FrameScored():
                return self._on_frame(event, now)
            case ev.GenerationReady(token):
                return self.adaptation.on_ready(token)
            case ev.GenerationFailed(token, reason):
                return self.adaptation.on_failed(token, reason)
            case ev.Connected(max_packet_bytes):
                return self._on_connected(max_packet_bytes)
            case ev.Disconnected():
                self._delivery.disconnect()
                return []
            case ev.Received(topic, payload):
                return self._on_message(topic, payload, now)
            case ev.Stored(sequence, kind, size_bytes):
                return self._on_stored(sequence, kind, size_bytes)
            case ev.Dropped(sequences):
                self._delivery.forget(sequences)
                return [Log(f"the outbox is full: {len(sequences)} samples of least value were dropped")]
            case ev.Tick():
                return self._on_tick(now)

    # Frames and uploads

    def _on_frame(self, event: ev.FrameScored, now: Instant) -> list[Effect]:
        probabilities = softmax(event.logits)
        uncertainty = float(entropy(probabilities))
        label = int(probabilities.argmax())
        self._frames += 1
        self._last_index = event.index + 1
        self._latency_ms += _LATENCY_SHARE * (event.latency_ms - self._latency_ms)
        segment = self.adaptation.tracker.segment
        effects = self.adaptation.on_frame(event, label, now)
        if self.adaptation.tracker.segment != segment:
            self._flagger.new_segment()
        at_home = self.adaptation.tracker.at_home(self._config.flagging.min_drift)
        lane = None
        if self._config.mqtt.enabled:
            lane = self._flagger.judge(probabilities, uncertainty, at_home=at_home)
        early = self.adaptation.tracker.frames < self._config.budget.shift_frames
        flagged = lane is not None and self._budget.take(int(self._sample_bytes), now, early=early)
        generation, segment = self._generation(), self.adaptation.tracker.segment
        effects.append(
            Predicted(event.index, label, probabilities, uncertainty, generation, segment, flagged)
        )
        if lane is not None and flagged:
            self._flagged += 1
            self._flagger.keep(lane, probabilities)
            self._estimates.append(int(self._sample_bytes))
            effects.append(
                StoreSample(event.image, segment, lane, uncertainty, label, generation, now.wall_s)
            )
        return effects

    def _on_stored(self, sequence: int, kind: str, size_bytes: int) -> list[Effect]:
        if kind == "sample":
            self._samples.add(sequence)
            if self._estimates:
                self._budget.settle(self._estimates.popleft(), size_bytes)
            self._sample_bytes += 0.05 * (size_bytes - self._sample_bytes)
        self._delivery.add(PendingRow(sequence, kind, size_bytes))
        return []

    def _generation(self) -> str:
        running = self.adaptation.generations.running
        return (running.patch[:12] if running is not None else "") or "base"

    # Messages

    def _on_connected(self, max_packet_bytes: int) -> list[Effect]:
        self._delivery.connect(max_packet_bytes)
        fleet, device = self._config.device.fleet, self._config.device.name
        effects: list[Effect] = [Subscribe(topics.down(fleet, device, kind)) for kind in topics.DOWN_KINDS]
        for cohort, canary in self._intake.channels().items():
            effects += self._subscribe(cohort, canary)
        birth = Status(
            epoch=self.epoch, online=True, bundle=self._bundle.digest, generation=self._generation()
        )
        effects.append(PublishNow(topics.up(fleet, device, "status"), encode(birth), True, 1))
        return effects

    def _subscribe(self, cohort: str, canary: bool) -> list[Effect]:
        channels = ("stable", "canary") if canary else ("stable",)
        return [Subscribe(topics.patch(self._config.device.fleet, cohort, channel)) for channel in channels]

    def _on_message(self, topic: str, payload: bytes, now: Instant) -> list[Effect]:
        self._bytes_down += len(topic) + len(payload)
        try:
            message = self._intake.receive(topic, payload, now)
        except WireError as error:
            self._quarantined += 1
            return [Log(f"message quarantined: {error}")]
        match message:
            case Accepted():
                return self._on_patch(message, now)
            case Refused():
                return self._on_refused(message)
            case Ack():
                return self._on_ack(message)
            case Assign():
                return self._on_assign(message, now)
            case Command():
                return self._on_command(message)
            case None:
                return []

    def _on_patch(self, accepted: Accepted, now: Instant) -> list[Effect]:
        self.adaptation.must_commit = True
        cohort = accepted.patch.header.cohort
        entry = self.adaptation.bank.put(accepted.patch, accepted.envelope)
        if cohort != self._intake.cohort_of(self.adaptation.tracker.segment):
            return [Log(f"patch {accepted.patch.header.serial} of {cohort} kept for later")]
        return self.adaptation.adopt(entry, now)

    def _on_refused(self, refused: Refused) -> list[Effect]:
        text = f"patch {refused.serial} of {refused.cohort} refused: {refused.error}"
        self._refusals.append(text)
        outcome = outcomes.of_refusal(refused.cohort, refused.serial, refused.digest, refused.error)
        return [StoreMessage(outcome), Log(text)]

    def _on_ack(self, ack: Ack) -> list[Effect]:
        if ack.outbox != self._outbox:
            return []
        known = self._delivery.forget(ack.sequences)
        self._uploaded += len(self._samples.intersection(known))
        self._samples.difference_update(known)
        return [Forget(known)] if known else []

    def _on_assign(self, assign: Assign, now: Instant) -> list[Effect]:
        if assign.bundle != self._bundle.digest:
            return [Log(f"an assignment for bundle {assign.bundle[:12]} is not for this device")]
        self._intake.assign(Assignment(assign.segment, assign.cohort, assign.channel == "canary"))
        if assign.budget_bytes_per_hour is not None:
            self._rate = assign.budget_bytes_per_hour
            self._budget.set_rate(self._rate, now)
        self.adaptation.must_commit = True
        effects = self._subscribe(assign.cohort, assign.channel == "canary")
        entry = self.adaptation.bank.get(assign.cohort)
        if assign.segment == self.adaptation.tracker.segment and entry is not None:
            effects += self.adaptation.adopt(entry, now)
        return effects

    def _on_command(self, command: Command) -> list[Effect]:
        if command.action == "report":
            return [StoreMessage(self.adaptation.report())]
        effects = self.adaptation.to_base("rolled back by command")
        for digest in self.adaptation.blocked:
            self._intake.block(digest)
        return [*effects, Log("rolled back to the base by command")]

    # Time

    def _on_tick(self, now: Instant) -> list[Effect]:
        effects = self.adaptation.judge_trial(now)
        if self._metric_due_s is not None and now.mono_s >= self._metric_due_s:
            self._metric_due_s = now.mono_s + self._config.output.metric_every_s
            if self._delivery.connected:
                effects.append(self._metric(now))
        if self._commit_due_s is not None and now.mono_s >= self._commit_due_s:
            self._commit_due_s = now.mono_s + self._config.output.commit_every_s
            effects.append(self.commit())
        return effects

    def next_deadline(self) -> float | None:
        """Monotonic second at which a Tick is due, or None."""
        trial = self.adaptation.trial
        due = [
            self._delivery.next_deadline(),
            self._metric_due_s,
            self._commit_due_s,
            trial.deadline_mono_s if trial.running else None,
        ]
        return min((d for d in due if d is not None), default=None)

    def _metric(self, now: Instant) -> Effect:
        view = self.view(now)
        message = Metric(
            epoch=self.epoch,
            frames=view.frames,
            flagged=view.flagged,
            uploaded=view.uploaded,
            bytes_up=view.bytes_up,
            bytes_down=view.bytes_down,
            budget_left_bytes=view.budget_left_bytes,
            latency_ms=view.latency_ms,
            generation=view.generation,
        )
        topic = topics.up(self._config.device.fleet, self._config.device.name, "metric")
        return PublishNow(topic, encode(message), False, 0)

    def stop(self) -> list[Effect]:
        """Last effects of a process that ends on purpose: leave a trial without a verdict, and commit."""
        return [*self.adaptation.stop(), self.commit()]

    def commit(self) -> Effect:
        """The effect that makes the present state durable."""
        self.adaptation.must_commit = False
        for digest in self.adaptation.blocked:
            self._intake.block(digest)
        state, envelopes = snapshot(
            self._bundle, self.adaptation, self._intake, self.epoch, self._last_index, self._rate
        )
        return CommitState(state, envelopes)

    def view(self, now: Instant) -> CoreView:
        """What can be seen of the device now."""
        adaptation = self.adaptation
        return CoreView(
            frames=self._frames,
            flagged=self._flagged,
            uploaded=self._uploaded,
            segment=adaptation.tracker.segment,
            generation=self._generation(),
            trial=adaptation.trial.state.value,
            drift=adaptation.tracker.drift,
            outbox_rows=len(self._delivery),
            bytes_up=self._budget.spent_bytes,
            bytes_down=self._bytes_down,
            budget_left_bytes=self._budget.left_bytes(now),
            connected=self._delivery.connected,
            refusals=tuple(self._refusals),
            quarantined=self._quarantined,
            updates=adaptation.statistics.updates,
            latency_ms=self._latency_ms,
        )
