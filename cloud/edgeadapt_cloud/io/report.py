"""What a service has done, read from its database without disturbing it.

Reads only; works while the service runs and when it does not. Structs are what `status --json` prints.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import msgspec

from edgeadapt.errors import ConfigError
from edgeadapt.patch import Evidence
from edgeadapt.wire import SPEAKS, highest_common
from edgeadapt_cloud.core.fleet.accords import why_apart
from edgeadapt_cloud.core.jobs.job import AuditEstimate
from edgeadapt_cloud.core.rows import CohortRow, DeviceRow, JobRow, PatchRow
from edgeadapt_cloud.io.lock import is_held
from edgeadapt_cloud.io.reading import opened
from edgeadapt_cloud.io.rowcodec import DAMAGED, decode_row
from edgeadapt_cloud.io.store import DATABASE_NAME


class AuditReport(msgspec.Struct, frozen=True):
    """How right a cohort's devices were, by the audit lane, as its last job saw it (`core.audit`).

    `generation` is what scored the frames: the base, or a patch, of which `serial` is the number. `right`
    is the share of frames, of those that devices took for known, in which they said the teacher's class;
    `blind` of these draws came without a picture. `strange` is the share of all frames that stayed strange.
    """

    job: int
    generation: str
    serial: int
    right: AuditEstimate
    strange: AuditEstimate
    blind: int = 0


class CohortReport(msgspec.Struct, frozen=True):
    """A cohort. `serial` is the last one given out; `stable` and `under_way` are serials, or 0.

    `audit` is the estimate of how right its devices are, for each generation they ran, the newest last; empty
    while no job has looked at audit samples, for only a job has a teacher.
    """

    cohort: str
    devices: tuple[str, ...]
    samples: int
    serial: int
    stable: int
    under_way: int
    audit: tuple[AuditReport, ...] = ()


class DeviceReport(msgspec.Struct, frozen=True):
    """A device as last heard of; `seen_s` is wall seconds; `trouble`: why nothing is sent to it, or ""."""

    device: str
    online: bool
    generation: str
    segment: int
    cohort: str
    samples: int
    seen_s: float
    trouble: str = ""


class JobReport(msgspec.Struct, frozen=True):
    """A job and what its gate found."""

    job: int
    cohort: str
    strategy: str
    state: str
    samples: int
    started_s: float
    seconds: float
    serial: int
    note: str
    evidence: tuple[Evidence, ...]


class PatchReport(msgspec.Struct, frozen=True):
    """A patch and what became of it: `outcomes` counts devices by their last word on it."""

    cohort: str
    serial: int
    digest: str
    stage: str
    job: int
    created_s: float
    size_bytes: int
    canary: str
    note: str
    outcomes: dict[str, int]


class Report(msgspec.Struct, frozen=True):
    """Everything that `status` shows.

    `questions` are the unknown things that devices have sent for a person to look at, `questions_coming`
    those that were wanted and are not here yet.
    """

    running: bool
    cohorts: tuple[CohortReport, ...]
    devices: tuple[DeviceReport, ...]
    jobs: tuple[JobReport, ...]
    patches: tuple[PatchReport, ...]
    samples: int
    samples_waiting: int
    quarantine: dict[str, int]
    questions: int = 0
    questions_coming: int = 0


def read_report(state_dir: Path) -> Report:
    """Read the state of the service in `state_dir`.

    Raises:
        ConfigError: there is no database, or it cannot be read.
    """
    running = is_held(state_dir)
    with opened(state_dir / DATABASE_NAME, "ro") as db:
        try:
            return _Reader(db).report(running=running)
        except ConfigError as error:
            raise ConfigError(f"{state_dir / DATABASE_NAME}: {error}; {DAMAGED}") from error


def order_rollback(state_dir: Path, cohort: str, *, to_base: bool) -> None:
    """Leave an order that the service carries out within a second, or when it starts.

    Raises:
        ConfigError: there is no database, or no such cohort.
    """
    with opened(state_dir / DATABASE_NAME, "rw") as db:
        known = [str(row[0]) for row in db.execute("SELECT cohort FROM cohorts ORDER BY rowid")]
        if cohort not in known:
            raise ConfigError(f"unknown cohort {cohort!r}; known: {', '.join(known) or 'none'}")
        db.execute("INSERT INTO orders (cohort, to_base) VALUES (?, ?)", (cohort, int(to_base)))


# How much of a patch's digest its generation is called by.
_NAME_CHARACTERS = 12

# Things that were asked about and of which a sample is here, if only its embedding.
_CAME = (
    "SELECT thing FROM wants JOIN messages ON messages.device = wants.device AND messages.outbox ="
    " wants.outbox AND messages.sequence = wants.sample JOIN samples USING (arrival) WHERE wants.lane = 'ask'"
)


class _Reader:
    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db
        self._cohort_of = {
            (device, outbox, segment): cohort
            for device, outbox, segment, cohort in db.execute(
                "SELECT device, outbox, segment, cohort FROM segments"
            )
        }
        self._devices = [decode_row(body, DeviceRow) for body in self._column("SELECT body FROM devices")]

    def report(self, *, running: bool) -> Report:
        patches = [
            decode_row(body, PatchRow)
            for body in self._column("SELECT body FROM patches ORDER BY cohort, serial")
        ]
        jobs = [decode_row(body, JobRow) for body in self._column("SELECT body FROM jobs ORDER BY job")]
        counters = self._db.execute("SELECT name, value FROM counters ORDER BY name")
        (samples,) = self._column("SELECT count(*) FROM samples")
        placed = self._samples_by("cohort")
        return Report(
            running=running,
            cohorts=tuple(self._cohorts(patches, jobs, placed)),
            devices=tuple(self._device_reports()),
            jobs=tuple(_job(row) for row in jobs),
            patches=tuple(self._patch(row) for row in patches),
            samples=int(samples),
            samples_waiting=int(samples) - sum(placed.values()),
            questions=self._count(f"SELECT count(DISTINCT thing) FROM ({_CAME})") + self._unannounced(),
            questions_coming=self._count(
                "SELECT count(DISTINCT thing) FROM wants WHERE lane = 'ask' AND state = 'wanted' AND thing"
                f" NOT IN ({_CAME})"
            ),
            quarantine={str(name).removeprefix("quarantined."): int(value) for name, value in counters},
        )

    def _unannounced(self) -> int:
        return self._count(
            "SELECT count(*) FROM samples JOIN messages USING (arrival) LEFT JOIN wants"
            " ON wants.device = messages.device AND wants.outbox = messages.outbox"
            " AND wants.sample = messages.sequence WHERE samples.lane = 'ask' AND wants.thing IS NULL"
        )

    def _count(self, query: str) -> int:
        return int(self._db.execute(query).fetchone()[0])

    def _cohorts(
        self, patches: list[PatchRow], jobs: list[JobRow], samples: dict[str, int]
    ) -> Iterator[CohortReport]:
        for body in self._column("SELECT body FROM cohorts ORDER BY rowid"):
            row = decode_row(body, CohortRow)
            mine = {patch.stage.value: patch.serial for patch in patches if patch.cohort == row.cohort}
            present = tuple(device.device for device in self._devices if self._where(device) == row.cohort)
            under_way = mine.get("canary") or mine.get("gated") or 0
            count = samples.get(row.cohort, 0)
            audit = _audit([job for job in jobs if job.cohort == row.cohort], patches)
            yield CohortReport(
                row.cohort, present, count, row.serial, mine.get("stable", 0), under_way, audit
            )

    def _device_reports(self) -> Iterator[DeviceReport]:
        samples = self._samples_by("device")
        for row in self._devices:
            yield DeviceReport(
                row.device,
                row.online,
                row.generation,
                row.segment,
                self._where(row),
                samples.get(row.device, 0),
                row.seen_s,
                _trouble(row),
            )

    def _patch(self, row: PatchRow) -> PatchReport:
        told = self._db.execute(
            "SELECT device, state FROM outcomes JOIN messages USING (arrival)"
            " WHERE patch = ? ORDER BY arrival",
            (row.digest,),
        )
        outcomes: dict[str, int] = {}
        for state in {str(device): str(state) for device, state in told}.values():
            outcomes[state] = outcomes.get(state, 0) + 1
        return PatchReport(
            row.cohort,
            row.serial,
            row.digest,
            row.stage.value,
            row.job,
            row.created_s,
            len(row.sealed),
            row.canary,
            row.note,
            outcomes,
        )

    def _samples_by(self, column: str) -> dict[str, int]:
        joined = "samples JOIN messages USING (arrival)"
        if column == "cohort":
            joined += " JOIN segments USING (device, outbox, segment)"
        rows = self._db.execute(f"SELECT {column}, count(*) FROM {joined} GROUP BY {column}")
        return {str(name): int(count) for name, count in rows}

    def _where(self, row: DeviceRow) -> str:
        return str(self._cohort_of.get((row.device, row.outbox, row.segment), ""))

    def _column(self, query: str) -> list[bytes]:
        return [row[0] for row in self._db.execute(query)]


def _trouble(row: DeviceRow) -> str:
    if row.speaks is None or highest_common(SPEAKS, row.speaks) is not None:
        return ""
    return why_apart(row.device, SPEAKS, row.speaks)


def _audit(jobs: list[JobRow], patches: list[PatchRow]) -> tuple[AuditReport, ...]:
    """Of the last job that looked at audit samples."""
    job = next((job for job in reversed(jobs) if job.audit), None)
    if job is None:
        return ()
    return tuple(
        AuditReport(
            job.job,
            found.generation,
            _serial(found.generation, patches),
            found.right,
            found.strange,
            found.blind,
        )
        for found in job.audit
    )


def _serial(generation: str, patches: list[PatchRow]) -> int:
    """Of the patch that devices call so: by the beginning of its digest."""
    if len(generation) < _NAME_CHARACTERS:
        return 0
    return max((patch.serial for patch in patches if patch.digest.startswith(generation)), default=0)


def _job(row: JobRow) -> JobReport:
    return JobReport(
        row.job,
        row.cohort,
        row.strategy,
        row.state,
        row.samples,
        row.started_s,
        row.seconds,
        row.serial,
        row.note,
        row.evidence,
    )
