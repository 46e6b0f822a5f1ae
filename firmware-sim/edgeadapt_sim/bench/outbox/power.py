"""Power cuts, as far as they can be played without pulling a plug.

A disk that honours fsync shows after a cut everything that was written before the last fsync, and any part of
what came after. So the database and its WAL are copied while the outbox is open, the WAL's end beyond the
last fsync is cut off somewhere or overwritten with noise, and the copy is opened as the next process would.
Under durability "full" every stored message is before the last fsync; under "normal" the sequences that it
reserved are, and the messages may be lost. A disk that lies about fsync is not played.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np

from edgeadapt_device.io.outbox.sqlite import SqliteOutbox
from edgeadapt_sim.bench.outbox.plan import Durability, OutboxPlan, PowerCut
from edgeadapt_sim.bench.outbox.speed import noise_sample

_MOST_STORED = 20
_TORN_SHARE = 0.7
_NOISE_BYTES = 512


def run_power(
    plan: OutboxPlan, durability: Durability, folder: Path, on_done: Callable[[str], None]
) -> PowerCut:
    """`plan.cuts` cuts of one outbox, which goes on after each."""
    rng, path = np.random.default_rng(plan.seed), folder / f"{durability}.sqlite"
    folder.mkdir(parents=True, exist_ok=True)
    torn = opened = lost = reused = most = 0
    for number in range(plan.cuts):
        outbox = SqliteOutbox(path, durability=durability, retention_s=1e6)
        tear = bool(rng.random() < _TORN_SHARE)
        durable, last, floor = _use(outbox, path, rng, durability)
        copy = _copy(path, folder / f"{durability}-cut", rng, floor if tear else None)
        torn += tear
        after = SqliteOutbox(copy, durability=durability, report=lambda text: None)
        found = {row.sequence for row in after.pending() if after.payload(row.sequence) is not None}
        opened += after.outbox_id == outbox.outbox_id
        gone = durable - found
        if durability == "full" or not tear:
            lost += len(gone)
        most = max(most, len(gone))
        reused += after.store(noise_sample(rng, 10)).sequence <= last
        after.close()
        outbox.close()
        on_done(f"{durability}: power cut {number + 1}")
    return PowerCut(
        durability=durability,
        cuts=plan.cuts,
        torn=torn,
        opened=opened,
        lost_durable=lost,
        reused=reused,
        most_lost=most,
    )


def _use(
    outbox: SqliteOutbox, path: Path, rng: np.random.Generator, durability: Durability
) -> tuple[set[int], int, int]:
    """Store and acknowledge; (sequences that are durable, the last one given out, WAL bytes before a cut).

    A last message is stored beyond them: under "full" the cut falls into that one's transaction.
    """
    wal = path.with_name(path.name + "-wal")
    last = outbox.store(noise_sample(rng, 9000)).sequence
    floor = wal.stat().st_size
    for _ in range(int(rng.integers(1, _MOST_STORED))):
        last = outbox.store(noise_sample(rng, int(rng.integers(100, 20_000)))).sequence
    acked = tuple(row.sequence for row in outbox.pending() if rng.random() < 0.5)
    outbox.forget(acked)
    durable = {row.sequence for row in outbox.pending()}
    if durability == "full":
        floor = wal.stat().st_size
    last = outbox.store(noise_sample(rng, 9000)).sequence
    return durable, last, floor


def _copy(path: Path, copy: Path, rng: np.random.Generator, floor: int | None) -> Path:
    """Database and WAL as they are now, or with the WAL torn somewhere behind its first `floor` bytes."""
    for suffix in ("", "-wal", "-shm"):
        copy.with_name(copy.name + suffix).unlink(missing_ok=True)
    shutil.copy(path, copy)
    data = bytearray(path.with_name(path.name + "-wal").read_bytes())
    if floor is not None and len(data) > floor:
        place = int(rng.integers(floor, len(data)))
        if rng.random() < 0.5:
            del data[place:]
        else:
            noise = rng.bytes(_NOISE_BYTES)[: len(data) - place]
            data[place : place + len(noise)] = noise
    copy.with_name(copy.name + "-wal").write_bytes(data)
    return copy
