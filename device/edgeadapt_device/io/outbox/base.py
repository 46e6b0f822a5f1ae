"""Messages that must not be lost, until the server has acknowledged them.

An outbox has a random id; within it a sequence is never used twice, not even after a power cut: numbers
are reserved in blocks, and a block is on the disk before its first number is used. A sample may be *held*: it
keeps its row, and waits there until the server wants it (`free`) or does not (`forget`). When the outbox is
over its size it drops what is worth least (`worth`), never what came last. When to send and what to forget is
the core's business. SQLite is in `sqlite`, a disk that refuses in `standby`, an outbox without one in
`memory`; here is the contract.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from typing import NamedTuple, Protocol

import msgspec

from edgeadapt.clock import Instant
from edgeadapt.wire import Descriptors, Sample, SignatureReport, encode
from edgeadapt_device.core.uplink.rows import PendingRow, Waiting
from edgeadapt_device.io.outbox.worth import Storable

Clock = Callable[[], Instant]


def system_clock() -> Instant:
    """Both clocks of the machine."""
    return Instant(time.monotonic(), time.time())


class StoredRow(NamedTuple):
    """A message that is durable now.

    `dropped` are the sequences that had to go to make room; the new one can be among them. `waiting` is what
    a held row waits with.
    """

    sequence: int
    kind: str
    size_bytes: int
    dropped: tuple[int, ...]
    waiting: Waiting | None = None


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

    def store(self, message: Storable, *, waiting: Waiting | None = None, age_s: float = 0.0) -> StoredRow:
        """Fill in outbox and sequence, encode, and make durable before returning.

        Args:
            message: what to keep. Descriptors mark the rows that they are about as announced.
            waiting: what the row waits with, for one that is held; its sequence and size are filled in.
            age_s: how old the message is already, for one that comes from another outbox.
        """
        ...

    def free(self, sequences: tuple[int, ...]) -> None:
        """These rows are not held any more; unknown ones are ignored."""
        ...

    def payload(self, sequence: int) -> tuple[str, bytes] | None:
        """(kind, MQTT payload) of a row, None when it is gone."""
        ...

    def forget(self, sequences: tuple[int, ...]) -> None:
        """Delete rows; unknown ones are ignored."""
        ...

    def purge(self, sequences: tuple[int, ...]) -> None:
        """Delete rows so that nothing of them stays behind; unknown ones are ignored."""
        ...

    def expire(self) -> tuple[int, ...]:
        """Delete the rows that are older than the outbox may keep them; returns their sequences."""
        ...

    def age_s(self, sequence: int) -> float:
        """How old a row is, in seconds lived; 0.0 when it is gone."""
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


def lane_of(message: Storable) -> str:
    """The lane of a sample, "" for everything else."""
    return message.lane if isinstance(message, Sample) else ""


def encode_row(message: Storable, outbox_id: str, sequence: int) -> bytes:
    """The MQTT payload of `message` under this outbox and sequence."""
    return encode(msgspec.structs.replace(message, outbox=outbox_id, sequence=sequence))


def filled_in(waiting: Waiting | None, sequence: int, size_bytes: int) -> Waiting | None:
    """What a row waits with, now that it is one."""
    if waiting is None:
        return None
    item = msgspec.structs.replace(waiting.item, sample=sequence, size_bytes=size_bytes)
    return msgspec.structs.replace(waiting, item=item)
