"""The outbox of a device whose disk may be full or read-only, when it starts or later.

While the disk does not take the outbox or a message, messages are kept in memory, up to a bound. The disk is
tried again now and then; when it takes them they move there, under its id and with new sequences. What was
sent and not yet acknowledged when the outbox changed may so reach the server twice; nothing is lost, and what
was on the disk before is sent then, too.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from edgeadapt.errors import TransportError
from edgeadapt.wire import Descriptors
from edgeadapt_device.core.uplink.rows import PendingRow, Waiting
from edgeadapt_device.io.durable import is_full
from edgeadapt_device.io.outbox import MemoryOutbox, Outbox, Storable, StoredRow
from edgeadapt_device.io.outbox.schema import storable

# Memory that waiting messages may take: an agent has 30 MB in all.
_MEMORY_BYTES = 8 << 20
# Never a sequence of the disk: an order about one of its rows may still be on its way.
_MEMORY_FROM = 1 << 30
_RETRY_S = 30.0


class StandbyOutbox:
    """`io.outbox.Outbox` on a disk, or in memory until there is one.

    Attributes:
        trouble: why messages are kept in memory, "" when they are not.
    """

    def __init__(
        self,
        path: Path,
        open_disk: Callable[[], Outbox],
        *,
        max_bytes: int,
        retention_s: float = 0.0,
        retry_s: float = _RETRY_S,
    ) -> None:
        """Open the outbox on the disk if that goes.

        Args:
            path: where it is.
            open_disk: opens it; a TransportError says that the disk refuses.
            max_bytes: payload bytes beyond which samples are dropped.
            retention_s: as of the outbox on the disk.
            retry_s: pause between two attempts.

        Raises:
            TransportError: it cannot be opened, and not because the disk is full or read-only.
        """
        self._path, self._open_disk, self._retry_s = path, open_disk, retry_s
        self._max_bytes, self._retention_s = min(max_bytes, _MEMORY_BYTES), retention_s
        self._due_s: float | None = None
        self.trouble = ""
        self._inner: Outbox
        try:
            self._inner = open_disk()
        except TransportError as error:
            if not is_full(error.__cause__, path):
                raise
            self._wait(error)

    def _wait(self, error: TransportError) -> None:
        """Go on in memory."""
        self._inner = MemoryOutbox(
            max_bytes=self._max_bytes, retention_s=self._retention_s, after=_MEMORY_FROM
        )
        self._due_s = None
        self.trouble = f"messages are kept in memory: {error}"

    def recover(self, now_mono_s: float) -> bool:
        """Try the disk again when it is time to; True when the outbox is another one from here on."""
        if not self.trouble:
            return False
        if self._due_s is None:
            self._due_s = now_mono_s + self._retry_s
        if now_mono_s < self._due_s:
            return False
        self._due_s = now_mono_s + self._retry_s
        try:
            disk = self._open_disk()
        except TransportError as error:
            self.trouble = f"messages are kept in memory: {error}"
            return False
        if not self._move(disk):
            return False
        self._inner, self.trouble = disk, ""
        return True

    def _move(self, disk: Outbox) -> bool:
        """Move everything over; False when the disk refuses half-way: what is there already stays there."""
        try:
            for row in self._inner.pending():
                kept = self._inner.payload(row.sequence)
                message = storable(kept[1]) if kept is not None else None
                # Descriptors name rows by sequences that they have no more: those are announced again.
                if message is not None and not isinstance(message, Descriptors):
                    disk.store(message, waiting=row.waiting, age_s=self._inner.age_s(row.sequence))
                self._inner.forget((row.sequence,))
        except TransportError as error:
            self.trouble = f"messages are kept in memory: {error}"
            _close(disk)
            return False
        return True

    @property
    def outbox_id(self) -> str:
        """Random, made with the outbox that is in use."""
        return self._inner.outbox_id

    @property
    def size_bytes(self) -> int:
        """Payload bytes of all rows."""
        return self._inner.size_bytes

    def __len__(self) -> int:
        """Rows."""
        return len(self._inner)

    def store(self, message: Storable, *, waiting: Waiting | None = None, age_s: float = 0.0) -> StoredRow:
        """Fill in outbox and sequence, encode, and keep.

        A disk that takes nothing more makes this another outbox, with another id, and the message its first.

        Raises:
            TransportError: the disk refuses for another reason.
        """
        try:
            return self._inner.store(message, waiting=waiting, age_s=age_s)
        except TransportError as error:
            if self.trouble or not is_full(error.__cause__, self._path):
                raise
            _close(self._inner)
            self._wait(error)
            return self._inner.store(message, waiting=waiting, age_s=age_s)

    def payload(self, sequence: int) -> tuple[str, bytes] | None:
        """(kind, MQTT payload) of a row, None when it is gone; raises TransportError."""
        return self._inner.payload(sequence)

    def forget(self, sequences: tuple[int, ...]) -> None:
        """Delete rows, unknown ones are ignored; raises TransportError."""
        self._inner.forget(sequences)

    def free(self, sequences: tuple[int, ...]) -> None:
        """These rows are not held any more, unknown ones are ignored; raises TransportError."""
        self._inner.free(sequences)

    def purge(self, sequences: tuple[int, ...]) -> None:
        """Delete rows so that nothing of them stays behind; raises TransportError."""
        self._inner.purge(sequences)

    def expire(self) -> tuple[int, ...]:
        """Delete the rows that are too old; raises TransportError."""
        return self._inner.expire()

    def age_s(self, sequence: int) -> float:
        """How old a row is, in seconds lived; raises TransportError."""
        return self._inner.age_s(sequence)

    def pending(self) -> tuple[PendingRow, ...]:
        """All rows, oldest first; raises TransportError."""
        return self._inner.pending()

    def close(self) -> None:
        """Close; messages in memory are lost with it, and the error says how many. Raises TransportError."""
        lost = len(self._inner) if self.trouble else 0
        self._inner.close()
        if lost:
            raise TransportError(f"{lost} messages that were kept in memory are lost: {self.trouble}")


def _close(outbox: Outbox) -> None:
    """The disk refuses anyway."""
    try:
        outbox.close()
    except TransportError:
        return
