"""What a cohort has to learn from: the samples of its segments and its devices' statistics.

Samples wait under their segment until the segment's cohort is known. A sample counts once per cohort,
by the digest of its data. Only the newest `keep` references of a cohort stay in memory; the count does
not fall when older ones are let go.

What is strange to a model that has adapted is never learned from: nobody knows what a teacher's label says
of it. Of the audit lane it goes to jobs as "strange": without it, the rest would not be what devices see, and
thresholds made of the rest would be too strict each time anew. Of the other lanes no job gets it; it is kept
as "asked", since a device may have sent the same picture before, when its model had not adapted and took the
frame for shifted: that is not learned from any more. Neither counts as something to learn from.

A sample without a picture teaches nothing, and statistics need one as well: of those only the draws of the
audit lane are kept, for what their devices said.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from edgeadapt.digest import sha256_hex
from edgeadapt.tensors import FloatArray
from edgeadapt_cloud.core.fleet.cohorts import SegmentKey
from edgeadapt_cloud.core.jobs.job import AuditDraw
from edgeadapt_cloud.core.rows import SampleRow, SignatureRow, StoredSample

# A device's statistics are an average over a few hundred frames; claiming more buys no more weight.
MAX_WEIGHT_FRAMES = 4096


# The digest of a sample that came without a picture.
NO_PICTURE = sha256_hex(b"")

JobLane = Literal["adapt", "audit", "strange", "asked"]


@dataclass(frozen=True, slots=True)
class SampleRef:
    """A stored sample: its place in the order of arrival, its blob, and its lane in a job ("asked": in none).

    `predicted`, `chance` and `generation` are what its device said of it, `altered` that it changed the
    frame for privacy. Without a picture (`NO_PICTURE`) it is a draw of the audit lane, and no more.
    """

    arrival: int
    sha256: str
    lane: JobLane
    predicted: int = -1
    chance: float = 0.0
    generation: str = ""
    altered: bool = False


def reference(row: SampleRow | StoredSample, arrival: int) -> SampleRef | None:
    """A sample for jobs, or "asked": one to keep out of them. None for one that says nothing to jobs."""
    strange = row.verdict in ("unknown", "unreliable")
    lane: JobLane
    if row.lane == "audit":
        lane = "strange" if strange else "audit"
    elif row.sha256 == NO_PICTURE:
        return None
    else:
        lane = "asked" if strange or row.lane == "ask" else "adapt"
    return SampleRef(arrival, row.sha256, lane, row.predicted, row.chance, row.generation, row.altered)


@dataclass(frozen=True, slots=True)
class Statistics:
    """Pooled device statistics: `mean` and `var` [P] float32, over `frames` frames of `devices` devices."""

    mean: FloatArray
    var: FloatArray
    frames: int
    devices: int


class Pool:
    """Samples per segment and per cohort."""

    def __init__(self, keep: int) -> None:
        self._keep = keep
        self._waiting: dict[SegmentKey, list[SampleRef]] = {}
        self._members: dict[SegmentKey, list[SampleRef]] = {}
        self._cohort_of: dict[SegmentKey, str] = {}
        self._newest: dict[str, dict[str, SampleRef]] = {}
        self._count: dict[str, int] = {}

    def add(self, key: SegmentKey, sample: SampleRef) -> None:
        """Take in a fresh sample of a segment."""
        cohort = self._cohort_of.get(key)
        if cohort is None:
            self._trimmed(self._waiting.setdefault(key, [])).append(sample)
        else:
            self._trimmed(self._members.setdefault(key, [])).append(sample)
            self._join(cohort, [sample])

    def assign(self, key: SegmentKey, cohort: str) -> None:
        """A segment belongs to this cohort (from now on): its samples come along."""
        before = self._cohort_of.get(key)
        if before == cohort:
            return
        self._cohort_of[key] = cohort
        samples = self._members.setdefault(key, [])
        if before is not None:
            self._leave(before, samples)
        samples += self._waiting.pop(key, [])
        self._join(cohort, samples)

    def forget(self, cohort: str) -> None:
        """The cohort is no more: the samples of its segments wait again."""
        for key in [key for key, name in self._cohort_of.items() if name == cohort]:
            del self._cohort_of[key]
            self._waiting[key] = self._members.pop(key, [])
        self._newest.pop(cohort, None)
        self._count.pop(cohort, None)

    def count(self, cohort: str) -> int:
        """How many different samples to learn from the cohort has had."""
        return self._count.get(cohort, 0)

    def newest(self, cohort: str, limit: int) -> list[SampleRef]:
        """Its newest samples for jobs, oldest first, at most `limit`."""
        return [ref for ref in self._by_age(cohort) if ref.lane != "asked"][-limit:]

    def draws(self, cohort: str, limit: int) -> tuple[AuditDraw, ...]:
        """The newest of what the audit lane drew in its segments, oldest first; each draw is one.

        Recent are those that are no older than its `limit` newest samples for jobs.
        """
        looked_at = self.newest(cohort, limit)
        since = looked_at[0].arrival if len(looked_at) == limit else 0
        drawn = [
            ref
            for key, name in self._cohort_of.items()
            if name == cohort
            for ref in self._members.get(key, ())
            if ref.lane in ("audit", "strange")
        ]
        drawn.sort(key=lambda ref: ref.arrival)
        return tuple(
            AuditDraw(
                ref.sha256,
                ref.predicted,
                ref.chance,
                ref.generation,
                strange=ref.lane == "strange",
                recent=ref.arrival >= since,
            )
            for ref in drawn[-limit:]
        )

    def waiting(self) -> int:
        """Samples whose segment has no cohort yet."""
        return sum(map(len, self._waiting.values()))

    def _join(self, cohort: str, samples: Iterable[SampleRef]) -> None:
        newest = self._newest.setdefault(cohort, {})
        for sample in samples:
            if sample.sha256 == NO_PICTURE:
                continue
            held = newest.get(sample.sha256)
            merged = _merged(held, sample)
            newest[sample.sha256] = merged
            self._count[cohort] = self._count.get(cohort, 0) + _counts(merged) - _counts(held)
        if len(newest) > 2 * self._keep:
            self._newest[cohort] = {ref.sha256: ref for ref in self._by_age(cohort)[-self._keep :]}

    def _by_age(self, cohort: str) -> list[SampleRef]:
        return sorted(self._newest.get(cohort, {}).values(), key=lambda ref: ref.arrival)

    def _leave(self, cohort: str, samples: Iterable[SampleRef]) -> None:
        """Take samples out, but for the data that another segment of the cohort holds too."""
        held: dict[str, SampleRef] = {}
        for key, name in self._cohort_of.items():
            for sample in self._members.get(key, ()) if name == cohort else ():
                held[sample.sha256] = _merged(held.get(sample.sha256), sample)
        newest = self._newest[cohort]
        for digest in {sample.sha256 for sample in samples} & newest.keys():
            left = newest.pop(digest)
            if digest in held:
                newest[digest] = held[digest]
            self._count[cohort] -= _counts(left) - _counts(held.get(digest))

    def _trimmed(self, samples: list[SampleRef]) -> list[SampleRef]:
        if len(samples) >= 2 * self._keep:
            del samples[: -self._keep]
        return samples


def _merged(held: SampleRef | None, sample: SampleRef) -> SampleRef:
    """Two samples with the same data: it is as old as the first, and strange when either is."""
    if held is None:
        return sample
    first = min(held, sample, key=lambda ref: ref.arrival)
    lanes = {held.lane, sample.lane}
    if "strange" in lanes or lanes == {"audit", "asked"}:
        return replace(first, lane="strange")
    return replace(first, lane="asked") if "asked" in lanes else first


def _counts(sample: SampleRef | None) -> int:
    return int(sample is not None and sample.lane in ("adapt", "audit"))


def pooled(reports: Iterable[SignatureRow]) -> Statistics | None:
    """Pool [P] means and variances over devices, weighted by frames; None without a report.

    The pooled variance is E[var + mean^2] - E[mean]^2, so differences between devices count in it.
    """
    rows = list(reports)
    if not rows:
        return None
    weights = np.array([min(row.frames, MAX_WEIGHT_FRAMES) for row in rows], dtype=np.float64)
    weights /= weights.sum()
    means = np.stack([row.mean for row in rows]).astype(np.float64)
    squares = np.stack([row.var for row in rows]).astype(np.float64) + means**2
    mean = weights @ means
    var = np.maximum(weights @ squares - mean**2, 1e-8)
    return Statistics(
        mean.astype(np.float32),
        var.astype(np.float32),
        sum(row.frames for row in rows),
        len({row.origin.device for row in rows}),
    )
