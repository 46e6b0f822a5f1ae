"""When a row of the outbox is sent, and sent again.

A row is durable before it is known here, and it is forgotten only on the server's acknowledgement:
after PUBACK the broker may still lose it. Rows go out in three lanes, each with slots of its own, so
that none can hold up another: reports and outcomes, samples, and those that were sent several times
without an answer. A row goes out again after a pause that doubles, with jitter, and after a reconnect;
when connections are short, after its first resend, the pause counts alone. A sample that the server
ignores again and again, while it answers others, is given up: it cannot be read there.
"""

from __future__ import annotations

import itertools
from collections import OrderedDict
from dataclasses import dataclass, field

import numpy as np

from edgeadapt.clock import Instant
from edgeadapt_device.config import DeliverySection
from edgeadapt_device.core.effects import Publish
from edgeadapt_device.core.uplink.budget import Budget
from edgeadapt_device.core.uplink.ledger import purpose_of
from edgeadapt_device.core.uplink.rows import PendingRow

# What MQTT adds to a payload within the broker's limit on packets, at most.
_PACKET_BYTES = 256
_MIN_WAIT_S = 0.05
# How far from the head of a queue an audit sample is looked for.
_NEAR = 64


@dataclass(frozen=True, slots=True)
class Sending:
    """What to send now, and the rows that are of no use.

    Attributes:
        publish: in order.
        too_large: rows that the broker would never take.
        ignored: samples that the server does not answer though it answers others.
    """

    publish: tuple[Publish, ...]
    too_large: tuple[int, ...]
    ignored: tuple[int, ...]


@dataclass(slots=True)
class _Lane:
    """Rows that wait for a slot: `again` were sent before and come first."""

    slots: int
    again: OrderedDict[int, _Row] = field(default_factory=OrderedDict)
    fresh: OrderedDict[int, _Row] = field(default_factory=OrderedDict)
    out: dict[int, _Row] = field(default_factory=dict)

    @property
    def waits(self) -> bool:
        """True when a row waits for a slot; mostly none does."""
        return bool(self.again or self.fresh)

    def discard(self, sequence: int) -> None:
        """The row is done with, wherever it is."""
        self.again.pop(sequence, None)
        self.fresh.pop(sequence, None)
        self.out.pop(sequence, None)


@dataclass(slots=True)
class _Row:
    row: PendingRow
    lane: _Lane
    attempts: int = 0
    ignored: int = 0
    answers: int = 0
    resend_mono_s: float = 0.0

    @property
    def is_sample(self) -> bool:
        return self.row.kind == "sample"


def _first(queue: OrderedDict[int, _Row]) -> list[int]:
    """Sequences to try: the head, and the first audit sample near it, which has bytes of its own."""
    near = list(itertools.islice(queue.items(), _NEAR))
    audits = (sequence for sequence, entry in near[1:] if entry.row.lane == "audit")
    return [sequence for sequence, _ in near[:1]] + list(itertools.islice(audits, 1))


