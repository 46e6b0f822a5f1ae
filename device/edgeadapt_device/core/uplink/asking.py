"""Samples that wait on the device until the server wants them: descriptor -> want -> sample.

A held sample is a durable row of the outbox that is not sent. Those that are new are announced together, as
one `Descriptors` message for each segment and generation, which is a row like any other: stored, and sent
until the server has it. The server answers with `Want`: what it wants joins `Delivery`, what it declines is
forgotten. Its answer may be lost: after `want_wait_s` it is asked once more, and after as long again without
a word the configuration says whether the sample is sent all the same or dropped. The wait begins when the
server has acknowledged the descriptors, and stands still without a connection.

After a restart the outbox says what is held, and what of it was announced. Not here: whether a frame is worth
anything (`lanes`), and what a picture costs (`Delivery` pays for a wanted one when it is sent).
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, field

from edgeadapt.bundle.bundle import Bundle
from edgeadapt.clock import Instant
from edgeadapt.descriptor import Describer, pack
from edgeadapt.tensors import FloatArray
from edgeadapt.wire import DescriptorItem, Descriptors, Lane, Want
from edgeadapt_device.config import DeliverySection
from edgeadapt_device.core.deadlines import Deadlines
from edgeadapt_device.core.uplink.rows import PendingRow, Waiting

#: What one announced sample adds to a message, about (64 bytes of it are the vector).
ITEM_BYTES = 220
#: A picture that costs no more than this many items is sent without asking.
WORTH_ASKING = 8
#: Items in a message, at most: the server takes no more.
MOST_ITEMS = 256
_HEAD_BYTES = 512
_ASKED_AT_MOST = 2


@dataclass(slots=True)
class _Held:
    row: PendingRow
    waiting: Waiting
    since_mono_s: float
    asked: int = 0
    #: The row of descriptors that announces it, while the server has not acknowledged that.
    via: int | None = None


@dataclass(slots=True)
class Asked:
    """What follows from the time: messages to store, rows to send unasked, rows to forget, and why."""

    announce: list[Descriptors] = field(default_factory=list)
    send: list[PendingRow] = field(default_factory=list)
    unanswered: list[int] = field(default_factory=list)
    too_large: list[int] = field(default_factory=list)


class Asking:
    """The held rows of one device."""

    def __init__(
        self, config: DeliverySection, bundle: Bundle | None, pending: Iterable[PendingRow] = ()
    ) -> None:
        """Go on with the held rows among those that an earlier process left; without a bundle none is new."""
        self._config = config
        self._bundle = bundle.digest if bundle is not None else ""
        self._describer = Describer(bundle.calibration.prototypes) if bundle is not None else None
        self._connected = False
        self._max_packet_bytes = 0
        self._away_since_s: float | None = None
        self.restart(pending)

    def __len__(self) -> int:
        """Rows that are held."""
        return len(self._fresh) + len(self._announced)

    def restart(self, pending: Iterable[PendingRow]) -> None:
        """Forget all rows, and begin with the held ones of these."""
        # The one that has waited longest comes first.
        self._fresh: OrderedDict[int, _Held] = OrderedDict()
        self._announced: dict[int, _Held] = {}
        # When an answer about an announced one is overdue.
        self._overdue = Deadlines()
        self._open: dict[int, tuple[int, ...]] = {}
        for row in pending:
            if row.waiting is not None:
                held = _Held(row, row.waiting, -math.inf, asked=int(row.announced))
                (self._announced if row.announced else self._fresh)[row.sequence] = held

    def worthwhile(self, lane: Lane, size_bytes: int) -> bool:
        """Whether a sample of this lane and size is held; one for the audit, not to be chosen, never is."""
        policy = self._config.descriptors_first
        if policy == "never" or lane == "audit":
            return False
        return policy == "always" or lane == "ask" or size_bytes > WORTH_ASKING * ITEM_BYTES

    def vector(self, lane: Lane, embedding: FloatArray | None, size_bytes: int) -> bytes | None:
        """What is told of a sample that is to be held; None for one that is to be sent at once.

        Without an embedding [D], or with one that is alike to nothing, nobody could say whether it is wanted.
        """
        if embedding is None or self._describer is None or not self.worthwhile(lane, size_bytes):
            return None
        vector = self._describer.describe(embedding)
        return pack(vector) if vector.any() else None

    def add(self, row: PendingRow, now: Instant) -> None:
        """A row became durable, and is held."""
        if row.waiting is not None:
            self._fresh[row.sequence] = _Held(row, row.waiting, now.mono_s)

    def announced(self, descriptors: int, samples: tuple[int, ...]) -> None:
        """A message about these rows is durable under the sequence `descriptors`."""
        self._open[descriptors] = samples
        for held in self._those(samples):
            held.via = descriptors
            self._overdue.drop(held.row.sequence)

    def delivered(self, sequences: Iterable[int], now: Instant) -> None:
        """Rows left the outbox: if they were descriptors, the wait for an answer begins."""
        for sequence in sequences:
            for held in self._those(self._open.pop(sequence, ())):
                if held.via == sequence:
                    held.via = None
                    self._overdue.set(held.row.sequence, now.mono_s + self._config.want_wait_s)

    def connect(self, max_packet_bytes: int, now: Instant) -> None:
        """A connection is there: waits go on, those of an earlier process begin."""
        away_s = now.mono_s - self._away_since_s if self._away_since_s is not None else 0.0
        self._connected, self._max_packet_bytes, self._away_since_s = True, max_packet_bytes, None
        self._overdue.shift(away_s)
        for sequence, held in self._announced.items():
            if held.via is None and sequence not in self._overdue:
                self._overdue.set(sequence, now.mono_s + self._config.want_wait_s)

    def disconnect(self, now: Instant) -> None:
        """Nobody can answer."""
        if self._connected:
            self._away_since_s = now.mono_s
        self._connected = False

    def answer(self, want: Want) -> tuple[tuple[PendingRow, ...], tuple[int, ...]]:
        """(rows that are wanted, sequences to forget); what is not held (any more) is ignored."""
        declined = tuple(s for s in dict.fromkeys(want.declined) if self._pop(s) is not None)
        wanted = [held for s in want.wanted if (held := self._pop(s)) is not None]
        return tuple(freed(held.row) for held in wanted), declined

    def forget(self, sequences: Iterable[int]) -> None:
        """These rows are gone from the outbox."""
        for sequence in sequences:
            self._pop(sequence)

    def pump(self, now: Instant) -> Asked:
        """What is due: the next announcement, and what becomes of rows that nobody spoke of."""
        asked = Asked()
        if not self._connected:
            return asked
        again: list[tuple[int, _Held]] = []
        for sequence in self._overdue.due(now.mono_s):
            held = self._announced.pop(sequence)
            if held.asked < _ASKED_AT_MOST:
                held.since_mono_s = -math.inf
                again.append((sequence, held))
            elif self._config.unanswered == "send":
                asked.send.append(freed(held.row))
            else:
                asked.unanswered.append(sequence)
        if again:
            self._fresh = OrderedDict([*again, *self._fresh.items()])
        if self._fresh and now.mono_s >= self._announce_mono_s():
            asked.too_large += self._too_large()
            asked.announce += self._announce(now)
        return asked

    def next_deadline(self) -> float | None:
        """Monotonic second of the next announcement, or at which an answer is overdue."""
        if not self._connected:
            return None
        due = (self._overdue.first, self._announce_mono_s() if self._fresh else None)
        return min((max(at_s, 0.0) for at_s in due if at_s is not None), default=None)

    def _announce_mono_s(self) -> float:
        if len(self._fresh) >= self._config.descriptor_items:
            return -math.inf
        return next(iter(self._fresh.values())).since_mono_s + self._config.descriptor_pause_s

    def _too_large(self) -> list[int]:
        """Held rows that the broker would never take."""
        limit = self._max_packet_bytes
        gone = [s for s, h in self._fresh.items() if limit and h.row.size_bytes + _HEAD_BYTES > limit]
        self.forget(gone)
        return gone

    def _announce(self, now: Instant) -> list[Descriptors]:
        groups: dict[tuple[int, str], list[DescriptorItem]] = {}
        for sequence, held in self._fresh.items():
            key = (held.waiting.segment, held.waiting.generation)
            groups.setdefault(key, []).append(held.waiting.item)
            # Should the message not become durable, it is made again then.
            held.asked += 1
            self._announced[sequence] = held
            self._overdue.set(sequence, now.mono_s + self._config.want_wait_s)
        self._fresh.clear()
        most = MOST_ITEMS
        if self._max_packet_bytes:
            most = min(most, max((self._max_packet_bytes - _HEAD_BYTES) // ITEM_BYTES, 1))
        return [
            Descriptors(
                outbox="",
                sequence=0,
                bundle=self._bundle,
                segment=segment,
                generation=generation,
                items=tuple(items[first : first + most]),
            )
            for (segment, generation), items in groups.items()
            for first in range(0, len(items), most)
        ]

    def _those(self, sequences: Iterable[int]) -> list[_Held]:
        return [held for s in sequences if (held := self._announced.get(s)) is not None]

    def _pop(self, sequence: int) -> _Held | None:
        self._overdue.drop(sequence)
        return self._announced.pop(sequence, None) or self._fresh.pop(sequence, None)


def freed(row: PendingRow) -> PendingRow:
    """The row as one to be sent."""
    return PendingRow(row.sequence, row.kind, row.size_bytes, row.lane)
