"""Messages that must not be lost, in memory or on a disk, and what to do when that refuses."""

from __future__ import annotations

from edgeadapt_device.io.outbox.base import (
    Outbox,
    StoredRow,
    encode_row,
    kind_of,
    new_outbox_id,
    system_clock,
)
from edgeadapt_device.io.outbox.memory import MemoryOutbox
from edgeadapt_device.io.outbox.worth import Storable, worth_of

__all__ = [
    "MemoryOutbox",
    "Outbox",
    "Storable",
    "StoredRow",
    "encode_row",
    "kind_of",
    "new_outbox_id",
    "system_clock",
    "worth_of",
]
