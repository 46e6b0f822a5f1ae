"""What a device runs, and why: segments, own statistics, patches on trial, and the way back.

Rules: one switch of patch at a time, and while it is being built no statistics are; a patch that was
not yet confirmed here runs on trial, with the generation before it kept warm; after a shift the device
goes back to the base at once and asks the bank for the new domain as soon as it knows its signature.
Not here: uploads, messages and connections (`core`), and what a patch must be to be believed (`intake`).
"""

from __future__ import annotations

from collections.abc import Mapping

from edgeadapt.bundle.bundle import Bundle
from edgeadapt.clock import Instant
from edgeadapt.signature import Signature, features, probe_distance
from edgeadapt.tensors import FloatArray
from edgeadapt.wire import SignatureReport
from edgeadapt_device.config import DeviceConfig
from edgeadapt_device.core.adapt import outcomes
from edgeadapt_device.core.adapt.bank import BankEntry, PatchBank
from edgeadapt_device.core.adapt.domains import DomainTracker
from edgeadapt_device.core.adapt.generations import Generations
from edgeadapt_device.core.adapt.report import signature_report
from edgeadapt_device.core.adapt.running import Running, Statistics
from edgeadapt_device.core.adapt.statistics import OwnStatistics
from edgeadapt_device.core.adapt.trial import Candidate, Seen, Trial, TrialEvent, TrialState
from edgeadapt_device.core.adapt.values import values_name
from edgeadapt_device.core.effects import Effect, Log, StoreMessage
from edgeadapt_device.core.events import FrameScored


