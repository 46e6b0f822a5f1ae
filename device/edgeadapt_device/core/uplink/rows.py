"""What the core knows of a row of the outbox; its content stays there."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class PendingRow:
    """A row of the outbox that the server has not acknowledged."""

    sequence: int
    kind: str
    size_bytes: int
