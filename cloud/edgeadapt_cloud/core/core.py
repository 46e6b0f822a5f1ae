"""The cloud core: events in, effects out. No I/O, no clock, no threads.

A message is checked (`ingest`), committed (effect `CommitMessage`, answered by `Committed`), acted on if
it was fresh, and acknowledged either way. Signatures place devices in cohorts; samples pool there; a
cohort that is ready starts a job (`jobs`); a result that passed its gate is sealed and rolled out
(`release`). All of it can be rebuilt from the store: `restore`. The performer wraps one event and
everything that follows from it in one transaction, and rebuilds the core when that fails.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from edgeadapt.bundle.bundle import Bundle
from edgeadapt.clock import Instant
from edgeadapt.errors import TrustError
from edgeadapt.wire import SPEAKS, Reply, Versions
from edgeadapt_cloud.config import CloudConfig
from edgeadapt_cloud.core.acks import AckBatcher
from edgeadapt_cloud.core.effects import CommitMessage, Effect, ForgetCohort, Note, Quarantine, Save
from edgeadapt_cloud.core.events import (
    BrokerConnected,
    Committed,
    Event,
    JobFailed,
    JobFinished,
    MessageArrived,
    MessageFailed,
    RollbackOrdered,
    Tick,
)
from edgeadapt_cloud.core.fleet.accords import Accords
from edgeadapt_cloud.core.fleet.cohorts import Cohorts
from edgeadapt_cloud.core.fleet.members import Members
from edgeadapt_cloud.core.fleet.pool import Pool, reference
from edgeadapt_cloud.core.fleet.wants import Wants
from edgeadapt_cloud.core.ingest import Heard, Ingest, Rejected
from edgeadapt_cloud.core.intact import check_sizes, check_whole
from edgeadapt_cloud.core.jobs.job import JobResult
from edgeadapt_cloud.core.jobs.launch import Launcher
from edgeadapt_cloud.core.jobs.schedule import Jobs
from edgeadapt_cloud.core.rollout.release import Release
from edgeadapt_cloud.core.rollout.standing import Draft
from edgeadapt_cloud.core.rows import (
    DescriptorsRow,
    OutcomeRow,
    RejectedRow,
    SampleRow,
    SignatureRow,
    Snapshot,
)


class CloudCore:
    """Every decision of the service, for one bundle; what the store holds of others is left alone."""

    def __init__(
        self,
        config: CloudConfig,
        bundle: Bundle,
        key: Ed25519PrivateKey,
        *,
        epoch: int = 0,
        speaks: Versions = SPEAKS,
    ) -> None:
        """`epoch` rises with each start of the service; `speaks` are the versions of the protocol."""
        fleet = config.cloud.fleet
        self.config = config
        self.counters: Counter[str] = Counter()
        self.cohorts = Cohorts(config.cohorts, bundle.digest, bundle.calibration)
        self.pool = Pool(config.jobs.max_samples)
        self.jobs = Jobs(config.jobs)
        self.release = Release(fleet, config.rollout, bundle, key)
        self.accords = Accords(fleet, epoch, speaks)
        self.members = Members(self.accords, bundle.digest, config.cohorts.budget_bytes_per_hour)
        self.wants = Wants(fleet, bundle.digest, config.wants)
        self._launcher = Launcher(
            config.strategy.name,
            bundle.digest,
            self.cohorts,
            self.pool,
            self.jobs,
            self.release,
            self.members,
        )
        self._ingest = Ingest(fleet, bundle, speaks)
        self._acks = AckBatcher(fleet, config.cloud.ack_delay_s)

    def restore(self, saved: Snapshot, now: Instant, *, going_on: bool = False) -> list[Effect]:
        """Take up where the store left off; call once, before the first event.

        `going_on`: only the core is new; the jobs that it started go on, and their results will come.

        Raises:
            ConfigError: what the store holds does not fit together.
        """
        check_whole(saved)
        highest = max((row.number for row in saved.cohorts), default=0)
        saved = saved.of_bundle(self._ingest.bundle.digest)
        check_sizes(saved, self._ingest.bundle)
        self.cohorts.restore(saved.cohorts, saved.segments, highest)
        for key, cohort in self.cohorts.segments.items():
            self.pool.assign(key, cohort)
        for sample in saved.samples:
            key = (sample.device, sample.outbox, sample.segment)
            if (ref := reference(sample, sample.arrival)) is not None:
                self.pool.add(key, ref)
        self.members.restore(saved.devices, saved.signatures, self.cohorts.segments)
        self.release.restore(saved.patches, saved.outcomes, now)
        self.wants.restore(saved.wants, now)
        return [Save(row) for row in self.jobs.restore(saved.jobs, going_on=going_on)]

    def handle(self, event: Event, now: Instant) -> list[Effect]:
        """Decide what follows from an event."""
        return self.accords.fit(self._decide(event, now), self.members.rows)

    def _decide(self, event: Event, now: Instant) -> list[Effect]:
        if isinstance(event, MessageArrived):
            return self._message(event, now)
        if isinstance(event, Committed):
            return self._committed(event, now)
        if isinstance(event, Tick):
            return self._tick(now)
        if isinstance(event, JobFinished):
            return self._job_finished(event.result, now)
        if isinstance(event, JobFailed):
            return self._job_failed(event, now)
        if isinstance(event, RollbackOrdered):
            return self._rollback(event, now)
        if isinstance(event, MessageFailed):
            return self._message_failed(event)
        assert isinstance(event, BrokerConnected)
        return self._republish()

    def next_deadline(self) -> float | None:
        """Monotonic seconds at which a `Tick` is due, or None."""
        due = (self._acks.due_mono_s, self.release.next_deadline(), self.wants.next_deadline())
        return min((at for at in due if at is not None), default=None)

    def _message(self, event: MessageArrived, now: Instant) -> list[Effect]:
        try:
            found = self._ingest.read(event.topic, event.payload)
        except Rejected as error:
            self.counters[f"quarantined.{error.reason}"] += 1
            effects: list[Effect] = [Quarantine(event.topic, error.reason, error.detail, event.payload)]
            if error.origin is not None:
                effects.append(CommitMessage(RejectedRow(error.origin)))
            return effects
        if isinstance(found, Heard):
            return self._heard(found, now)
        return [CommitMessage(found)]

    def _heard(self, heard: Heard, now: Instant) -> list[Effect]:
        device, said = heard.device, heard.message
        if isinstance(said, Reply):
            state = "done" if said.done else "not done"
            return [Note(f"{device} answers order {said.id[:16]}: {state}, {said.reason}: {said.detail}")]
        before = self.members.rows.get(device)
        effects: list[Effect] = [Save(row) for row in self.members.heard(device, said, now)]
        row = self.members.rows[device]
        if before is None or before.speaks != row.speaks:
            effects += [Note(apart)] if (apart := self.accords.trouble(device, row)) else []
        cohort = self.members.cohort_of(heard.device)
        if cohort is None:
            return effects
        gone = heard.device not in self.members.present(cohort)
        if gone and self.release.canary(cohort) == heard.device:
            effects += self.release.left(cohort, now)
        return effects + self._offer(cohort, now)

    def _message_failed(self, event: MessageFailed) -> list[Effect]:
        """Set the message aside; acknowledge it, or the device would send it for ever."""
        self.counters["quarantined.defect"] += 1
        effects: list[Effect] = [Quarantine(event.topic, "defect", event.error, event.payload)]
        try:
            found = self._ingest.read(event.topic, event.payload)
        except Rejected as error:
            origin = error.origin
        else:
            origin = None if isinstance(found, Heard) else found.origin
        return [*effects, CommitMessage(RejectedRow(origin))] if origin is not None else effects

    def _committed(self, event: Committed, now: Instant) -> list[Effect]:
        row, effects = event.row, list[Effect]()
        if event.fresh:
            self.counters[f"fresh.{type(row).__name__}"] += 1
            if isinstance(row, SampleRow):
                effects = self._sample(row, event.arrival, now)
            elif isinstance(row, SignatureRow):
                effects = self._signature(row, now)
            elif isinstance(row, OutcomeRow):
                effects = self._outcome(row, now)
        else:
            self.counters["duplicates"] += 1
        if isinstance(row, DescriptorsRow):
            # Also when it comes again: the answer may be what was lost.
            segment = (row.origin.device, row.origin.outbox, row.message.segment)
            effects += self.wants.asked(row, self.cohorts.segments.get(segment, ""), now)
        elif isinstance(row, SampleRow):
            known = self.wants.received(row.origin) if row.data else self.wants.described(row.origin, now)
            effects += known
        elif isinstance(row, RejectedRow):
            effects += self.wants.failed(row.origin, now)
        return [*effects, *self._acks.add(row.origin, now)]

    def _sample(self, row: SampleRow, arrival: int, now: Instant) -> list[Effect]:
        key = (row.origin.device, row.origin.outbox, row.segment)
        ref = reference(row, arrival)
        if ref is None:
            return []
        self.pool.add(key, ref)
        cohort = self.cohorts.segments.get(key)
        return self._launcher.launch([cohort], now) if cohort else []

    def _signature(self, row: SignatureRow, now: Instant) -> list[Effect]:
        device, key = row.origin.device, (row.origin.device, row.origin.outbox, row.segment)
        if self.members.outdated(row):
            return []
        effects = self._make_room(device) if self.cohorts.lacks_room(row) else []
        cohort = self.cohorts.place(row)
        if cohort is None:
            return effects
        before = self.members.cohort_of(device)
        self.pool.assign(key, cohort)
        effects.append(Save(self.cohorts.rows[cohort]))
        effects += [Save(record) for record in self.members.reported(row, cohort, now)]
        if before is not None and before != self.members.cohort_of(device):
            if self.release.canary(before) == device:
                effects += self.release.left(before, now)
            effects += self._offer(before, now)
        effects += self._offer(cohort, now)
        effects += self.members.assign(device, row, cohort, self.release.of(cohort).listener)
        return effects + self._launcher.launch([cohort], now)

    def _make_room(self, device: str) -> list[Effect]:
        """Let go of the least of the cohorts that nobody else is in and nothing was made for."""
        idle = [
            row.cohort
            for row in self.cohorts.rows.values()
            if row.serial == 0
            and not self.members.present(row.cohort) - {device}
            and not self.jobs.busy(row.cohort)
        ]
        if not idle:
            self.counters["unplaced"] += 1
            full = f"{len(self.cohorts.rows)} cohorts are all there may be"
            return [Note(f"{device} is in a new domain and stays without a cohort: {full}")]
        least = min(idle, key=self.pool.count)
        for part in (self.cohorts, self.pool, self.members):
            part.forget(least)
        return [ForgetCohort(least), Note(f"{least}: let go, to make room for a new domain")]

    def _offer(self, cohort: str, now: Instant) -> list[Effect]:
        """Find a canary for a waiting patch; tell the device that is one, and the one that was."""
        before = self.release.of(cohort).listener
        effects = self.release.offer(cohort, self.members.present(cohort), now)
        return self._tell_listeners(cohort, before) + effects

    def _tell_listeners(self, cohort: str, before: str) -> list[Effect]:
        after = self.release.of(cohort).listener
        effects: list[Effect] = []
        for device in sorted({before, after} - {""}) if before != after else ():
            effects += self.members.reassign(device, cohort, after)
        return effects

    def _outcome(self, row: OutcomeRow, now: Instant) -> list[Effect]:
        cohort = self.cohorts.rows.get(row.outcome.cohort)
        if cohort is None:
            return []
        inside = self.cohorts.devices(cohort.cohort)
        effects = self._absorb(self.release.outcome(row.origin.device, row.outcome, cohort, inside, now))
        effects += self._offer(cohort.cohort, now)
        return effects + self._launcher.launch([cohort.cohort], now)

    def _absorb(self, effects: list[Effect]) -> list[Effect]:
        """Cohort rows that a release changed (serials) are the core's rows from now on."""
        for effect in effects:
            if isinstance(effect, Save):
                self.cohorts.absorb(effect.record)
        return effects

    def _tick(self, now: Instant) -> list[Effect]:
        effects: list[Effect] = [*self._acks.flush(now), *self.wants.overdue(now)]
        for name in self.release.overdue(now):
            device = self.release.canary(name)
            if not device:
                self.release.ask_again(name)
                effects += self._offer(name, now)
                continue
            if device not in self.members.present(name):
                effects += self.release.left(name, now) + self._offer(name, now)
                continue
            effects += self._absorb(self.release.silent(self.cohorts.rows[name], now))
            effects += self._offer(name, now)
        for cohort in list(self.cohorts.rows.values()):
            renewed = self._absorb(self.release.renew(cohort, now))
            effects += renewed + (self._offer(cohort.cohort, now) if renewed else [])
        return effects + self._launcher.launch(self.cohorts.rows, now)

    def _job_finished(self, result: JobResult, now: Instant) -> list[Effect]:
        row = self.jobs.finish(result)
        if row is None:
            return [Note(f"job {result.job} is not running: its result is dropped")]
        cohort = self._launcher.closed(row, result.state)
        effects: list[Effect] = [Save(cohort)]
        if row.state == "published":
            draft = Draft(
                result.values,
                cohort.centroid,
                result.strategy,
                result.samples,
                row.evidence,
                row.job,
                thresholds=result.thresholds,
            )
            try:
                cohort, patch = self.release.seal(cohort, draft, now)
            except TrustError as error:
                row = replace(row, state="failed", note=f"the adapter's values do not fit: {error}")
            else:
                row = replace(row, serial=patch.serial)
                before = self.release.of(cohort.cohort).listener
                begun = self.release.begin(patch, self.members.present(cohort.cohort), now)
                effects += [Save(self.cohorts.update(cohort))]
                effects += self._tell_listeners(cohort.cohort, before) + begun
        effects += [Save(row), Note(f"{row.cohort}: job {row.job} {row.state} {row.note}")]
        return effects + self._launcher.launch(self.cohorts.rows, now)

    def _job_failed(self, event: JobFailed, now: Instant) -> list[Effect]:
        row = self.jobs.fail(event.job, event.reason)
        if row is None:
            return [Note(f"job {event.job} is not running: its failure is dropped")]
        effects: list[Effect] = [Save(self._launcher.closed(row, None)), Save(row)]
        effects.append(Note(f"{row.cohort}: job {row.job} failed: {row.note}"))
        return effects + self._launcher.launch(self.cohorts.rows, now)

    def _rollback(self, event: RollbackOrdered, now: Instant) -> list[Effect]:
        if event.cohort not in self.cohorts.rows:
            return [Note(f"rollback of {event.cohort}: there is no such cohort")]
        ordered = "ordered by an operator"
        # A job that is running would undo the order as soon as it ends.
        effects = self._launcher.call_off(event.cohort, f"rollback {ordered}")
        cohort = self.cohorts.rows[event.cohort]
        return effects + self._absorb(self.release.withdraw(cohort, ordered, now, to_base=event.to_base))

    def _republish(self) -> list[Effect]:
        effects: list[Effect] = [self.accords.status(), *self.members.retained()]
        for cohort in self.cohorts.rows:
            effects += self.release.retained(cohort)
        return effects
