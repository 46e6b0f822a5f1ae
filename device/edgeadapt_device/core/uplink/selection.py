"""From judged frames to samples that are paid for: the three lanes, each with an account of its own.

Every frame is offered once. The audit lane draws first, by a chance that was fixed before the frame was
seen; at home it is the only one. What the model knows goes to the adapt lane's window, and when that ends
its best frames are paid for, as many as the lane's account buys. What stays strange is offered apart, as
questions (`ask`).
A price is the most that a sample may cost; encoding stays below it, and the rest comes back (`Budget`).
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np

from edgeadapt.clock import Instant
from edgeadapt.wire import Lane
from edgeadapt_device.config import DeviceConfig
from edgeadapt_device.core.effects import LeftOut, StoreSample
from edgeadapt_device.core.uplink.budget import OVERHEAD_BYTES, Budget
from edgeadapt_device.core.uplink.candidate import Candidate
from edgeadapt_device.core.uplink.costs import Costs
from edgeadapt_device.core.uplink.lanes import AdaptLane, AskLane, AuditLane, Item
from edgeadapt_device.core.uplink.lanes.item import make_item


class Selection:
    """Chooses among the frames of one device.

    Attributes:
        costs: what samples have cost so far.
        flagged: frames chosen since start.
    """

    def __init__(
        self,
        config: DeviceConfig,
        classes: int,
        frame_bytes: int,
        budget: Budget,
        rng: np.random.Generator,
        suppressed: frozenset[int],
    ) -> None:
        """`suppressed` are classes whose frames never leave; raises ConfigError on an unknown policy."""
        self._config, self._budget, self._suppressed = config.flagging, budget, suppressed
        self._enabled = (
            config.mqtt.enabled and config.flagging.enabled and config.privacy.mode != "statistics"
        )
        self._adapt: AdaptLane[Candidate] = AdaptLane(config.flagging, classes, rng)
        self._ask = AskLane()
        self._audit = AuditLane(config.flagging.audit_chance, rng)
        self.costs = Costs(frame_bytes, lambda: budget.spendable_bytes)
        self._budget.accounts.set_dearest(self.costs.dearest_bytes + OVERHEAD_BYTES)
        self._segment_share = config.budget.segment_share
        self._budget.accounts.begin_segment(self._segment_share)
        self.flagged = 0
        # Segment, first and last frame of the window.
        self._window: tuple[int, int, int] | None = None
        self._left_out: list[LeftOut] = []

    def offer(self, frame: Candidate, now: Instant) -> tuple[list[StoreSample], bool]:
        """What is to be stored now, of this frame and of earlier ones; and whether this one is kept."""
        if not self._enabled:
            return [], False
        self._budget.early = frame.early
        self._budget.note(now)
        stores = self._draw(frame, now)
        kept = bool(stores)
        if not stores and not frame.at_home and frame.predicted not in self._suppressed:
            kept = self._show(frame, now)
        chosen = self.close(now) if self._adapt.due(now.mono_s) else []
        if kept and not stores and self._adapt.policy.window_frames <= 1:
            kept = bool(chosen)
        return [*stores, *chosen], kept

    def close(self, now: Instant) -> list[StoreSample]:
        """End the adapt lane's window: pay for the best of it."""
        held = len(self._adapt)
        cost = self.costs.mean_bytes + OVERHEAD_BYTES
        count = max(int(self._budget.choosable_bytes("adapt", now) // cost), 0)
        scarcity = 1.0 - min(count / held, 1.0) if held else 0.0
        stores: list[StoreSample] = []
        for item, frame in self._adapt.close(count):
            price = self._pay("adapt", now)
            if price is None:
                count = len(stores)
                break
            self._adapt.sent(item)
            stores.append(_store(frame, "adapt", price, byte_price=scarcity / cost))
        self.flagged += len(stores)
        if self._window is not None and len(stores) == count < held:
            self._left_out.append(LeftOut(*self._window, held, count))
        self._window = None
        return stores

    def left_out(self) -> list[LeftOut]:
        """Take what is to be told of windows that could not be paid for in full."""
        told, self._left_out = self._left_out, []
        return told

    def new_segment(self, now: Instant) -> list[StoreSample]:
        """Everything in a new domain is new; what is held of the old one is paid for now, or let go."""
        stores = self.close(now)
        self._adapt.new_segment()
        self._budget.accounts.begin_segment(self._segment_share)
        return stores

    def _draw(self, frame: Candidate, now: Instant) -> list[StoreSample]:
        chance = self._audit.draw(lambda: self._chance(now))
        if not chance or frame.predicted in self._suppressed:
            return []
        dearest = self.costs.dearest_bytes
        if not self._budget.take("audit", dearest, now):
            return []
        self.flagged += 1
        return [_store(frame, "audit", dearest, chance=chance)]

    def _chance(self, now: Instant) -> float:
        left = self._budget.choosable_bytes("audit", now)
        full = self._full_bytes("audit")
        return self._audit.chance(left, self.costs.dearest_bytes + OVERHEAD_BYTES, full)

    def _show(self, frame: Candidate, now: Instant) -> bool:
        first = frame.index if self._window is None else self._window[1]
        self._window = (frame.segment, first, frame.index)
        return self._adapt.show(_item(frame), frame.image.nbytes, lambda: _copy(frame), now.mono_s)

    def ask(self, questions: Sequence[Candidate], now: Instant) -> list[StoreSample]:
        """Pay for questions, one frame for each cluster, the most different first, as far as it goes."""
        if not self._enabled:
            return []
        questions = [frame for frame in questions if frame.predicted not in self._suppressed]
        items = [_item(frame) for frame in questions]
        stores: list[StoreSample] = []
        for index in self._ask.order(items):
            price = self._pay("ask", now)
            if price is None:
                break
            self._ask.asked(items[index])
            stores.append(_store(questions[index], "ask", price, hold=True))
        self.flagged += len(stores)
        return stores

    def _pay(self, lane: Lane, now: Instant) -> int | None:
        """Take the price of one sample from a lane's account: what it may cost, in bytes of payload."""
        left = int(self._budget.choosable_bytes(lane, now)) - OVERHEAD_BYTES
        price, least = min(self.costs.price_bytes, left), self.costs.mean_bytes
        if lane == "ask":
            # Where pictures are larger than all that it can save up, a question goes with an embedding alone.
            least = min(least, int(self._full_bytes(lane) / 2))
        if price < least or not self._budget.take(lane, price, now):
            return None
        return price

    def _full_bytes(self, lane: Lane) -> float:
        """What a lane can save up and then spend: an hour may let less of it."""
        return min(self._budget.accounts.full_bytes(lane), float(self._budget.spendable_bytes))


def _item(frame: Candidate) -> Item:
    return make_item(frame.embedding, frame.probabilities, frame.predicted, frame.entropy, frame.decision)


def _copy(frame: Candidate) -> Candidate:
    """To be held: the caller's buffers are its own."""
    embedding = frame.embedding.copy() if frame.embedding is not None else None
    return msgspec.structs.replace(frame, image=frame.image.copy(), embedding=embedding)


def _store(
    frame: Candidate,
    lane: Lane,
    price_bytes: int,
    *,
    chance: float = 0.0,
    byte_price: float = 0.0,
    hold: bool = False,
) -> StoreSample:
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
        chance=chance,
        cluster=frame.cluster if lane == "ask" else 0,
        descriptor=frame.embedding,
        hold=hold,
        members=frame.members if lane == "ask" else 1,
        byte_price=byte_price,
        decision=frame.decision,
    )
