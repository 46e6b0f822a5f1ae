"""Application acknowledgements, collected per outbox and sent in batches.

Invariant: only what was committed is ever added, so a device that forgets an acknowledged message
loses nothing.
"""

from __future__ import annotations

from edgeadapt.clock import Instant
from edgeadapt.wire import Ack, encode
from edgeadapt.wire.topics import down
from edgeadapt_cloud.core.effects import Publish
from edgeadapt_cloud.core.rows import Origin

BATCH = 256


class AckBatcher:
    """Collects for `delay_s`, or until one outbox has BATCH sequences."""

    def __init__(self, fleet: str, delay_s: float) -> None:
        self._fleet = fleet
        self._delay_s = delay_s
        self._waiting: dict[tuple[str, str], list[int]] = {}
        self._due_mono_s: float | None = None

    @property
    def due_mono_s(self) -> float | None:
        """When `flush` should be called, or None when nothing waits."""
        return self._due_mono_s

    def add(self, origin: Origin, now: Instant) -> list[Publish]:
        """Note that a message was committed; returns a full batch at once."""
        key = (origin.device, origin.outbox)
        waiting = self._waiting.setdefault(key, [])
        waiting.append(origin.sequence)
        if self._due_mono_s is None:
            self._due_mono_s = now.mono_s + self._delay_s
        if len(waiting) < BATCH:
            return []
        del self._waiting[key]
        return [self._publish(*key, waiting)]

    def flush(self, now: Instant) -> list[Publish]:
        """Everything that waits, when it is due."""
        if self._due_mono_s is None or now.mono_s < self._due_mono_s:
            return []
        self._due_mono_s = None
        waiting, self._waiting = self._waiting, {}
        return [self._publish(device, outbox, rows) for (device, outbox), rows in waiting.items()]

    def _publish(self, device: str, outbox: str, sequences: list[int]) -> Publish:
        ack = Ack(outbox=outbox, sequences=tuple(sequences))
        return Publish(down(self._fleet, device, "ack"), encode(ack), retain=False)
