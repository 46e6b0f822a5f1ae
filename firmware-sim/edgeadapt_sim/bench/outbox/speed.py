"""How fast the outbox is, how large on the disk, and how soon it is back after `kill -9`.

Each round of each kind has a process of its own (this module, run as a script): it stores its messages, says
how long that took, and kills itself. What it leaves is opened, read and acknowledged here. The kinds take
turns, so that whatever disturbs the machine disturbs all alike.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from edgeadapt.digest import sha256_hex
from edgeadapt.errors import TransportError
from edgeadapt.wire import Sample
from edgeadapt_device.io.outbox.sqlite import SqliteOutbox
from edgeadapt_sim.bench.outbox.plan import Durability, OutboxPlan, Speed

#: (durability, whether deleted rows are overwritten, as they are with a retention).
KINDS: tuple[tuple[Durability, bool], ...] = (("normal", True), ("normal", False), ("full", True))
_ACKED_TOGETHER = 16
_RETENTION_S = 720 * 3600.0


def run_speed(plan: OutboxPlan, folder: Path, on_done: Callable[[str], None]) -> tuple[Speed, ...]:
    """All rounds of all kinds, in folders of their own; raises TransportError when a process fails."""
    found = []
    for number in range(plan.rounds):
        for durability, secure in KINDS:
            here = folder / f"{durability}-{secure}-{number}"
            here.mkdir(parents=True)
            found.append(_round(plan, durability, here, secure=secure))
            on_done(f"round {number + 1}, {durability}{', overwriting' if secure else ''}")
    return tuple(found)


def _round(plan: OutboxPlan, durability: Durability, folder: Path, *, secure: bool) -> Speed:
    path = folder / "outbox.sqlite"
    words = [str(path), durability, str(int(secure)), str(plan.rows), str(plan.payload_bytes)]
    done = subprocess.run(
        [sys.executable, "-m", __name__, *words], capture_output=True, check=False, text=True
    )
    if done.returncode != -signal.SIGKILL:
        raise TransportError(f"storing {plan.rows} messages failed:\n{done.stderr[-800:]}")
    disk_bytes = sum(part.stat().st_size for part in folder.iterdir() if not part.name.endswith("-shm"))
    began = time.perf_counter()
    outbox = _opened(path, durability, secure=secure)
    rows = outbox.pending()
    recovery_s = time.perf_counter() - began
    numbers = [row.sequence for row in rows]
    began = time.perf_counter()
    for first in range(0, len(numbers), _ACKED_TOGETHER):
        outbox.forget(tuple(numbers[first : first + _ACKED_TOGETHER]))
    acks_s = time.perf_counter() - began
    outbox.close()
    return Speed(
        durability=durability,
        secure_delete=secure,
        inserts_per_s=plan.rows / float(done.stdout),
        acks_per_s=len(numbers) / acks_s,
        disk_bytes_per_message=disk_bytes / plan.rows,
        recovery_s=recovery_s,
        recovered=len(rows),
    )


def _opened(path: Path, durability: Durability, *, secure: bool) -> SqliteOutbox:
    return SqliteOutbox(
        path, max_bytes=1 << 40, durability=durability, retention_s=_RETENTION_S if secure else 0.0
    )


def noise_sample(rng: np.random.Generator, size: int) -> Sample:
    """A sample whose picture is `size` bytes of noise."""
    data = rng.bytes(size)
    return Sample(
        outbox="",
        sequence=0,
        segment=0,
        lane="adapt",
        codec="raw",
        height=1,
        width=size,
        channels=1,
        data=data,
        sha256=sha256_hex(data),
        entropy=float(rng.uniform(0.1, 2.0)),
        predicted=0,
        generation="base",
        captured_s=0.0,
    )


def main(words: list[str]) -> None:
    """Store messages, print the seconds that took, and die."""
    durability: Durability = "full" if words[1] == "full" else "normal"
    rng = np.random.default_rng(1)
    samples = [noise_sample(rng, int(words[4])) for _ in range(int(words[3]))]
    outbox = _opened(Path(words[0]), durability, secure=words[2] == "1")
    began = time.perf_counter()
    for sample in samples:
        outbox.store(sample)
    sys.stdout.write(f"{time.perf_counter() - began}\n")
    sys.stdout.flush()
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    main(sys.argv[1:])
