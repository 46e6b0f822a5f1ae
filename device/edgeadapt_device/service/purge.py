"""What an operator wants gone from the outbox, and how it goes: overwritten, running device or not."""

from __future__ import annotations

from pathlib import Path

import msgspec

from edgeadapt.wire import Lane
from edgeadapt_device.config import DeviceConfig
from edgeadapt_device.io.lock import StateLock
from edgeadapt_device.io.outbox import Outbox
from edgeadapt_device.io.outbox.sqlite import SqliteOutbox

OUTBOX_NAME = "outbox.sqlite"


class Purge(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which rows: of a lane (None: all kinds), and at least so old."""

    lane: Lane | None = None
    older_than_s: float = 0.0


def purge(outbox: Outbox, order: Purge) -> tuple[int, ...]:
    """Delete them for good; returns their sequences. Raises TransportError."""
    gone = tuple(
        row.sequence
        for row in outbox.pending()
        if order.lane in (None, row.lane)
        and (order.older_than_s <= 0.0 or outbox.age_s(row.sequence) >= order.older_than_s)
    )
    if gone:
        outbox.purge(gone)
    return gone


def purge_stopped(config: DeviceConfig, order: Purge) -> int:
    """The same for a device that does not run; returns how many rows went.

    Raises:
        ConfigError: the device runs after all.
        TransportError: the disk refuses.
    """
    folder = Path(config.device.state_dir)
    with StateLock(folder):
        outbox = SqliteOutbox(
            folder / OUTBOX_NAME,
            max_bytes=config.delivery.outbox_bytes,
            durability="full",
            retention_s=3600.0 * config.delivery.retention_hours,
        )
        try:
            return len(purge(outbox, order))
        finally:
            outbox.close()
