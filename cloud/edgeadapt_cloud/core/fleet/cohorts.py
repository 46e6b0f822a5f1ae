"""Which devices share a domain: online nearest-centroid clustering of signature vectors.

A cohort is (bundle, domain). A segment (one stretch of one domain on one device) joins the nearest
cohort within `join_distance`, else it founds one; it leaves only when a later report lies beyond
`leave_distance` (hysteresis, so that noise moves nobody back and forth). Both grow by the distance that
two windows of one domain have by chance, so a short first window does not split a domain. If it does,
a segment that is alone in its cohort joins another as soon as a longer window shows that they are one.
Names are stable and numbers are never used again. When there is no room for another, one that nobody is
in and nothing was made for has to go (`core.core` chooses it). Distances are
`edgeadapt.signature.distance`, in source standard deviations.
Not here: samples and statistics (`fleet.pool`), messages to devices (`fleet.members`).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from edgeadapt.bundle.calibration import Calibration
from edgeadapt.signature import distance
from edgeadapt.tensors import FloatArray
from edgeadapt_cloud.config import CohortConfig
from edgeadapt_cloud.core.rows import CohortRow, Record, SegmentRow, SignatureRow

SegmentKey = tuple[str, str, int]
"""(device, outbox, segment)."""


def cohort_name(bundle_digest: str, number: int) -> str:
    """`c-<8 hex of the bundle>-<number>`."""
    return f"c-{bundle_digest[:8]}-{number}"


class Cohorts:
    """All cohorts of one bundle, and the cohort of every segment."""

    def __init__(self, config: CohortConfig, bundle_digest: str, calibration: Calibration) -> None:
        self.config = config
        self.bundle = bundle_digest
        self._calibration = calibration
        self.rows: dict[str, CohortRow] = {}
        self.segments: dict[SegmentKey, str] = {}
        # Cohort to device to how many of the device's segments are in it.
        self._inside: dict[str, Counter[str]] = {}
        self._highest = 0

    def restore(self, cohorts: Iterable[CohortRow], segments: Iterable[SegmentRow], highest: int) -> None:
        """Take up where the store left off; `highest` is the last number given out, over all bundles."""
        self._highest = highest
        self.rows = {row.cohort: row for row in cohorts}
        self.segments = {(row.device, row.outbox, row.segment): row.cohort for row in segments}
        self._inside = {}
        for (device, _, _), name in self.segments.items():
            self._inside.setdefault(name, Counter())[device] += 1

    def place(self, report: SignatureRow) -> str | None:
        """Assign the report's segment and move the centroid.

        Returns:
            The cohort's name; None when the report is too thin, or nothing fits and there is no room.
        """
        key = (report.origin.device, report.origin.outbox, report.segment)
        if report.frames < self.config.min_frames:
            return self.segments.get(key)
        name = self._stay(key, report) or self._nearest(report) or self._found(report.vector)
        if name is None:
            return self.segments.get(key)
        if key in self.segments:
            self._inside[self.segments[key]][key[0]] -= 1
        self._inside.setdefault(name, Counter())[key[0]] += 1
        self.segments[key] = name
        self._move_centroid(name, report)
        return name

    def lacks_room(self, report: SignatureRow) -> bool:
        """True when the report's domain is a new one and there are as many cohorts as there may be."""
        if len(self.rows) < self.config.max_cohorts or report.frames < self.config.min_frames:
            return False
        key = (report.origin.device, report.origin.outbox, report.segment)
        return not (self._stay(key, report) or self._nearest(report))

    def forget(self, cohort: str) -> None:
        """Let a cohort go; its segments have none then."""
        del self.rows[cohort]
        self._inside.pop(cohort, None)
        self.segments = {key: name for key, name in self.segments.items() if name != cohort}

    def drift(self, cohort: str) -> float:
        """Distance of a cohort's centroid from the source, in source standard deviations."""
        return self._distance(self.rows[cohort].centroid, self._calibration.signature_mean)

    def devices(self, cohort: str) -> set[str]:
        """Devices that have, or had, a segment in the cohort."""
        return {device for device, count in self._inside.get(cohort, Counter[str]()).items() if count > 0}

    def update(self, row: CohortRow) -> CohortRow:
        """Put a changed row in place of the old one."""
        self.rows[row.cohort] = row
        return row

    def absorb(self, record: Record) -> None:
        """Take over the record if it is a cohort's row."""
        if isinstance(record, CohortRow):
            self.rows[record.cohort] = record

    def _stay(self, key: SegmentKey, report: SignatureRow) -> str | None:
        """The segment's cohort, unless it is too far away by now or the segment can be reunited."""
        name = self.segments.get(key)
        if name is None:
            return None
        row = self.rows[name]
        if self._distance(row.centroid, report.vector) > self.config.leave_distance + _noise(row, report):
            return None
        alone = row.serial == 0 and self._inside[name].total() == 1
        return (self._nearest(report, besides=name) if alone else None) or name

    def _nearest(self, report: SignatureRow, besides: str = "") -> str | None:
        near = [
            (self._distance(row.centroid, report.vector) - _noise(row, report), row.number, name)
            for name, row in self.rows.items()
            if name != besides
        ]
        best = min(near, default=None)
        return best[2] if best is not None and best[0] <= self.config.join_distance else None

    def _found(self, vector: FloatArray) -> str | None:
        if len(self.rows) >= self.config.max_cohorts or not np.isfinite(vector).all():
            return None
        self._highest += 1
        name = cohort_name(self.bundle, self._highest)
        self.rows[name] = CohortRow(name, self._highest, self.bundle, vector.copy(), frames=0)
        return name

    def _move_centroid(self, name: str, report: SignatureRow) -> None:
        row = self.rows[name]
        # One report, however many frames it claims, moves a grown centroid by an eighth at most.
        weight = max(1, min(report.frames, self.config.centroid_frames // 8))
        frames = min(row.frames + weight, self.config.centroid_frames)
        centroid = row.centroid + min(1.0, weight / frames) * (report.vector - row.centroid)
        self.rows[name] = replace(row, centroid=centroid.astype(np.float32), frames=frames)

    def _distance(self, a: FloatArray, b: FloatArray) -> float:
        return distance(a, b, self._calibration)


def _noise(row: CohortRow, report: SignatureRow) -> float:
    """Root mean square distance that two windows of one domain have by chance: sqrt(1/n + 1/m)."""
    return math.sqrt(1.0 / max(row.frames, 1) + 1.0 / report.frames)
