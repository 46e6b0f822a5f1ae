"""Messages that must not be lost, until the server has acknowledged them.

An outbox has a random id; within it a sequence is never used twice, not even after a power cut: numbers
are reserved in blocks, and a block is on the disk before its first number is used. When the outbox is
over its size it drops the least valuable samples (adapt lane, lowest entropy first; then the uniform
ones, oldest first), never reports or outcomes. When to send and what to forget is the core's business.
SQLite is in `sqlite`, a disk that refuses in `standby`; here are the contract and the outbox in memory.
"""

from __future__ import annotations

import secrets
from typing import NamedTuple, Protocol

import msgspec

from edgeadapt.wire import Descriptors, Outcome, Sample, SignatureReport, encode
from edgeadapt_device.core.uplink.rows import PendingRow

Storable = Sample | Descriptors | SignatureReport | Outcome


class StoredRow(NamedTuple):
    """A message that is durable now.

    `dropped` are the sequences that had to go to make room; the new one can be among them.
    """

    sequence: int
    kind: str
    size_bytes: int
    dropped: tuple[int, ...]


class Outbox(Protocol):
    """What the driver needs of an outbox. Used from one thread; failures are TransportErrors."""

    @property
    def outbox_id(self) -> str:
        """Random, made with the outbox."""
        ...

    @property
    def size_bytes(self) -> int:
        """Payload bytes of all rows."""
        ...

    def __len__(self) -> int:
        """Rows."""
        ...

    def store(self, message: Storable) -> StoredRow:
        """Fill in outbox and sequence, encode, and make durable before returning."""
        ...

    def payload(self, sequence: int) -> tuple[str, bytes] | None:
        """(kind, MQTT payload) of a row, None when it is gone."""
        ...

    def forget(self, sequences: tuple[int, ...]) -> None:
        """Delete rows; unknown ones are ignored."""
        ...

    def pending(self) -> tuple[PendingRow, ...]:
        """All rows, oldest first."""
        ...

    def close(self) -> None:
        """Done; the rows stay where they are durable."""
        ...


def new_outbox_id() -> str:
    """32 random hex digits."""
    return secrets.token_hex(16)


def kind_of(message: Storable) -> str:
    """The message's kind as in its topic."""
    if isinstance(message, Sample):
        return "sample"
    if isinstance(message, Descriptors):
        return "descriptor"
    return "signature" if isinstance(message, SignatureReport) else "outcome"


def value_of(message: Storable) -> tuple[int, float] | None:
    """What a row is worth when room is short, least first; None for what is never dropped."""
    if not isinstance(message, Sample):
        return None
    return (0, message.entropy) if message.lane == "adapt" else (1, 0.0)


class _Kept(NamedTuple):
    kind: str
    payload: bytes
    value: tuple[int, float] | None


class MemoryOutbox:
    """The same contract, for simulated devices: durable as long as the object lives."""

    def __init__(self, *, max_bytes: int = 256 << 20, outbox_id: str = "", after: int = 0) -> None:
        """An empty outbox; its sequences begin after `after`.

        `outbox_id` is for those who need the same one in every run.
        """
        self._outbox_id = outbox_id or new_outbox_id()
        self._max_bytes = max_bytes
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

    def store(self, message: Storable) -> StoredRow:
        """Fill in outbox and sequence, encode and keep."""
        self._last_sequence += 1
        sequence = self._last_sequence
        payload = encode_row(message, self._outbox_id, sequence)
        kind = kind_of(message)
        self._rows[sequence] = _Kept(kind, payload, value_of(message))
        self._size_bytes += len(payload)
        return StoredRow(sequence, kind, len(payload), self._make_room())

    def payload(self, sequence: int) -> tuple[str, bytes] | None:
        """(kind, MQTT payload) of a row, None when it is gone."""
        row = self._rows.get(sequence)
        return None if row is None else (row.kind, row.payload)

    def forget(self, sequences: tuple[int, ...]) -> None:
        """Delete rows; unknown ones are ignored."""
        for sequence in sequences:
            row = self._rows.pop(sequence, None)
            self._size_bytes -= 0 if row is None else len(row.payload)

    def pending(self) -> tuple[PendingRow, ...]:
        """All rows, oldest first."""
        return tuple(PendingRow(s, row.kind, len(row.payload)) for s, row in self._rows.items())

    def close(self) -> None:
        """Nothing to do."""

    def _make_room(self) -> tuple[int, ...]:
        excess = self._size_bytes - self._max_bytes
        if excess <= 0:
            return ()
        samples = sorted((row.value, s) for s, row in self._rows.items() if row.value is not None)
        dropped: list[int] = []
        for _, sequence in samples:
            if excess <= 0:
                break
            excess -= len(self._rows[sequence].payload)
            dropped.append(sequence)
        self.forget(tuple(dropped))
        return tuple(dropped)


def encode_row(message: Storable, outbox_id: str, sequence: int) -> bytes:
    """The MQTT payload of `message` under this outbox and sequence."""
    return encode(msgspec.structs.replace(message, outbox=outbox_id, sequence=sequence))
