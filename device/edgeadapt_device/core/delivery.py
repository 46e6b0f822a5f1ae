"""When a row of the outbox is sent, and sent again.

A row is durable before it is known here, and it is forgotten only on the server's acknowledgement:
after PUBACK the broker may still lose it. At most `in_flight` rows are out at a time. Rows go out
again after a reconnect, and after a pause that doubles, with jitter. Reports and outcomes go first.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np

from edgeadapt.clock import Instant
from edgeadapt_device.config import DeliverySection
from edgeadapt_device.core.budget import Budget
from edgeadapt_device.core.effects import Effect, Publish


@dataclass(frozen=True, slots=True)
class PendingRow:
    """A row of the outbox that the server has not acknowledged."""

    sequence: int
    kind: str
    size_bytes: int


@dataclass(slots=True)
class _Row:
    row: PendingRow
    attempts: int = 0
    resend_mono_s: float = 0.0


class Delivery:
    """The rows that wait, and those that are out."""

    def __init__(
        self, config: DeliverySection, rng: np.random.Generator, pending: tuple[PendingRow, ...]
    ) -> None:
        """Start with the rows that an earlier process left in the outbox; they may have been sent."""
        self._config = config
        self._rng = rng
        self._urgent: deque[_Row] = deque()
        self._waiting: deque[_Row] = deque()
        self._out: dict[int, _Row] = {}
        self._rows: dict[int, _Row] = {}
        self._blocked_until_s = 0.0
        self.connected = False
        self.max_packet_bytes = 0
        for row in pending:
            self.add(row, attempts=1)

    def __len__(self) -> int:
        """Rows that the server has not acknowledged."""
        return len(self._rows)

    def add(self, row: PendingRow, *, attempts: int = 0) -> None:
        """A row became durable."""
        entry = _Row(row, attempts)
        self._rows[row.sequence] = entry
        (self._waiting if row.kind == "sample" else self._urgent).append(entry)

    def forget(self, sequences: tuple[int, ...]) -> tuple[int, ...]:
        """Acknowledged or dropped rows are done with; returns those that were known."""
        known = tuple(s for s in sequences if self._rows.pop(s, None) is not None)
        for sequence in known:
            self._out.pop(sequence, None)
        return known

    def connect(self, max_packet_bytes: int) -> None:
        """A connection is there: what was out before may be lost and goes out again."""
        self.connected, self.max_packet_bytes = True, max_packet_bytes
        self._recall(list(self._out.values()))

    def disconnect(self) -> None:
        """Nothing can be sent."""
        self.connected = False

    def _recall(self, rows: list[_Row]) -> None:
        for entry in sorted(rows, key=lambda e: e.row.sequence, reverse=True):
            del self._out[entry.row.sequence]
            (self._waiting if entry.row.kind == "sample" else self._urgent).appendleft(entry)

    def pump(self, now: Instant, budget: Budget) -> tuple[list[Effect], tuple[int, ...]]:
        """What to send now, and rows that the broker would never take."""
        if not self.connected:
            return [], ()
        overdue = [e for e in self._out.values() if e.resend_mono_s <= now.mono_s]
        self._recall(overdue)
        effects: list[Effect] = []
        oversized: list[int] = []
        while len(self._out) < self._config.in_flight:
            entry = self._take(now, budget)
            if entry is None:
                break
            if self.max_packet_bytes and entry.row.size_bytes + 256 > self.max_packet_bytes:
                oversized.append(entry.row.sequence)
                continue
            self._send(entry, now)
            effects.append(Publish(entry.row.sequence))
        return effects, tuple(oversized)

    def _take(self, now: Instant, budget: Budget) -> _Row | None:
        """The next row to send; None when none waits or a resend cannot be paid yet."""
        for queue in (self._urgent, self._waiting):
            while queue and queue[0].row.sequence not in self._rows:
                queue.popleft()
        if self._urgent:
            entry = self._urgent.popleft()
            budget.charge(entry.row.size_bytes, now)
            return entry
        if not self._waiting:
            return None
        entry = self._waiting[0]
        # The first attempt was paid for when the frame was flagged.
        if entry.attempts and not budget.take(entry.row.size_bytes, now, early=True):
            self._blocked_until_s = now.mono_s + max(budget.wait_s(entry.row.size_bytes), 0.05)
            return None
        return self._waiting.popleft()

    def _send(self, entry: _Row, now: Instant) -> None:
        pause_s = min(self._config.resend_s * 2.0**entry.attempts, self._config.resend_max_s)
        entry.attempts = min(entry.attempts + 1, 16)
        entry.resend_mono_s = now.mono_s + pause_s * (0.75 + 0.5 * self._rng.random())
        self._out[entry.row.sequence] = entry

    def next_deadline(self) -> float | None:
        """Monotonic second of the next resend."""
        if not self.connected:
            return None
        due = [entry.resend_mono_s for entry in self._out.values()]
        if self._waiting and self._blocked_until_s > 0.0:
            due.append(self._blocked_until_s)
        return min(due, default=None)
