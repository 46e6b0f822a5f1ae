"""What crossed each device's link and what became of patches, from the messages themselves.

Pure: `Ledger.take` is given every message of the fleet, as an observer on the broker sees it. A cohort's
patch counts for every device that listens to its topic, and once more for a device that begins to
listen while it is retained. Bytes are topic plus payload. Not here: the connection (`observer`).
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from edgeadapt.errors import WireError
from edgeadapt.wire import Assign, Outcome, decode
from edgeadapt.wire.topics import CloudTopic, PatchTopic, patch, split


@dataclass(frozen=True, slots=True)
class Told:
    """A device's word on a patch."""

    device: str
    outcome: Outcome


class Ledger:
    """Bytes per device and the outcomes of patches. `foreign` counts messages that are not ours."""

    def __init__(self) -> None:
        self.bytes_up: Counter[str] = Counter()
        self.bytes_down: Counter[str] = Counter()
        self.cohort_of: dict[str, str] = {}
        self.foreign = 0
        self._listens: dict[str, set[str]] = {}
        self._retained: dict[str, int] = {}

    def take(self, topic: str, payload: bytes) -> Told | None:
        """Count one message; returns what a device said about a patch, if it is that."""
        size = len(topic) + len(payload)
        try:
            where = split(topic)
            if isinstance(where, PatchTopic):
                self._patch(topic, size)
                return None
            if isinstance(where, CloudTopic):
                return None  # the service's status, which no device's bytes depend on
            if where.direction == "up":
                self.bytes_up[where.device] += size
            else:
                self.bytes_down[where.device] += size
            return self._read(where.fleet, where.device, where.kind, payload)
        except WireError:
            self.foreign += 1
            return None

    def _patch(self, topic: str, size: int) -> None:
        self._retained[topic] = size
        for device, topics in self._listens.items():
            if topic in topics:
                self.bytes_down[device] += size

    def _read(self, fleet: str, device: str, kind: str, payload: bytes) -> Told | None:
        if kind == "outcome":
            message = decode(payload)
            return Told(device, message) if isinstance(message, Outcome) else None
        if kind == "assign":
            message = decode(payload)
            if isinstance(message, Assign):
                self._assign(fleet, device, message)
        return None

    def _assign(self, fleet: str, device: str, message: Assign) -> None:
        channels = {"stable", message.channel}
        topics = {patch(fleet, message.cohort, channel) for channel in channels}
        heard = self._listens.setdefault(device, set())
        self.bytes_down[device] += sum(self._retained.get(topic, 0) for topic in topics - heard)
        heard |= topics
        self.cohort_of[device] = message.cohort
