"""The devices: where each one is now, what it last reported, and what it was last told.

A device is present in a cohort when its newest segment belongs to it and it is online. Its retained
`Assign` names its newest segment; an answer for an older segment is sent without being retained.
Not here: which cohort a segment belongs to (`fleet.cohorts`), who is the canary (`rollout.release`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from edgeadapt.clock import Instant
from edgeadapt.wire import Assign, Metric, Status, encode
from edgeadapt.wire.topics import down
from edgeadapt_cloud.core.effects import Effect, Publish, Save
from edgeadapt_cloud.core.fleet.accords import Accords
from edgeadapt_cloud.core.fleet.cohorts import SegmentKey
from edgeadapt_cloud.core.fleet.pool import Statistics, pooled
from edgeadapt_cloud.core.rows import DeviceRow, Record, SegmentRow, SignatureRow

# Of one device in one cohort: the newest counts, and the next ones when that turns out to lie elsewhere.
REPORTS_KEPT = 4


class Members:
    """All devices ever heard of."""

    def __init__(self, accords: Accords, bundle_digest: str, budget_bytes_per_hour: int | None) -> None:
        self._fleet, self._accords = accords.fleet, accords
        self._bundle = bundle_digest
        self._budget = budget_bytes_per_hour
        self.rows: dict[str, DeviceRow] = {}
        self._cohort: dict[str, str] = {}
        self._inside: dict[str, set[str]] = {}
        # Cohort to the newest reports of its segments, oldest first, a few of every device.
        self._reports: dict[str, dict[SegmentKey, SignatureRow]] = {}

    def restore(
        self,
        devices: Iterable[DeviceRow],
        reports: Iterable[SignatureRow],
        segments: Mapping[SegmentKey, str],
    ) -> None:
        """Take up where the store left off."""
        for row in devices:
            cohort = segments.get((row.device, row.outbox, row.segment))
            if cohort is None:
                row = _nowhere(row)
            self.rows[row.device] = row
            if cohort is not None:
                self._move(row.device, cohort)
        for report in reports:
            cohort = segments.get(_key(report))
            if cohort is not None:
                self._keep(report, cohort)

    def heard(self, device: str, message: Status | Metric, now: Instant) -> list[Record]:
        """A status or a metric: the changed row. The death of an older session changes nothing."""
        row = replace(self._row(device), seen_s=now.wall_s)
        if isinstance(message, Metric):
            row = replace(row, metric=encode(message))
        elif not message.online and message.epoch < row.epoch:
            return []
        else:
            row = replace(
                row,
                online=message.online,
                epoch=message.epoch,
                bundle=message.bundle,
                generation=message.generation,
                speaks=message.speaks,
            )
        self.rows[device] = row
        return [row]

    def outdated(self, report: SignatureRow) -> bool:
        """True when a newer report of the same segment is already known."""
        key = _key(report)
        known = [kept for reports in self._reports.values() if (kept := reports.get(key))]
        return any(kept.origin.sequence > report.origin.sequence for kept in known)

    def reported(self, report: SignatureRow, cohort: str, now: Instant) -> list[Record]:
        """A segment was placed in a cohort: the changed rows."""
        device, key = report.origin.device, _key(report)
        for reports in self._reports.values():
            reports.pop(key, None)
        self._keep(report, cohort)
        row = replace(self._row(device), online=True, seen_s=now.wall_s)
        if row.outbox != report.origin.outbox or report.segment >= row.segment:
            row = replace(row, outbox=report.origin.outbox, segment=report.segment)
            self._move(device, cohort)
        self.rows[device] = row
        return [row, SegmentRow(*key, cohort)]

    def forget(self, cohort: str) -> None:
        """A cohort is no more: whose newest segment was in it is nowhere."""
        self._reports.pop(cohort, None)
        for device in self._inside.pop(cohort, set()):
            del self._cohort[device]
            self.rows[device] = _nowhere(self.rows[device])

    def cohort_of(self, device: str) -> str | None:
        """The cohort of a device's newest segment."""
        return self._cohort.get(device)

    def present(self, cohort: str) -> set[str]:
        """Devices that are online, can be spoken to, and are in the cohort's domain now."""
        rows = {device: self.rows[device] for device in self._inside.get(cohort, ())}
        return {name for name, row in rows.items() if row.online and self._accords.version(row) is not None}

    def statistics(self, cohort: str) -> Statistics | None:
        """Its devices' newest statistics, pooled."""
        newest = {report.origin.device: report for report in self._reports.get(cohort, {}).values()}
        return pooled(newest.values())

    def assign(self, device: str, report: SignatureRow, cohort: str, listener: str) -> list[Effect]:
        """Answer a report: the cohort of its segment."""
        row = self.rows[device]
        if (row.outbox, row.segment) == (report.origin.outbox, report.segment):
            return self.reassign(device, cohort, listener)
        # The canary of its cohort stays one, whichever of its segments the answer is about.
        listening = device if self._cohort.get(device) == cohort else ""
        told = self._assign(cohort, report.segment, listening, listener)
        return [self._publish(device, told, retain=False)]

    def reassign(self, device: str, cohort: str, listener: str) -> list[Effect]:
        """Tell a device where it is, if it is there and that is news; `listener` is on the canary channel."""
        row = self.rows.get(device)
        if row is None or self._cohort.get(device) != cohort:
            return []
        told = self._assign(cohort, row.segment, device, listener)
        if told == row.assigned:
            return []
        self.rows[device] = replace(row, assigned=told)
        return [Save(self.rows[device]), self._publish(device, told, retain=True)]

    def retained(self) -> list[Publish]:
        """What the broker should hold for the devices."""
        return [self._publish(row.device, row.assigned, True) for row in self.rows.values() if row.assigned]

    def _keep(self, report: SignatureRow, cohort: str) -> None:
        reports = self._reports.setdefault(cohort, {})
        reports[_key(report)] = report
        mine = [key for key in reports if key[0] == report.origin.device]
        for key in mine[:-REPORTS_KEPT]:
            del reports[key]

    def _assign(self, cohort: str, segment: int, device: str, listener: str) -> bytes:
        return encode(
            Assign(
                cohort=cohort,
                segment=segment,
                channel="canary" if device and device == listener else "stable",
                bundle=self._bundle,
                budget_bytes_per_hour=self._budget,
            )
        )

    def _publish(self, device: str, payload: bytes, retain: bool) -> Publish:
        return Publish(down(self._fleet, device, "assign"), payload, retain)

    def _row(self, device: str) -> DeviceRow:
        return self.rows.get(device) or DeviceRow(device)

    def _move(self, device: str, cohort: str) -> None:
        before = self._cohort.get(device)
        if before is not None:
            self._inside[before].discard(device)
        self._cohort[device] = cohort
        self._inside.setdefault(cohort, set()).add(device)


def _nowhere(row: DeviceRow) -> DeviceRow:
    """Its cohort is of another bundle, or is no more: what it was told there must not be sent again."""
    return replace(row, outbox="", segment=-1, assigned=b"")


def _key(report: SignatureRow) -> SegmentKey:
    return (report.origin.device, report.origin.outbox, report.segment)
