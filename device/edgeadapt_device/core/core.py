"""Every decision of a device: events and the time in, effects out.

    handle(event, now) -> effects      to be performed in order
    plan() -> FramePlan                how to score the next frame
    next_deadline() -> mono_s | None   when to send a Tick if nothing else happens

The core reads no clock, touches no file and starts no thread. A frame goes `FrameScored` -> `Frames`, and
what is worth its bytes to `Uploads`, which says when it is sent. A message goes `Received` -> `Downlink` ->
`Adaptation`. Here is who is told of what, in which order, and what must be durable before what.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from edgeadapt.bundle.bundle import Bundle
from edgeadapt.clock import Instant
from edgeadapt.patch import TrustedKeys
from edgeadapt.tensors import FloatArray
from edgeadapt.wire import SPEAKS, Status, Versions, encode, topics
from edgeadapt_device.config import DeviceConfig, suppressed_classes
from edgeadapt_device.core import events as ev
from edgeadapt_device.core.adapt.adaptation import Adaptation
from edgeadapt_device.core.downlink.orders import Downlink
from edgeadapt_device.core.effects import (
    BuildGeneration,
    CommitState,
    CountStarts,
    Effect,
    Log,
    Publish,
    PublishNow,
    StoreMessage,
)
from edgeadapt_device.core.flagging.flagging import Flagging
from edgeadapt_device.core.frames import Frames
from edgeadapt_device.core.restore import restore, snapshot
from edgeadapt_device.core.state import DeviceState
from edgeadapt_device.core.steps import ClockSteps
from edgeadapt_device.core.uplink.rows import PendingRow
from edgeadapt_device.core.uplink.uploads import Uploads
from edgeadapt_device.core.view import CoreView, FramePlan, metric_of

# Effects that follow a commit.
_LAST = (BuildGeneration, PublishNow, Publish)


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
        failed_starts: int = 0,
        speaks: Versions = SPEAKS,
    ) -> None:
        """Go on from `state` (and the envelopes it names), or start fresh.

        Args:
            outbox: id of the outbox file; acknowledgements for another one are ignored.
            pending: rows that an earlier process left in the outbox.
            failed_starts: starts in a row that did not come to score frames, as it was made durable.
            speaks: the lowest and the highest version of the protocol to speak.
        """
        self._bundle, self._config = bundle, config
        self._failed_starts = failed_starts
        restored = restore(
            bundle, config, trusted, state, envelopes or {}, rng=rng, failed_starts=failed_starts
        )
        self._restored = restored
        self.epoch = restored.epoch
        self.adaptation: Adaptation = restored.adaptation
        self.flagging = Flagging(bundle, config, self.adaptation, rng=rng, saved=restored.clusters)
        spec = bundle.manifest.input
        self._uploads = Uploads(
            config,
            len(bundle.manifest.classes),
            spec.height * spec.width * spec.channels,
            rng=rng,
            outbox=outbox,
            pending=pending,
            bundle=bundle,
            suppressed=suppressed_classes(config.privacy, bundle.manifest.classes),
        )
        self.asking = self._uploads.asking
        self._downlink = Downlink(
            bundle, config, trusted, self.adaptation, self._uploads, restored.told, speaks
        )
        self._frames = Frames(
            config, self.adaptation, self.flagging, self._uploads, rng=rng, next_index=restored.frames
        )
        self._steps = ClockSteps()
        self._metric_due_s: float | None = None
        self._commit_due_s: float | None = None

    def start(self, now: Instant) -> list[Effect]:
        """First effects: build what ran before, and report what did not survive the last process.

        A build may end the process: that it begins is durable first, and so is what it is for.
        """
        told, saved = self._restored.told, self._restored.budget
        self._uploads.budget.assign(told.budget_bytes_per_hour, told.budget_bytes_per_day, now)
        if saved is not None:
            self._uploads.budget.restore(saved, now)
        self._metric_due_s = now.mono_s + self._config.output.metric_every_s
        self._commit_due_s = now.mono_s + self._config.output.commit_every_s
        effects: list[Effect] = [CountStarts(self._failed_starts + 1)]
        effects += [Log(note) for note in self._restored.notes]
        effects += [StoreMessage(outcome) for outcome in self._restored.outcomes]
        builds = self.adaptation.start(self._restored.running)
        return [*effects, self.commit(), *builds]

    def plan(self) -> FramePlan:
        """How to score the next frame; raises RuntimeError before the first generation is ready."""
        return self._frames.plan()

    def route(self, plan: FramePlan, mean: FloatArray, mean_square: FloatArray) -> tuple[int, ...]:
        """Which generation is to score each of N frames, by what a probe under `plan` saw of them.

        Args:
            plan: as it was given.
            mean: [N, P] per-frame means of the norm layers' inputs.
            mean_square: [N, P] mean squares.
        """
        return self._frames.route(plan, mean, mean_square)

    @property
    def routes_frames(self) -> bool:
        """True when `route` has something to say."""
        return self.adaptation.routes.enabled

    @property
    def ready(self) -> bool:
        """True once a generation can score frames."""
        return self.adaptation.switching.generations.running is not None

    def handle(self, event: ev.Event, now: Instant) -> list[Effect]:
        """Take one event; returns what to do, in order."""
        step_s = self._steps.step_s(now)
        effects = self._downlink.judge_again(step_s, now) if step_s else []
        effects += self._dispatch(event, now)
        if self._downlink.accord.protocol is not None:
            effects += self._uploads.send(now)
        self._uploads.count(effects, now)
        if not (self.adaptation.patches.must_commit or self._uploads.budget.must_commit):
            return effects
        # A build may end the process: what it is for must be durable before it begins. So must be what the
        # device says that it did, and what it spends.
        after = [effect for effect in effects if isinstance(effect, _LAST)]
        before = [effect for effect in effects if not isinstance(effect, _LAST)]
        return [*before, self.commit(), *after]

    def _dispatch(self, event: ev.Event, now: Instant) -> list[Effect]:
        match event:
            case ev.FrameScored():
                return self._frames.take(event, now)
            case ev.Rescored():
                return self.flagging.rescored(event)
            case ev.GenerationReady(token):
                return self.adaptation.on_ready(token, now)
            case ev.GenerationFailed(token, reason):
                return self.adaptation.on_failed(token, reason)
            case ev.Connected(max_packet_bytes):
                return self._on_connected(max_packet_bytes, now)
            case ev.Disconnected():
                self._uploads.disconnect(now)
                return []
            case ev.Received():
                return self._downlink.receive(event, now)
            case ev.Stored():
                self._uploads.stored(event, now)
                return []
            case ev.NotStored():
                return self._uploads.not_stored(event, now)
            case ev.Dropped(sequences, reason):
                return self._uploads.dropped(sequences, reason, now)
            case ev.Rollback(reason):
                return self.adaptation.patches.roll_back(reason)
            case ev.OutboxChanged(outbox, pending):
                self._uploads.change_outbox(outbox, pending)
                return []
            case ev.Tick():
                return self._on_tick(now)

    def _on_connected(self, max_packet_bytes: int, now: Instant) -> list[Effect]:
        self._uploads.connect(max_packet_bytes, now)
        birth = Status(
            epoch=self.epoch,
            online=True,
            bundle=self._bundle.digest,
            generation=self._frames.generation,
            speaks=self.speaks,
        )
        topic = topics.up(self._config.device.fleet, self._config.device.name, "status")
        return [*self._downlink.subscriptions(), PublishNow(topic, encode(birth), True, 1)]

    # Time

    def _on_tick(self, now: Instant) -> list[Effect]:
        effects = self.adaptation.judge_trial(now)
        if self._metric_due_s is not None and now.mono_s >= self._metric_due_s:
            self._metric_due_s = now.mono_s + self._config.output.metric_every_s
            if self._uploads.delivery.connected and self._downlink.accord.protocol is not None:
                effects += self._metric(now)
        if self._commit_due_s is not None and now.mono_s >= self._commit_due_s:
            self._commit_due_s = now.mono_s + self._config.output.commit_every_s
            effects.append(self.commit())
        return effects

    def next_deadline(self) -> float | None:
        """Monotonic second at which a Tick is due, or None."""
        trial = self.adaptation.patches.trial
        sends = self._downlink.accord.protocol is not None
        due = [
            self._uploads.next_deadline() if sends else None,
            self._metric_due_s,
            self._commit_due_s,
            trial.deadline_mono_s if trial.watched else None,
        ]
        return min((d for d in due if d is not None), default=None)

    def _metric(self, now: Instant) -> list[Effect]:
        """Nothing once the budget is spent: the next one will do."""
        message = metric_of(self.view(now), self.epoch, self.flagging.counts)
        topic = topics.up(self._config.device.fleet, self._config.device.name, "metric")
        payload = encode(message, self.protocol)
        size_bytes, budget = len(topic) + len(payload), self._uploads.budget
        pause_s = max(self._config.output.metric_every_s, budget.pace_s(size_bytes))
        self._metric_due_s = now.mono_s + pause_s
        paid = budget.send("report", size_bytes, now)
        return [PublishNow(topic, payload, False, 0)] if paid else []

    @property
    def speaks(self) -> Versions:
        """The lowest and the highest version of the protocol that this device speaks."""
        return self._downlink.accord.speaks

    @property
    def protocol(self) -> int:
        """The version to send in; without one in common with the cloud, nothing but the status is sent."""
        accord = self._downlink.accord
        return accord.speaks[0] if accord.protocol is None else accord.protocol

    def stop(self) -> list[Effect]:
        """Last effects of a process that ends on purpose: leave a trial without a verdict, and commit.

        Such a start has not failed, unless there was a session and it could not score a single frame.
        """
        clean: list[Effect] = [] if self.ready and not self._frames.seen else [CountStarts(0)]
        ended = [*self.flush(), *self.adaptation.stop()]
        self._uploads.budget.close()
        return [*ended, self.commit(), *clean]

    def flush(self) -> list[Effect]:
        """No frame will follow: what is held of the last window is chosen from now."""
        return self._uploads.flush()

    def commit(self) -> Effect:
        """The effect that makes the present state durable."""
        self.adaptation.patches.must_commit = False
        state, envelopes = snapshot(
            self._bundle,
            self.adaptation,
            self._downlink.told,
            self._uploads.budget.record(),
            self.epoch,
            self._frames.next_index,
            self.flagging.quarantine.records,
        )
        return CommitState(state, envelopes)

    def view(self, now: Instant) -> CoreView:
        """What can be seen of the device now."""
        adaptation = self.adaptation
        return CoreView(
            frames=self._frames.seen,
            flagged=self._uploads.flagged,
            uploaded=self._uploads.uploaded,
            segment=adaptation.tracker.segment,
            generation=self._frames.generation,
            trial=adaptation.patches.trial.state.value,
            evidence=adaptation.patches.trial.evidence.lines if adaptation.patches.trial.watched else (),
            drift=adaptation.tracker.drift,
            drift_p_value=adaptation.tracker.alarm.p_value,
            outbox_rows=len(self._uploads.delivery),
            outbox_held=len(self.asking),
            bytes_up=self._uploads.budget.ledger.up_bytes,
            bytes_down=self._uploads.budget.ledger.down_bytes,
            ledger=self._uploads.budget.ledger.lines(),
            budget_left_bytes=self._uploads.budget.left_bytes(now),
            connected=self._uploads.delivery.connected,
            refusals=tuple(self._downlink.refusals),
            quarantined=self._downlink.quarantined,
            updates=adaptation.statistics.updates,
            recovered=self._restored.recovered,
            rerouted=adaptation.routes.rerouted,
            warm_sessions=len(adaptation.routes.warm),
            latency_ms=self._frames.latency_ms,
            output_trouble=self._frames.trouble,
            protocol_trouble=self._downlink.accord.trouble,
        )
