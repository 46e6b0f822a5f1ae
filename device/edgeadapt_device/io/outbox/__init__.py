"""Messages that must not be lost, in memory or on a disk, and what to do when that refuses."""

from __future__ import annotations

from edgeadapt_device.io.outbox.base import (
    MemoryOutbox,
    Outbox,
    Storable,
    StoredRow,
    encode_row,
    kind_of,
    new_outbox_id,
    value_of,
)

__all__ = [
    "MemoryOutbox",
    "Outbox",
    "Storable",
    "StoredRow",
    "encode_row",
    "kind_of",
    "new_outbox_id",
    "value_of",
]
