"""What goes up: which frames are worth their bytes, what they cost, and what became of them.

`Selection` chooses and pays; the driver encodes and stores, and the answer to that settles the price;
`Delivery` sends the row, as the budget allows, until the server has it. A message that could not be stored
is not paid for.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from edgeadapt.bundle.bundle import Bundle
from edgeadapt.clock import Instant
from edgeadapt.wire import Ack, Lane, Want
from edgeadapt_device.config import DeviceConfig
from edgeadapt_device.core.effects import (
    Effect,
    Forget,
    FreeHeld,
    Log,
    PublishNow,
    StoreMessage,
    StoreSample,
    Subscribe,
    Unsubscribe,
)
from edgeadapt_device.core.events import NotStored, Stored
from edgeadapt_device.core.throttle import Throttle, and_more
from edgeadapt_device.core.uplink.asking import Asking
from edgeadapt_device.core.uplink.budget import OVERHEAD_BYTES, Budget
from edgeadapt_device.core.uplink.candidate import Candidate
from edgeadapt_device.core.uplink.delivery import Delivery
from edgeadapt_device.core.uplink.ledger import lane_of
from edgeadapt_device.core.uplink.link import Link
from edgeadapt_device.core.uplink.rows import PendingRow
from edgeadapt_device.core.uplink.selection import Selection

_LOG_EVERY_S = 60.0
# SUBSCRIBE and SUBACK, each in a TLS record and a segment, without the topic.
_SUBSCRIBE_BYTES, _SUBACK_BYTES = 110, 110


class Uploads:
    """The way up, with its budget.

    Attributes:
        uploaded: samples that the server acknowledged since start.
    """

    def __init__(
        self,
        config: DeviceConfig,
        classes: int,
        frame_bytes: int,
        *,
        rng: np.random.Generator,
        outbox: str,
        pending: tuple[PendingRow, ...],
        bundle: Bundle | None = None,
        suppressed: frozenset[int] = frozenset(),
    ) -> None:
        """`frame_bytes` is the size of a raw frame; `pending` are rows of an earlier process.

        `bundle` is what descriptors are made under, `suppressed` the classes whose frames never leave.
        """
        self._config, self.outbox = config, outbox
        flagging = config.flagging
        shares: dict[Lane, float] = {
            "adapt": flagging.adapt_share,
            "ask": flagging.ask_share,
            "audit": flagging.audit_share,
        }
        self.budget = Budget(config.budget, shares)
        self.delivery = Delivery(config.delivery, rng, tuple(row for row in pending if not row.held))
        self.asking = Asking(config.delivery, bundle, pending)
        self._selection = Selection(config, classes, frame_bytes, self.budget, rng, suppressed)
        self._link = Link(self.budget, config.mqtt)
        self._too_large = Throttle(_LOG_EVERY_S)
        self._chosen: list[Effect] = []
        self._offered: Instant | None = None
        self.uploaded = 0

    @property
    def flagged(self) -> int:
        """Frames chosen since start."""
        return self._selection.flagged

    def new_segment(self, now: Instant) -> None:
        """Everything in a new domain is new; what was held of the old one goes out with what comes next."""
        self._chosen += self._selection.new_segment(now)
        self._chosen += self._selection.left_out()

    def flush(self) -> list[Effect]:
        """The end: what is held is chosen from now, or never."""
        chosen, self._chosen = self._chosen, []
        if self._offered is None:
            return chosen
        return [*chosen, *self._selection.close(self._offered), *self._selection.left_out()]

    def count(self, effects: Iterable[Effect], now: Instant) -> None:
        """Count what goes out beside the outbox; a metric is paid for where it is made."""
        for effect in effects:
            match effect:
                case PublishNow(topic, payload) if not topic.endswith("/metric"):
                    self.budget.control(len(topic) + len(payload) + OVERHEAD_BYTES, 0, now)
                case Subscribe(topic) | Unsubscribe(topic):
                    self.budget.control(len(topic) + _SUBSCRIBE_BYTES, _SUBACK_BYTES, now)

    def offer(self, frame: Candidate, now: Instant) -> tuple[list[Effect], bool]:
        """Judge a frame: samples to be made durable, of it or of earlier ones; and whether it is kept.

        A frame that is kept may go to the cloud, now or when its window ends.
        """
        chosen, self._chosen, self._offered = self._chosen, [], now
        stores, kept = self._selection.offer(frame, now)
        return [*chosen, *stores, *self._selection.left_out()], kept

    def ask(self, questions: Sequence[Candidate], now: Instant) -> list[StoreSample]:
        """Those of the questions that are to be made durable: there are bytes for them."""
        return self._selection.ask(questions, now)

    def stored(self, event: Stored, now: Instant) -> None:
        """A message is durable: settle its price, and send it when it is its turn, or is wanted."""
        row = PendingRow(event.sequence, event.kind, event.size_bytes, event.lane, event.waiting)
        lane = lane_of(event.lane)
        if event.kind == "sample":
            # Of what pictures cost: an embedding in the place of one says that they are dear, not cheap.
            self._selection.costs.learn(max(event.size_bytes, event.picture_bytes))
        if row.held:
            # Its picture is paid for when it is wanted, and sent.
            self.budget.refund(lane, event.price_bytes)
            self.asking.add(row, now)
            return
        if event.kind == "sample":
            self.budget.settle(lane, event.price_bytes, event.size_bytes)
        elif event.announces:
            self.asking.announced(event.sequence, event.announces)
        self.delivery.add(row)

    def not_stored(self, event: NotStored, now: Instant) -> list[Effect]:
        """A message is lost; what a sample has cost comes back."""
        if event.kind == "sample":
            self.budget.refund(lane_of(event.lane), event.price_bytes)
            # Larger than what was paid, or than what can be sent at all: the next one is to pay more.
            self._selection.costs.learn(event.size_bytes)
        if not event.too_large:
            return []
        held = self._too_large.admit(now)
        if held is None:
            return []
        return [Log(f"a {event.kind} of {event.size_bytes} bytes is too large to be sent{and_more(held)}")]

    def change_outbox(self, outbox: str, pending: tuple[PendingRow, ...]) -> None:
        """All rows are in another outbox from here on, and their old sequences mean nothing any more."""
        self.outbox = outbox
        self.delivery.restart(tuple(row for row in pending if not row.held))
        self.asking.restart(pending)

    def connect(self, max_packet_bytes: int, now: Instant) -> None:
        """A connection is there."""
        self._link.connect(now)
        self.delivery.connect(max_packet_bytes, now)
        self.asking.connect(max_packet_bytes, now)

    def disconnect(self, now: Instant) -> None:
        """The connection is gone."""
        self.delivery.disconnect(now)
        self.asking.disconnect(now)

    def answer(self, want: Want) -> list[Effect]:
        """The server wants some held rows, and others not; an answer about another outbox is ignored."""
        if want.outbox != self.outbox:
            return []
        wanted, declined = self.asking.answer(want)
        forget: list[Effect] = [Forget(declined)] if declined else []
        return [*forget, *self._free(wanted)]

    def _free(self, rows: Iterable[PendingRow]) -> list[Effect]:
        """Held rows are to be sent from here on."""
        sequences = []
        for row in rows:
            self.delivery.add(row, unpaid=True)
            sequences.append(row.sequence)
        return [FreeHeld(tuple(sequences))] if sequences else []

    def acknowledge(self, ack: Ack, now: Instant) -> list[Effect]:
        """The server has rows; acknowledgements for another outbox are ignored."""
        if ack.outbox != self.outbox:
            return []
        known = self.delivery.acknowledge(ack.sequences)
        self.uploaded += sum(row.kind == "sample" for row in known)
        self.asking.delivered((row.sequence for row in known if row.kind == "descriptor"), now)
        return [Forget(tuple(row.sequence for row in known))] if known else []

    def dropped(self, sequences: tuple[int, ...], reason: str, now: Instant) -> list[Effect]:
        """The outbox let rows go."""
        self._gone(sequences, now)
        full = f"the outbox is full: {len(sequences)} messages of least value were dropped"
        return [Log(f"{len(sequences)} messages were dropped: {reason}" if reason else full)]

    def _gone(self, sequences: tuple[int, ...], now: Instant) -> None:
        self.delivery.forget(sequences)
        self.asking.forget(sequences)
        self.asking.delivered(sequences, now)

    def send(self, now: Instant) -> list[Effect]:
        """What goes out now."""
        if self.delivery.connected:
            self._link.tick(now)
        asked = self.asking.pump(now)
        effects: list[Effect] = [StoreMessage(message) for message in asked.announce]
        effects += self._free(asked.send)
        sending = self.delivery.pump(now, self.budget)
        effects += sending.publish
        for sequences, why in (
            (tuple(asked.unanswered), "the server never said whether it wants them"),
            (tuple(asked.too_large), "larger than the broker allows"),
            (sending.too_large, "larger than the broker allows"),
            (sending.ignored, "not answered by the server, which answers others"),
        ):
            if sequences:
                self._gone(sequences, now)
                effects += [Forget(sequences), Log(f"{len(sequences)} messages were dropped: {why}")]
        return effects

    def next_deadline(self) -> float | None:
        """Monotonic second at which something is due."""
        due = (self.delivery.next_deadline(), self.asking.next_deadline())
        return min((at for at in due if at is not None), default=None)
