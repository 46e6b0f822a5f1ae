"""The outbox in memory: the whole contract of `base`, durable as long as the object lives.

For simulated devices, for tests, and for a device whose disk refuses.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from edgeadapt.wire import Descriptors
from edgeadapt_device.core.uplink.rows import PendingRow, Waiting
from edgeadapt_device.io.outbox.base import (
    Clock,
    StoredRow,
    encode_row,
    filled_in,
    kind_of,
    lane_of,
    new_outbox_id,
    system_clock,
)
from edgeadapt_device.io.outbox.worth import REPORT_RESERVE_BYTES, Storable, Worth, worth_of


@dataclass(frozen=True, slots=True)
class _Kept:
    kind: str
    lane: str
    payload: bytes
    worth: Worth | None
    waiting: Waiting | None
    announced: bool
    born_mono_s: float

    def row(self, sequence: int) -> PendingRow:
        return PendingRow(sequence, self.kind, len(self.payload), self.lane, self.waiting, self.announced)


class MemoryOutbox:
    """`io.outbox.Outbox` without a disk."""

    def __init__(
        self,
        *,
        max_bytes: int = 256 << 20,
        retention_s: float = 0.0,
        outbox_id: str = "",
        after: int = 0,
        clock: Clock = system_clock,
    ) -> None:
        """An empty outbox; its sequences begin after `after`.

        `outbox_id` is for those who need the same one in every run; `retention_s` of 0 keeps rows for ever.
        """
        self._outbox_id = outbox_id or new_outbox_id()
        self._max_bytes, self._retention_s, self._clock = max_bytes, retention_s, clock
        self._rows: dict[int, _Kept] = {}
        self._last_sequence = after
        self._size_bytes = 0

    @property
    def outbox_id(self) -> str:
        """Random, made with the outbox."""
        return self._outbox_id

    @property
    def size_bytes(self) -> int:
        """Payload bytes of all rows."""
        return self._size_bytes

    def __len__(self) -> int:
        """Rows."""
        return len(self._rows)

    def store(self, message: Storable, *, waiting: Waiting | None = None, age_s: float = 0.0) -> StoredRow:
        """Fill in outbox and sequence, encode and keep."""
        self._last_sequence += 1
        sequence = self._last_sequence
        payload = encode_row(message, self._outbox_id, sequence)
        kind, waiting = kind_of(message), filled_in(waiting, sequence, len(payload))
        worth, born_mono_s = worth_of(message, len(payload)), self._clock().mono_s - age_s
        self._rows[sequence] = _Kept(kind, lane_of(message), payload, worth, waiting, False, born_mono_s)
        self._size_bytes += len(payload)
        if isinstance(message, Descriptors):
            self._announce(tuple(item.sample for item in message.items))
        return StoredRow(sequence, kind, len(payload), self._make_room(), waiting)

    def _announce(self, sequences: tuple[int, ...]) -> None:
        for sequence in sequences:
            if (row := self._rows.get(sequence)) is not None and row.waiting is not None:
                self._rows[sequence] = replace(row, announced=True)

    def free(self, sequences: tuple[int, ...]) -> None:
        """These rows are not held any more; unknown ones are ignored."""
        for sequence in sequences:
            if (row := self._rows.get(sequence)) is not None:
                self._rows[sequence] = replace(row, waiting=None, announced=False)

    def payload(self, sequence: int) -> tuple[str, bytes] | None:
        """(kind, MQTT payload) of a row, None when it is gone."""
        row = self._rows.get(sequence)
        return None if row is None else (row.kind, row.payload)

    def forget(self, sequences: tuple[int, ...]) -> None:
        """Delete rows; unknown ones are ignored."""
        for sequence in sequences:
            row = self._rows.pop(sequence, None)
            self._size_bytes -= 0 if row is None else len(row.payload)

    def purge(self, sequences: tuple[int, ...]) -> None:
        """Delete rows; unknown ones are ignored."""
        self.forget(sequences)

    def expire(self) -> tuple[int, ...]:
        """Delete the rows that are older than the retention; returns their sequences."""
        if self._retention_s <= 0.0:
            return ()
        oldest_mono_s = self._clock().mono_s - self._retention_s
        old = tuple(s for s, row in self._rows.items() if row.born_mono_s < oldest_mono_s)
        self.forget(old)
        return old

    def age_s(self, sequence: int) -> float:
        """How old a row is; 0.0 when it is gone."""
        row = self._rows.get(sequence)
        return 0.0 if row is None else self._clock().mono_s - row.born_mono_s

    def pending(self) -> tuple[PendingRow, ...]:
        """All rows, oldest first."""
        return tuple(row.row(sequence) for sequence, row in self._rows.items())

    def close(self) -> None:
        """Nothing to do."""

    def _make_room(self) -> tuple[int, ...]:
        excess = self._size_bytes - self._max_bytes
        if excess <= 0:
            return ()
        samples = sorted((row.worth, s) for s, row in self._rows.items() if row.worth is not None)
        dropped: list[int] = []
        for _, sequence in samples:
            if excess <= 0:
                break
            excess -= len(self._rows[sequence].payload)
            dropped.append(sequence)
        reports = sorted((row.kind == "outcome", s) for s, row in self._rows.items() if row.worth is None)
        for _, sequence in reports:
            if excess <= REPORT_RESERVE_BYTES:
                break
            excess -= len(self._rows[sequence].payload)
            dropped.append(sequence)
        self.forget(tuple(dropped))
        return tuple(dropped)
