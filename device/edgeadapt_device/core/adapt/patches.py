"""Which patch a device runs: what comes from the cloud, what the bank remembers, and trials.

Rules: a patch that was not yet confirmed here runs on trial, with the generation before it kept warm;
what was reverted here stays blocked, under any name; a trial that ends without a verdict proves nothing.
Not here: what a patch must be to be believed (`downlink.intake`), and which domain the device is in.
"""

from __future__ import annotations

from collections.abc import Mapping

from edgeadapt.clock import Instant
from edgeadapt.signature import Signature
from edgeadapt.tensors import FloatArray
from edgeadapt_device.core.adapt import outcomes
from edgeadapt_device.core.adapt.domains import BankEntry, PatchBank
from edgeadapt_device.core.adapt.running import Running, Statistics
from edgeadapt_device.core.adapt.switching import Switching
from edgeadapt_device.core.adapt.trial import Candidate, Trial, TrialEvent, TrialState
from edgeadapt_device.core.adapt.values import values_name
from edgeadapt_device.core.effects import Effect, Log, StoreMessage


class Patches:
    """The patches of one device.

    Attributes:
        bank: those that are remembered.
        trial: of the newest one.
        blocked: digests of patches that must not run here, and beside them the names of their values.
        must_commit: something happened that a restart must know of.
        told: the cloud has said what belongs to the present segment.
    """

    def __init__(self, switching: Switching, bank: PatchBank, trial: Trial) -> None:
        self._switching = switching
        self.bank, self.trial = bank, trial
        self.blocked: list[str] = []
        self.must_commit = False
        self.told = False
        # A patch that waits for the first generation: until there is one, nothing could be compared with it.
        self._deferred: BankEntry | None = None

    @property
    def known_good(self) -> Running:
        """What a restart should run: never a patch that is still, or was just, on trial."""
        switching = self._switching
        if self.trial.watched and switching.before is not None:
            return switching.before
        entry = switching.running.entry
        if entry is not None and entry.patch.values and (not entry.confirmed or self._is_blocked(entry)):
            return switching.base
        return Running(entry, switching.statistics.current)

    # Taking a patch

    def take(self, entry: BankEntry, now: Instant) -> list[Effect]:
        """Run what the cloud wants for this segment: at once if confirmed or the base, else on trial."""
        self.told = True
        self._deferred = None
        if self._is_known(entry):
            return []
        if self._values_blocked(entry):
            self.block(entry.patch.digest)
            return [StoreMessage(outcomes.of_blocked(entry))]
        on_trial = not entry.confirmed and bool(entry.patch.values)
        header = entry.patch.header
        if on_trial and not now.wall_s <= header.expires_s:
            note = Log(f"patch {header.serial} of {header.cohort} expired before it was tried")
            standing = self.bank.standing(header.cohort)
            return [note, *(self.take(standing, now) if standing is not None else [])]
        if on_trial and self._switching.generations.running is None:
            self._deferred = entry
            return []
        return self._adopt(entry, now if on_trial else None)

    def recall(self, entry: BankEntry | None) -> list[Effect]:
        """Run what the bank remembers for the domain, or the base."""
        self.remember()
        if entry is None:
            return self._switching.to(self._switching.base)
        return [] if self._is_known(entry) or self._values_blocked(entry) else self._adopt(entry, None)

    def remember(self) -> None:
        """The domain is left: its patch keeps the statistics that were held under it."""
        entry = self._switching.running.entry
        if entry is not None and entry.confirmed and not self.trial.active:
            entry.statistics = self._switching.statistics.settled

    def _is_known(self, entry: BankEntry) -> bool:
        digest = entry.patch.digest
        return digest in self.blocked or digest == self._switching.present.digest

    def _values_blocked(self, entry: BankEntry) -> bool:
        return bool(entry.patch.values) and values_name(entry.patch.values) in self.blocked

    def _adopt(self, entry: BankEntry, trial_from: Instant | None) -> list[Effect]:
        switching, header = self._switching, entry.patch.header
        effects = self.abandon_trial(go_back=True)
        self.bank.touch(header.cohort)
        if values_name(entry.patch.values) == values_name(switching.present.values):
            return effects + self._renew(entry)
        if trial_from is not None:
            self.must_commit = True
            candidate = Candidate(header.cohort, header.serial, entry.patch.digest, switching.running.digest)
            self.trial.start(candidate, trial_from, settles=switching.statistics.moves_model)
        wanted = Running(entry, self.start_statistics(entry))
        return effects + switching.to(wanted, keep_previous=trial_from is not None)

    def _renew(self, entry: BankEntry) -> list[Effect]:
        """What runs was issued anew: nothing is built or tried, and the device's own statistics go on.

        Outside a trial only what is confirmed runs, or the base, so the new issue is confirmed as well.
        """
        if entry.patch.values and not entry.confirmed:
            self.bank.confirm(entry)
        self._switching.rename(Running(entry, self._switching.present.statistics))
        self.must_commit = True
        return [StoreMessage(outcomes.of_renewed(entry))]

    def start_statistics(self, entry: BankEntry | None) -> Statistics:
        """What a patch, or the base, starts from: what it was left with here, or brings itself."""
        if entry is None:
            return self._switching.source
        if entry.statistics is not None:
            return entry.statistics
        statistics = self._switching.statistics
        return statistics.of_patch(entry.patch.values) if entry.patch.values else self._switching.source

    # Leaving a patch

    def roll_back(self, reason: str) -> list[Effect]:
        """To the base, as somebody at the device wants it; the cloud, which did not order it, is told."""
        entry, effects = self._switching.running.entry, list[Effect]()
        if entry is not None and entry.patch.values and not self.trial.active:
            effects.append(StoreMessage(outcomes.of_rollback(entry, reason)))
        effects += self.to_base(reason)
        self.must_commit = True
        return [*effects, Log(f"rolled back to the base: {reason}")]

    def _is_blocked(self, entry: BankEntry) -> bool:
        return entry.patch.digest in self.blocked

    def to_base(self, reason: str) -> list[Effect]:
        """Back to the base for good: an operator's rollback.

        Blocked is what runs or is about to run, and what a trial would go back to: the operator wants
        neither. A trial ends with an outcome, so that the cloud does not wait for its verdict.
        """
        switching, effects = self._switching, list[Effect]()
        self._deferred = None
        found = (switching.running, switching.coming, switching.before)
        present = {r.digest: r.values for r in found if r is not None and r.digest}
        if self.trial.active:
            effects.append(StoreMessage(outcomes.of_trial(self.trial, "reverted", reason)))
        effects += self.abandon_trial()
        for digest, values in present.items():
            self.block(digest, values)
        return effects + switching.to(switching.base)

    def block(self, digest: str, values: Mapping[str, FloatArray] | None = None) -> None:
        """Never run this patch again, nor its values under another name."""
        self.blocked.append(digest)
        if values:
            self.blocked.append(values_name(values))
        self.bank.remove(digest)
        self.must_commit = True

    def abandon_trial(self, *, go_back: bool = False) -> list[Effect]:
        """End a trial without a verdict; its patch stays in the bank, unconfirmed."""
        if not self.trial.active:
            return []
        was_watched = self.trial.watched
        self.trial.move(TrialEvent.ABANDON)
        if not was_watched:
            self._switching.drop()
            return []
        self._switching.coming = None
        return self._switching.go_back() if go_back else self._switching.settle()

    # What became of a build

    def on_switched(self, before: Running, *, first: bool) -> list[Effect]:
        """A switch is done: a patch on trial is watched from here on."""
        running = self._switching.running
        self.must_commit = True
        if self.trial.state is TrialState.BUILDING and self.trial.candidate.digest == running.digest:
            self._switching.before = before
            self.trial.ready()
            return [StoreMessage(outcomes.of_trial(self.trial, "trial"))]
        changed = first or before.digest != running.digest
        if running.entry is not None and self._switching.before is None and changed:
            return [StoreMessage(outcomes.of_entry(running.entry))]
        return []

    def take_deferred(self, now: Instant) -> list[Effect]:
        """The first generation is there: a patch that waited for it begins its trial."""
        waiting = self._deferred
        return self.take(waiting, now) if waiting is not None else []

    def on_not_built(self, failed: Running | None, reason: str) -> list[Effect]:
        """A build that was wanted failed: a patch that cannot be built is blocked."""
        effects: list[Effect] = [Log(f"a generation could not be built: {reason}")]
        if self.trial.state is TrialState.BUILDING:
            self.trial.move(TrialEvent.BUILD_FAILED)
            why = f"could not be built: {reason}"
            effects.append(StoreMessage(outcomes.of_trial(self.trial, "reverted", why)))
        if failed is not None and failed.digest:
            self.block(failed.digest, failed.values)
        return effects

    # Trial

    def judge_trial(self, now: Instant, domain: Signature) -> list[Effect]:
        """Keep or revert the patch on trial once the evidence says so; it was tried in `domain`."""
        verdict = self.trial.verdict(now) if self.trial.watched else None
        if verdict is None:
            return []
        self.must_commit = True
        entry = self._switching.running.entry
        if verdict == "" and entry is not None:
            self.trial.move(TrialEvent.PASS)
            self.bank.confirm(entry)
            if not entry.signature.size:
                entry.signature = domain.vector
            return [*self._switching.settle(), StoreMessage(outcomes.of_trial(self.trial, "confirmed"))]
        outcome = StoreMessage(outcomes.of_trial(self.trial, "reverted", verdict))
        self.trial.move(TrialEvent.FAIL)
        self.block(self.trial.candidate.digest, self._switching.running.values)
        self._switching.coming = None
        return [*self._switching.go_back(), outcome, Log(f"patch reverted: {verdict}")]