class Delivery:
    """The rows that wait, and those that are out."""

    def __init__(
        self, config: DeliverySection, rng: np.random.Generator, pending: tuple[PendingRow, ...]
    ) -> None:
        """Start with the rows that an earlier process left in the outbox; they may have been sent."""
        self._config = config
        self._rng = rng
        self._answers = 0
        self._blocked_until_s: float | None = None
        self._connected_mono_s = 0.0
        self._short = False
        self.connected = False
        self.max_packet_bytes = 0
        self.restart(pending)

    def restart(self, pending: tuple[PendingRow, ...]) -> None:
        """Forget all rows, and begin with these; they may have been sent."""
        self._urgent = _Lane(self._config.in_flight_reports)
        self._samples = _Lane(self._config.in_flight)
        self._late = _Lane(max(self._config.in_flight // 4, 1))
        self._lanes = (self._urgent, self._samples, self._late)
        self._rows: dict[int, _Row] = {}
        for row in pending:
            self.add(row, attempts=1)

    def __len__(self) -> int:
        """Rows that the server has not acknowledged."""
        return len(self._rows)

    def add(self, row: PendingRow, *, attempts: int = 0, unpaid: bool = False) -> None:
        """A row became durable; `unpaid`: nothing was paid for it yet, so it is paid for when it is sent."""
        lane = self._samples if row.kind == "sample" else self._urgent
        entry = self._rows[row.sequence] = _Row(row, lane, attempts)
        (lane.again if attempts or unpaid else lane.fresh)[row.sequence] = entry

    def acknowledge(self, sequences: tuple[int, ...]) -> tuple[PendingRow, ...]:
        """The server has these rows; returns those that were known."""
        known = self.forget(sequences)
        self._answers += bool(known)
        return known

    def forget(self, sequences: tuple[int, ...]) -> tuple[PendingRow, ...]:
        """These rows are done with; returns those that were known."""
        known = [entry for s in sequences if (entry := self._rows.pop(s, None)) is not None]
        for entry in known:
            entry.lane.discard(entry.row.sequence)
        return tuple(entry.row for entry in known)

    def connect(self, max_packet_bytes: int, now: Instant) -> None:
        """A connection is there: what was out before may be lost and goes out again.

        After a short connection only what was sent once does so; the rest waits out its pause, or a
        link that comes and goes would send everything each time.
        """
        self.connected, self.max_packet_bytes = True, max_packet_bytes
        self._connected_mono_s = now.mono_s
        for lane in self._lanes:
            self._recall([e for e in lane.out.values() if not self._short or e.attempts <= 1])

    def disconnect(self, now: Instant) -> None:
        """Nothing can be sent. An attempt that failed in between says nothing of the last connection."""
        if self.connected:
            self._short = now.mono_s - self._connected_mono_s < self._config.resend_s
        self.connected = False

    def _recall(self, entries: list[_Row]) -> None:
        """Back into the queue; a row that was sent often enough steps behind those in the late lane."""
        for entry in sorted(entries, key=lambda e: e.row.sequence):
            sequence = entry.row.sequence
            del entry.lane.out[sequence]
            if entry.attempts >= self._config.yield_after_sends:
                entry.lane = self._late
            entry.lane.again[sequence] = entry

    def pump(self, now: Instant, budget: Budget) -> Sending:
        """What to send now."""
        if not self.connected:
            return Sending((), (), ())
        self._blocked_until_s = None
        ignored = self._recall_overdue(now)
        publish: list[Publish] = []
        too_large: list[int] = []
        for lane in self._lanes:
            while (
                lane.waits
                and len(lane.out) < lane.slots
                and (entry := self._next(lane, now, budget)) is not None
            ):
                if self._fits(entry):
                    self._send(entry, now)
                    publish.append(Publish(entry.row.sequence, self._expiry_s(entry.row.kind)))
                else:
                    too_large.append(entry.row.sequence)
        return Sending(tuple(publish), tuple(too_large), tuple(ignored))

    def _recall_overdue(self, now: Instant) -> list[int]:
        """Free the slots of rows whose pause is over; returns the samples to give up."""
        ignored: list[int] = []
        for lane in self._lanes:
            overdue = [e for e in lane.out.values() if e.resend_mono_s <= now.mono_s]
            if not overdue:
                continue
            for entry in overdue:
                entry.ignored += entry.answers < self._answers
            hopeless = [e for e in overdue if e.is_sample and e.ignored >= self._config.drop_after_sends]
            for entry in hopeless:
                overdue.remove(entry)
                del lane.out[entry.row.sequence]
                ignored.append(entry.row.sequence)
            self._recall(overdue)
        return ignored

    def _next(self, lane: _Lane, now: Instant, budget: Budget) -> _Row | None:
        """Take the next row of a lane; a resend that cannot be paid yet holds back no new row.

        What is new was paid for when its frame was chosen, so only the link's limits can hold it back.
        """
        for queue, chosen in ((lane.again, False), (lane.fresh, True)):
            for sequence in _first(queue):
                entry = queue[sequence]
                if not self._fits(entry) or self._pay(entry, now, budget, chosen=chosen):
                    return queue.pop(sequence)
        return None

    def _pay(self, entry: _Row, now: Instant, budget: Budget, *, chosen: bool) -> bool:
        purpose, size_bytes = purpose_of(entry.row.kind, entry.row.lane), entry.row.size_bytes
        urgent = entry.row.kind == "outcome"
        if budget.send(purpose, size_bytes, now, chosen=chosen and entry.is_sample, urgent=urgent):
            return True
        until_s = now.mono_s + max(budget.wait_s(purpose, size_bytes, now), _MIN_WAIT_S)
        self._blocked_until_s = min(until_s, self._blocked_until_s or until_s)
        return False

    def _fits(self, entry: _Row) -> bool:
        return not self.max_packet_bytes or entry.row.size_bytes + _PACKET_BYTES <= self.max_packet_bytes

    def _expiry_s(self, kind: str) -> int:
        """How long a broker that cannot hand a message on keeps it; the row is sent again all the same."""
        if kind == "sample":
            return self._config.sample_expiry_s
        return self._config.descriptor_expiry_s if kind == "descriptor" else 0

    def _send(self, entry: _Row, now: Instant) -> None:
        pause_s = min(self._config.resend_s * 2.0**entry.attempts, self._config.resend_max_s)
        entry.attempts = min(entry.attempts + 1, 16)
        entry.answers = self._answers
        entry.resend_mono_s = now.mono_s + pause_s * (0.75 + 0.5 * self._rng.random())
        entry.lane.out[entry.row.sequence] = entry

    def next_deadline(self) -> float | None:
        """Monotonic second of the next resend."""
        if not self.connected:
            return None
        due = [entry.resend_mono_s for lane in self._lanes for entry in lane.out.values()]
        if self._blocked_until_s is not None:
            due.append(self._blocked_until_s)
        return min(due, default=None)
