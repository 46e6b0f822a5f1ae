"""When adaptation jobs start, one at a time per cohort and few at a time overall.

A cohort is ready when it has enough samples, statistics, a domain that differs from the source, and no
rollout under way. Its next job waits until the samples have grown by `growth`. Job numbers rise for
ever. Not here: what a job does (`adapt`) and what becomes of its patch (`rollout.release`).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from edgeadapt.clock import Instant
from edgeadapt_cloud.config import JobConfig
from edgeadapt_cloud.core.jobs.job import JobResult
from edgeadapt_cloud.core.rows import CohortRow, JobRow, JobState


class Jobs:
    """Running jobs and the numbers given out."""

    def __init__(self, config: JobConfig) -> None:
        self.config = config
        self.running: dict[int, JobRow] = {}
        self._last = 0

    def restore(self, rows: Iterable[JobRow], *, going_on: bool) -> list[JobRow]:
        """Take up where the store left off; returns rows of jobs that were cut off, now abandoned.

        `going_on`: the worker still has the running jobs, and their results will come.
        """
        rows = list(rows)
        self._last = max((row.job for row in rows), default=0)
        running = [row for row in rows if row.state == "running"]
        if going_on:
            self.running = {row.job: row for row in running}
            return []
        return [replace(row, state="abandoned") for row in running]

    def due(self, cohort: CohortRow, samples: int) -> bool:
        """True when the cohort has grown enough for a job and none of its jobs is running."""
        if self.busy(cohort.cohort):
            return False
        if cohort.samples_at_job == 0:
            return samples >= self.config.min_new
        step = max(cohort.samples_at_job * (self.config.growth - 1.0), self.config.min_new / 4)
        return samples >= cohort.samples_at_job + step

    def busy(self, cohort: str) -> bool:
        """True while a job of the cohort is running."""
        return any(row.cohort == cohort for row in self.running.values())

    def room(self) -> bool:
        """True when another job may run."""
        return len(self.running) < self.config.max_concurrent

    def start(self, cohort: str, strategy: str, sample_ids: tuple[str, ...], now: Instant) -> JobRow:
        """Give out the next number."""
        self._last += 1
        row = JobRow(
            self._last, cohort, strategy, "running", len(sample_ids), now.wall_s, sample_ids=sample_ids
        )
        self.running[row.job] = row
        return row

    def drop(self, cohort: str, reason: str) -> list[JobRow]:
        """The row of a cohort's running job, now abandoned: whatever comes of it is ignored."""
        jobs = [row for row in self.running.values() if row.cohort == cohort]
        for row in jobs:
            del self.running[row.job]
        return [replace(row, state="abandoned", note=reason) for row in jobs]

    def finish(self, result: JobResult) -> JobRow | None:
        """The row of a finished job, with its verdict; None when it is not one that is running."""
        row = self.running.get(result.job)
        if row is None or row.cohort != result.cohort:
            return None
        del self.running[result.job]
        passed = result.verdict.passed and bool(result.values)
        state: JobState = "published" if passed else "refused"
        return replace(
            row,
            state=state,
            seconds=result.seconds,
            evidence=result.verdict.evidence,
            note=result.note,
            audit=result.audit,
        )

    def fail(self, job: int, reason: str) -> JobRow | None:
        """The row of a job that could not run; None when it is not one that is running."""
        row = self.running.pop(job, None)
        return replace(row, state="failed", note=reason) if row is not None else None
