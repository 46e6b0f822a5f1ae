"""What goes up: which frames are worth their bytes, what they cost, and what became of them.

A frame is judged and paid for here, then stored by the driver; the answer to that settles the price, and
`Delivery` sends the row until the server has it. A message that could not be stored is not paid for.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from edgeadapt.bundle.bundle import Bundle
from edgeadapt.clock import Instant
from edgeadapt.wire import Ack, Lane, Want
from edgeadapt_device.config import DeviceConfig
from edgeadapt_device.core.effects import Effect, Forget, FreeHeld, Log, StoreMessage, StoreSample
from edgeadapt_device.core.events import NotStored, Stored
from edgeadapt_device.core.throttle import Throttle, and_more
from edgeadapt_device.core.uplink.asking import Asking
from edgeadapt_device.core.uplink.budget import OVERHEAD_BYTES, Budget
from edgeadapt_device.core.uplink.candidate import Candidate
from edgeadapt_device.core.uplink.delivery import Delivery
from edgeadapt_device.core.uplink.flagging import Flagger
from edgeadapt_device.core.uplink.rows import PendingRow

_ENVELOPE_BYTES = 320  # what a Sample adds to the encoded image, about
_LOG_EVERY_S = 60.0


def _store(frame: Candidate, lane: Lane, price_bytes: int) -> StoreSample:
    return StoreSample(
        image=frame.image,
        segment=frame.segment,
        lane=lane,
        entropy=frame.entropy,
        predicted=frame.predicted,
        generation=frame.generation,
        captured_s=frame.captured_s,
        price_bytes=price_bytes,
        frame=frame.index,
        verdict=frame.decision.verdict,
        p_value=frame.decision.p_value,
        descriptor=frame.embedding,
        hold=lane == "ask",
    )


class Uploads:
    """The way up, with its budget.

    Attributes:
        flagged: frames chosen since start.
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
    ) -> None:
        """`frame_bytes` is the size of a raw frame; `pending` are rows of an earlier process.

        `bundle` is what descriptors are made under.
        """
        self._config, self._outbox = config, outbox
        self.budget = Budget(config.budget)
        self.delivery = Delivery(config.delivery, rng, tuple(row for row in pending if not row.held))
        self.asking = Asking(config.delivery, bundle, pending)
        self._flagger = Flagger(config.flagging, classes, rng)
        # A raw frame is a bad guess at its PNG; one that would never be affordable is not believed.
        most = max(config.budget.burst_bytes // 2 - OVERHEAD_BYTES, 1)
        self._taught = frame_bytes + _ENVELOPE_BYTES <= most
        self._sample_bytes = float(min(frame_bytes + _ENVELOPE_BYTES, most))
        self._too_large = Throttle(_LOG_EVERY_S)
        self.flagged = self.uploaded = 0

    def new_segment(self) -> None:
        """Everything in a new domain is new."""
        self._flagger.new_segment()

    def offer(self, frame: Candidate, now: Instant) -> list[Effect]:
        """Judge a frame and pay for it; what is worth its bytes is to be made durable."""
        if not self._config.mqtt.enabled:
            return []
        lane = self._flagger.judge(frame.probabilities, frame.entropy, at_home=frame.at_home)
        if lane is None:
            return []
        price = self.budget.price(int(self._sample_bytes), early=frame.early)
        if not self.budget.take(price, now, early=frame.early):
            return []
        self.flagged += 1
        self._flagger.keep(lane, frame.probabilities)
        return [_store(frame, lane, price)]

    def stored(self, event: Stored, now: Instant) -> None:
        """A message is durable: settle its price, and send it when it is its turn, or is wanted."""
        row = PendingRow(event.sequence, event.kind, event.size_bytes, event.lane, event.waiting)
        if event.kind == "sample":
            self._learn(event.size_bytes)
        if row.held:
            # Its picture is paid for when it is wanted, and sent.
            self.budget.refund(event.price_bytes)
            self.asking.add(row, now)
            return
        if event.kind == "sample":
            self.budget.settle(event.price_bytes, event.size_bytes)
        elif event.announces:
            self.asking.announced(event.sequence, event.announces)
        self.delivery.add(row)

    def not_stored(self, event: NotStored, now: Instant) -> list[Effect]:
        """A message is lost; what a sample has cost comes back."""
        if event.kind == "sample":
            self.budget.refund(event.price_bytes)
        if not event.too_large:
            return []
        if event.kind == "sample":
            self._learn(event.size_bytes)
        held = self._too_large.admit(now)
        if held is None:
            return []
        return [Log(f"a {event.kind} of {event.size_bytes} bytes is too large to be sent{and_more(held)}")]

    def _learn(self, size_bytes: int) -> None:
        share = 0.05 if self._taught else 1.0
        self._taught = True
        self._sample_bytes += share * (size_bytes - self._sample_bytes)

    def change_outbox(self, outbox: str, pending: tuple[PendingRow, ...]) -> None:
        """All rows are in another outbox from here on, and their old sequences mean nothing any more."""
        self._outbox = outbox
        self.delivery.restart(tuple(row for row in pending if not row.held))
        self.asking.restart(pending)

    def connect(self, max_packet_bytes: int, now: Instant) -> None:
        """A connection is there."""
        self.delivery.connect(max_packet_bytes, now)
        self.asking.connect(max_packet_bytes, now)

    def disconnect(self, now: Instant) -> None:
        """The connection is gone."""
        self.delivery.disconnect(now)
        self.asking.disconnect(now)

    def answer(self, want: Want) -> list[Effect]:
        """The server wants some held rows, and others not; an answer about another outbox is ignored."""
        if want.outbox != self._outbox:
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
        if ack.outbox != self._outbox:
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
