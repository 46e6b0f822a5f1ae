"""Launches the jobs that are due, with everything they need, and books their end.

Joins what the other parts know: samples (`pool`), statistics (`members`), serials and states
(`cohorts`), what is being served (`release`). Not here: the rule when a job is due (`jobs`).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from edgeadapt.clock import Instant
from edgeadapt_cloud.core.effects import Effect, Note, Save, StartJob
from edgeadapt_cloud.core.fleet.cohorts import Cohorts
from edgeadapt_cloud.core.fleet.members import Members
from edgeadapt_cloud.core.fleet.pool import Pool
from edgeadapt_cloud.core.jobs.job import JobRequest
from edgeadapt_cloud.core.jobs.schedule import Jobs
from edgeadapt_cloud.core.rollout.release import Release
from edgeadapt_cloud.core.rows import CohortRow, JobRow


class Launcher:
    """Starts jobs of one strategy."""

    def __init__(
        self,
        strategy: str,
        bundle_digest: str,
        cohorts: Cohorts,
        pool: Pool,
        jobs: Jobs,
        release: Release,
        members: Members,
    ) -> None:
        self._strategy = strategy
        self._bundle = bundle_digest
        self._cohorts = cohorts
        self._pool = pool
        self._jobs = jobs
        self._release = release
        self._members = members
        self._samples_at_start: dict[int, int] = {}

    def launch(self, names: Iterable[str], now: Instant) -> list[Effect]:
        """Start the due jobs among these cohorts, most samples since the last job first."""
        if not self._jobs.room():
            return []
        due = [self._cohorts.rows[name] for name in names if self._ready(name)]
        due.sort(key=lambda row: (row.samples_at_job - self._pool.count(row.cohort), row.number))
        effects: list[Effect] = []
        for row in due:
            if self._jobs.room():
                effects += self._start(row, now)
        return effects

    def closed(self, row: JobRow, state: bytes | None) -> CohortRow:
        """Book the end of a job; `state` is the strategy's, None when there is none to keep."""
        cohort = self._cohorts.rows[row.cohort]
        samples = self._samples_at_start.pop(row.job, self._pool.count(row.cohort))
        cohort = replace(cohort, samples_at_job=samples)
        if state is not None:
            cohort = replace(cohort, strategy=row.strategy, state=state)
        return self._cohorts.update(cohort)

    def call_off(self, name: str, reason: str) -> list[Effect]:
        """Drop the cohort's running job, if there is one; its next job needs new samples."""
        dropped = self._jobs.drop(name, reason)
        for row in dropped:
            self._samples_at_start.pop(row.job, None)
        cohort = replace(self._cohorts.rows[name], samples_at_job=self._pool.count(name))
        return [*(Save(row) for row in dropped), Save(self._cohorts.update(cohort))]

    def _ready(self, name: str) -> bool:
        return (
            self._jobs.due(self._cohorts.rows[name], self._pool.count(name))
            and not self._release.busy(name)
            and self._cohorts.drift(name) >= self._jobs.config.min_drift
        )

    def _start(self, cohort: CohortRow, now: Instant) -> list[Effect]:
        statistics = self._members.statistics(cohort.cohort)
        if statistics is None:
            return []
        samples = self._pool.newest(cohort.cohort, self._jobs.config.max_samples)
        ids = tuple(ref.sha256 for ref in samples)
        row = self._jobs.start(cohort.cohort, self._strategy, ids, now)
        self._samples_at_start[row.job] = self._pool.count(cohort.cohort)
        request = JobRequest(
            cohort=cohort.cohort,
            bundle_digest=self._bundle,
            job=row.job,
            strategy=self._strategy,
            sample_ids=ids,
            mean=statistics.mean,
            var=statistics.var,
            frames=statistics.frames,
            serial=cohort.serial + 1,
            state=cohort.state if cohort.strategy == self._strategy else b"",
            serving=self._release.serving(cohort.cohort),
            altered=frozenset(place for place, ref in enumerate(samples) if ref.altered),
            draws=self._pool.draws(cohort.cohort, self._jobs.config.max_samples),
        )
        note = f"{cohort.cohort}: job {row.job} on {len(ids)} samples of {statistics.devices} devices"
        return [Save(row), StartJob(request, tuple(ref.lane for ref in samples)), Note(note)]