class Adaptation:
    """Decides which generation to build and activate."""

    def __init__(
        self, bundle: Bundle, config: DeviceConfig, bank: PatchBank, segment: int, reference: Signature | None
    ) -> None:
        self._bundle = bundle
        self._config = config
        self.bank = bank
        self._source: Statistics = (bundle.calibration.norm_mean, bundle.calibration.norm_var)
        self.generations = Generations()
        self.statistics = OwnStatistics(bundle, config.statistics)
        self.trial = Trial(config.trial, len(bundle.manifest.classes))
        self.tracker = DomainTracker(
            bundle.calibration,
            config.domains,
            len(bundle.manifest.classes),
            segment=segment,
            reference=reference,
        )
        self.running = Running(None, self._source)
        self._switch: Running | None = None
        self._before: Running | None = None
        # A patch that waits for the first generation: until there is one, nothing could be compared with it.
        self._deferred: BankEntry | None = None
        # A reference too young to be taken over begins again, and the bank is asked when it is ready.
        self._matched = reference is not None and reference.count >= config.domains.reference_frames
        # Digests of patches, and beside them the names of their values.
        self.blocked: list[str] = []
        self.must_commit = False

    def start(self, running: Running) -> list[Effect]:
        """Build the first generation: the base, or what ran before a restart.

        It counts as running from here on: a state that is committed before its session is built must
        name it, or a process that is killed while it starts would forget what it ran.
        """
        self.running = self._switch = running
        self.statistics.restart(running.digest, *running.statistics)
        return self._build(running, keep_previous=False)

    def _build(self, wanted: Running, *, keep_previous: bool) -> list[Effect]:
        values = self.statistics.values(wanted.values, wanted.statistics)
        return self.generations.request(wanted.digest, values, keep_previous=keep_previous)

    @property
    def known_good(self) -> Running:
        """What a restart should run: never a patch that is still, or was just, on trial."""
        if self.trial.watched and self._before is not None:
            return self._before
        entry = self.running.entry
        if entry is not None and entry.patch.values and (not entry.confirmed or self._is_blocked(entry)):
            return Running(None, self._source)
        return Running(self.running.entry, self.statistics.current)

    # Frames

    def on_frame(self, event: FrameScored, predicted: int, now: Instant) -> list[Effect]:
        """Learn from one scored frame."""
        effects: list[Effect] = []
        patch = self.generations.patch_of(event.token)
        if event.mean is not None and event.mean_square is not None:
            effects += self._on_probe(event.mean, event.mean_square, predicted, patch)
        if self.trial.watched and patch == self.trial.candidate.digest:
            old = event.previous_logits
            compared = self._seen(old, event.previous_mean) if old is not None else None
            self.trial.observe(self._seen(event.logits, event.mean), compared)
            effects += self.judge_trial(now)
        return effects

    def _seen(self, logits: FloatArray, mean: FloatArray | None) -> Seen:
        return Seen(logits, probe_distance(mean, self._bundle.calibration) if mean is not None else None)

    def _on_probe(
        self, mean: FloatArray, mean_square: FloatArray, predicted: int, patch: str | None
    ) -> list[Effect]:
        vector = features(self._bundle.manifest, mean[None], mean_square[None])[0]
        if self.tracker.observe(vector, predicted):
            return self._on_shift()
        effects: list[Effect] = []
        if patch is not None:
            self.statistics.add(mean, mean_square, patch)
        frames = self.tracker.frames
        if not self._matched and frames >= self._config.domains.match_frames:
            self._matched = True
            effects += self._look_in_bank()
        young = frames < self._config.probe.young_frames or self.trial.settling
        free = self._switch is None and not self.generations.busy
        if (
            free
            and self.statistics.due(young=young)
            and self.statistics.fold()
            and self.statistics.moves_model
        ):
            effects += self._build(Running(self.running.entry, self.statistics.current), keep_previous=False)
        first = self._config.domains.reference_frames
        if frames in (first, 4 * first) or frames % self._config.domains.report_every_frames == 0:
            effects.append(StoreMessage(self.report()))
        return effects

    def _on_shift(self) -> list[Effect]:
        """A new segment: remember what was learnt, and go back to the base with the source's statistics."""
        entry = self.running.entry
        if entry is not None and entry.confirmed and not self.trial.active:
            entry.statistics = self.statistics.settled
        effects = self._abandon_trial()
        self._matched = False
        self.must_commit = True
        self._switch = Running(None, self._source)
        return [
            *effects,
            *self._build(self._switch, keep_previous=False),
            Log(f"the domain has shifted: segment {self.tracker.segment} begins"),
        ]

    def _look_in_bank(self) -> list[Effect]:
        vector = self.tracker.signature.vector
        entry = self.bank.nearest(vector, self._config.domains.match_distance)
        return self.adopt(entry) if entry is not None else []

    # Patches

    def adopt(self, entry: BankEntry, now: Instant | None = None) -> list[Effect]:
        """Run a remembered patch: at once when it is confirmed or the base, else on trial."""
        self._deferred = None
        digest = entry.patch.digest
        if digest in self.blocked or digest == (self._switch or self.running).digest:
            return []
        if entry.patch.values and values_name(entry.patch.values) in self.blocked:
            self.block(digest)
            return [StoreMessage(outcomes.of_blocked(entry))]
        header = entry.patch.header
        on_trial = now is not None and not entry.confirmed and bool(entry.patch.values)
        if on_trial and now is not None and not now.wall_s <= header.expires_s:
            note = Log(f"patch {header.serial} of {header.cohort} expired before it was tried")
            standing = self.bank.standing(header.cohort)
            return [note, *(self.adopt(standing, now) if standing is not None else [])]
        if on_trial and self.generations.running is None:
            self._deferred = entry
            return []
        effects = self._abandon_trial(go_back=True)
        self.bank.touch(header.cohort)
        if values_name(entry.patch.values) == values_name((self._switch or self.running).values):
            return effects + self._renew(entry)
        self._switch = Running(entry, self._start_statistics(entry))
        if on_trial and now is not None:
            self.must_commit = True
            candidate = Candidate(header.cohort, header.serial, digest, self.running.digest)
            self.trial.start(candidate, now, settles=self.statistics.moves_model)
        return effects + self._build(self._switch, keep_previous=on_trial)

    def _renew(self, entry: BankEntry) -> list[Effect]:
        """What runs was issued anew: nothing is built or tried, and the device's own statistics go on.

        Outside a trial only what is confirmed runs, or the base, so the new issue is confirmed as well.
        """
        present, digest = self._switch or self.running, entry.patch.digest
        if entry.patch.values and not entry.confirmed:
            self.bank.confirm(entry)
        if self._switch is not None:
            self._switch = Running(entry, self._switch.statistics)
        if self.running.digest == present.digest:
            self.running = Running(entry, self.running.statistics)
        self.generations.rename(present.digest, digest)
        self.statistics.rename(present.digest, digest)
        self.must_commit = True
        return [StoreMessage(outcomes.of_renewed(entry))]

    def _start_statistics(self, entry: BankEntry) -> Statistics:
        if entry.statistics is not None:
            return entry.statistics
        return self.statistics.of_patch(entry.patch.values) if entry.patch.values else self._source

    def _is_blocked(self, entry: BankEntry) -> bool:
        return entry.patch.digest in self.blocked

    def roll_back(self, reason: str) -> list[Effect]:
        """To the base, as somebody at the device wants it; the cloud, which did not order it, is told."""
        entry = self.running.entry
        told: list[Effect] = []
        if entry is not None and entry.patch.values and not self.trial.active:
            told.append(StoreMessage(outcomes.of_rollback(entry, reason)))
        effects = self.to_base(reason)
        self.must_commit = True
        return [*effects, *told, Log(f"rolled back to the base: {reason}")]

    def to_base(self, reason: str) -> list[Effect]:
        """Back to the base for good: an operator's rollback.

        Blocked is what runs or is about to run, and what a trial would go back to: the operator wants
        neither. A trial ends with an outcome, so that the cloud does not wait for its verdict.
        """
        effects: list[Effect] = []
        self._deferred = None
        present = {r.digest: r.values for r in (self.running, self._switch, self._before) if r is not None}
        if self.trial.active:
            effects.append(StoreMessage(outcomes.of_trial(self.trial, "reverted", reason)))
        effects += self._abandon_trial()
        for digest in filter(None, present):
            self.block(digest, present[digest])
        self._switch = Running(None, self._source)
        return effects + self._build(self._switch, keep_previous=False)

    def stop(self) -> list[Effect]:
        """The process ends on purpose: a trial that runs proves nothing and begins again another time."""
        return self._abandon_trial(go_back=True)

    def block(self, digest: str, values: Mapping[str, FloatArray] | None = None) -> None:
        """Never run this patch again, nor its values under another name."""
        self.blocked.append(digest)
        if values:
            self.blocked.append(values_name(values))
        self.bank.remove(digest)
        self.must_commit = True

    def _abandon_trial(self, *, go_back: bool = False) -> list[Effect]:
        """End a trial without a verdict; its patch stays in the bank, unconfirmed."""
        if not self.trial.active:
            return []
        was_running = self.trial.watched
        self.trial.move(TrialEvent.ABANDON)
        self._switch = None
        if not was_running:
            self.generations.cancel()
            return []
        if go_back:
            return self._go_back()
        self._before = None
        return self.generations.settle()

    def _go_back(self) -> list[Effect]:
        before, self._before = self._before, None
        if before is None:
            return []
        self.running = before
        self.statistics.restart(before.digest, *before.statistics)
        effects = self.generations.revert()
        return effects or self._build(before, keep_previous=False)

    # Builds

    def on_ready(self, token: int, now: Instant) -> list[Effect]:
        """A generation is warm: it scores the next frame, and a patch that waited for it begins its trial."""
        effects = self._activate(token)
        waiting = self._deferred
        if waiting is not None and self.generations.running is not None:
            effects += self.adopt(waiting, now)
        return effects

    def _activate(self, token: int) -> list[Effect]:
        first = self.generations.running is None
        generation, effects = self.generations.ready(token)
        switch = self._switch
        if generation is None or switch is None or generation.patch != switch.digest:
            return effects
        self._switch = None
        before = Running(self.running.entry, self.statistics.current)
        self.running = switch
        self.statistics.restart(switch.digest, *switch.statistics)
        self.must_commit = True
        if self.trial.state is TrialState.BUILDING and self.trial.candidate.digest == switch.digest:
            self._before = before
            self.trial.ready()
            return [*effects, StoreMessage(outcomes.of_trial(self.trial, "trial"))]
        changed = first or before.digest != switch.digest
        if switch.entry is not None and self._before is None and changed:
            effects.append(StoreMessage(outcomes.of_entry(switch.entry)))
        return effects

    def on_failed(self, token: int, reason: str) -> list[Effect]:
        """A generation could not be built: what runs goes on running.

        When nothing does yet, what ran before the restart is next, and then the base.
        """
        generation, effects = self.generations.failed(token)
        if generation is None:
            return effects
        effects.append(Log(f"a generation could not be built: {reason}"))
        switch, self._switch = self._switch, None
        first = self.generations.running is None
        if self.trial.state is TrialState.BUILDING:
            self.trial.move(TrialEvent.BUILD_FAILED)
            effects.append(
                StoreMessage(outcomes.of_trial(self.trial, "reverted", f"could not be built: {reason}"))
            )
        if switch is not None and switch.digest:
            self.block(switch.digest, switch.values)
        if switch is not None and first:
            effects += self._start_without(switch)
        return effects

    def _start_without(self, failed: Running) -> list[Effect]:
        """The first generation could not be built: try what is left, until not even the base can be."""
        if self.running.digest != failed.digest and self.running.digest not in self.blocked:
            return self.start(self.running)
        return self.start(Running(None, self._source)) if failed.digest else []

    # Trial

    def judge_trial(self, now: Instant) -> list[Effect]:
        """Keep or revert the patch on trial once the evidence says so."""
        verdict = self.trial.verdict(now) if self.trial.watched else None
        if verdict is None:
            return []
        self.must_commit = True
        entry = self.running.entry
        if verdict == "" and entry is not None:
            self.trial.move(TrialEvent.PASS)
            self.bank.confirm(entry)
            if not entry.signature.size:
                entry.signature = self.tracker.signature.vector
            self._before = None
            return [*self.generations.settle(), StoreMessage(outcomes.of_trial(self.trial, "confirmed"))]
        outcome = StoreMessage(outcomes.of_trial(self.trial, "reverted", verdict))
        self.trial.move(TrialEvent.FAIL)
        self.block(self.trial.candidate.digest, self.running.values)
        self._switch = None
        return [*self._go_back(), outcome, Log(f"patch reverted: {verdict}")]

    def report(self) -> SignatureReport:
        """Where the device is now, for the cloud."""
        return signature_report(self._bundle.digest, self.tracker, self.statistics.current)
