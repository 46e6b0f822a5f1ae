"""What the service needs from storage, as protocols; SQLite and folders are the adapters here."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Protocol

from edgeadapt_cloud.core.effects import Quarantine
from edgeadapt_cloud.core.events import RollbackOrdered
from edgeadapt_cloud.core.rows import Commit, Record, Snapshot


class Store(Protocol):
    """Rows. Every method may raise TransportError; nothing is durable before the transaction ends."""

    name: str
    """What a person knows it by: the file's path."""

    def transaction(self) -> AbstractContextManager[None]:
        """All or nothing: durable on a normal exit, undone when an exception leaves the block."""
        ...

    def commit(self, row: Commit, received_s: float) -> tuple[bool, int]:
        """Keep a device's message once; returns (fresh, arrival)."""
        ...

    def save(self, record: Record) -> None:
        """Keep a record in place of the one with the same key."""
        ...

    def forget_cohort(self, cohort: str) -> None:
        """Take out a cohort and what says which segments are in it."""
        ...

    def forget_wants(self, keys: tuple[tuple[str, str, int], ...]) -> None:
        """Take out announced samples, by (device, outbox, sample)."""
        ...

    def quarantine(self, item: Quarantine, received_s: float) -> None:
        """Count a bad message and keep its beginning."""
        ...

    def snapshot(self) -> Snapshot:
        """Everything the core needs."""
        ...

    def take_order(self) -> RollbackOrdered | None:
        """Remove and return the oldest order that an operator left, if there is one."""
        ...

    def close(self) -> None:
        """Let go of the storage."""
        ...


class Blobs(Protocol):
    """Immutable bytes under their SHA-256 (hex)."""

    def put(self, sha256: str, data: bytes) -> None:
        """Keep; a second time is a no-op. Raises TransportError."""
        ...

    def get(self, sha256: str) -> bytes | None:
        """The bytes, or None when they are not there or not intact. Raises TransportError."""
        ...
