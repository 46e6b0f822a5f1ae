"""Three days of virtual time on a thin budget: a whole device, with drift, patches, silence and resends.

Everything that crosses the link is weighed outside of the device: what it publishes and what is delivered to
it, each with the overhead that the manual names; connecting and pings, which are only reckoned, come from the
ledger.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from itertools import takewhile

import numpy as np

from edgeadapt.bundle import Bundle
from edgeadapt.wire import (
    Ack,
    Assign,
    Descriptors,
    Metric,
    Outcome,
    Sample,
    SignatureReport,
    Want,
    decode,
    encode,
    topics,
)
from edgeadapt_device.config import BudgetSection, DeliverySection, FlaggingSection, MqttSection
from edgeadapt_device.core.uplink.budget import OVERHEAD_BYTES
from tests.device import rig
from tests.device.rig import COHORT, FLEET, NAME, Rig

HOUR_S, DAY_S, DAYS = 3600.0, 86_400.0, 3
STEP_S = 150.0
BUDGET = BudgetSection(
    bytes_per_hour=14_000, bytes_per_day=110_000, burst_bytes=12_000, debt_bytes=3_000, shift_frames=20
)
# Brightness of the world, each for six hours: it comes back to places where it was.
# An hour in which so many patches come at once as no hour has room for.
FLOOD_HOUR, FLOOD = 31, 12
LEVELS = (1.0, 0.45, 1.0, 0.25, 0.7, 0.45)
DATA = (Sample, Descriptors, SignatureReport, Metric)
DATA_PURPOSES = ("adapt", "ask", "audit", "descriptor", "report")
ROWS = (Sample, Descriptors, SignatureReport, Outcome)


@dataclass
class Link:
    """What crossed, in order: (second, bytes, whether it could have waited)."""

    crossed: list[tuple[float, int, bool]] = field(default_factory=list)

    def within(self, length_s: float, now_s: float) -> int:
        """Bytes of the last so many seconds, up to and with `now_s`."""
        return sum(size_bytes for at_s, size_bytes, _ in self.crossed if now_s - length_s < at_s <= now_s)


class Life:
    """A device, a server that answers most of the time, and the link between them."""

    def __init__(self, bundle: Bundle, seed: int) -> None:
        settings = rig.config(
            budget=BUDGET,
            mqtt=MqttSection(keepalive_s=1200),
            flagging=FlaggingSection(min_drift=0.0, window_frames=20, window_s=1200.0, audit_chance=0.2),
            delivery=DeliverySection(
                resend_s=60.0, resend_max_s=1800.0, descriptors_first="always", descriptor_pause_s=300.0
            ),
        )
        self.rig, self.link, self.bundle = Rig(bundle, settings), Link(), bundle
        self.rng = np.random.default_rng(seed)
        self.samples: list[float] = []
        self.resent = self.serial = self.metrics = 0
        self.states: Counter[str] = Counter()
        self.known: set[int] = set()
        self.told = self.published = 0
        self.weigh()

    @property
    def now_s(self) -> float:
        return self.rig.now.mono_s

    def weigh(self) -> list[object]:
        """Take what the device has published, and hold hour and day against their limits."""
        messages: list[object] = []
        waits = False
        for _, payload, _ in self.rig.device.outgoing():
            message = decode(payload)
            size_bytes, waits_now = len(payload) + OVERHEAD_BYTES, isinstance(message, DATA)
            if isinstance(message, (*DATA, Outcome)):
                self.published += size_bytes
                self.link.crossed.append((self.now_s, size_bytes, waits_now))
            waits |= waits_now
            messages.append(message)
            self._note(message)
        self.told = self._reckoned()
        if waits:
            self._hold()
        return messages

    def _note(self, message: object) -> None:
        if isinstance(message, Sample):
            self.samples.append(self.now_s)
        self.metrics += isinstance(message, Metric)
        if isinstance(message, Outcome):
            self.states[message.state] += 1
        if isinstance(message, ROWS):
            self.resent += message.sequence in self.known
            self.known.add(message.sequence)

    def _reckoned(self) -> int:
        """Bytes of connections, pings and replies, which nobody sees from here; new ones have crossed now."""
        lines = {line.purpose: line for line in self.rig.device.core.view(self.rig.now).ledger}
        up_bytes = lines["control"].bytes_up
        if up_bytes > self.told:
            # A ping is answered.
            self.link.crossed.append((self.now_s, 2 * (up_bytes - self.told), False))
        return up_bytes

    def _hold(self) -> None:
        """Something went that could have waited: but for what could not, hour and day have room for it."""
        at_once = takewhile(lambda crossed: crossed[0] == self.now_s, reversed(self.link.crossed))
        unasked = sum(size_bytes for _, size_bytes, waits in at_once if not waits)
        hour, day = self.link.within(HOUR_S, self.now_s), self.link.within(DAY_S, self.now_s)
        assert hour - unasked <= BUDGET.bytes_per_hour + BUDGET.debt_bytes, f"hour before {self.now_s:.0f} s"
        assert day - unasked <= BUDGET.bytes_per_day, f"day before {self.now_s:.0f} s"

    def deliver(self, topic: str, payload: bytes) -> None:
        self.link.crossed.append((self.now_s, len(topic) + len(payload) + OVERHEAD_BYTES, False))
        self.rig.device.deliver(topic, payload, self.rig.now)

    def answer(self, messages: list[object], share: float) -> None:
        """Acknowledge so large a share of what came, and want every other thing that is announced."""
        while messages:
            for message in messages:
                if not isinstance(message, ROWS) or self.rng.random() >= share:
                    continue
                ack = Ack(outbox=message.outbox, sequences=(message.sequence,))
                self.deliver(topics.down(FLEET, NAME, "ack"), encode(ack))
                if isinstance(message, Descriptors):
                    items = tuple(item.sample for item in message.items)
                    want = Want(outbox=message.outbox, wanted=items[::2], declined=items[1::2])
                    self.deliver(topics.down(FLEET, NAME, "want"), encode(want))
            messages = self.weigh()

    def patch(self) -> None:
        """The cloud assigns the present segment, and offers its cohort another patch."""
        self.serial += 1
        segment = self.rig.device.view(self.rig.now).segment
        assign = Assign(cohort=COHORT, segment=segment, channel="stable", bundle=self.bundle.digest)
        self.deliver(topics.down(FLEET, NAME, "assign"), encode(assign))
        moved = {n: v + np.float32(0.001 * self.serial) for n, v in rig.harmless(self.bundle).items()}
        sealed = rig.sealed(self.bundle, moved, serial=self.serial)
        self.deliver(topics.patch(FLEET, COHORT, "stable"), sealed)
        self.answer(self.weigh(), 0.85)

    def live(self) -> None:
        """All days, frame by frame."""
        worlds = {level: rig.frames(60, seed=7, level=level) for level in set(LEVELS)}
        each = int(HOUR_S / STEP_S)
        for number in range(24 * DAYS * each):
            hour = number // each
            self.rig.wait(STEP_S)
            messages = self.weigh()
            level = LEVELS[(hour // 6) % len(LEVELS)]
            self.rig.device.step(worlds[level][number % 60], self.rig.now)
            messages += self.weigh()
            # The server is away for some hours, and loses a message now and then.
            self.answer(messages, 0.0 if 40 <= hour < 44 else 0.85)
            if number % each == 0 and hour % 6 == 1:
                for _ in range(FLOOD if hour == FLOOD_HOUR else 1):
                    self.patch()


def test_no_hour_and_no_day_of_three_costs_more_than_it_may(tiny: Bundle) -> None:
    """That hour and day hold is asserted whenever something goes that could have waited (`Life.weigh`)."""
    life = Life(tiny, seed=1)
    life.live()
    # All of it has happened: patches were tried and came back, rows went again, samples were asked for.
    assert life.resent > 5
    assert min(life.states[state] for state in ("trial", "confirmed", "reapplied")) > 0
    lines = {line.purpose: line for line in life.rig.device.view(life.rig.now).ledger}
    assert min(lines[purpose].messages for purpose in lines) > 0
    # What the ledger says of data is what was published; metrics pay for their topic as well.
    told = sum(lines[purpose].bytes_up for purpose in DATA_PURPOSES)
    assert life.published <= told <= life.published + 64 * life.metrics
    _samples_stop_and_resume(life)


def _samples_stop_and_resume(life: Life) -> None:
    by_hour, _ = np.histogram(life.samples, bins=24 * DAYS, range=(0.0, DAYS * DAY_S))
    # The day is spent in its first hours, and there again when those are a day old.
    for day in range(DAYS):
        assert by_hour[24 * day : 24 * (day + 1)].sum() > 5, f"day {day}: {by_hour}"
    assert by_hour[12:24].sum() == 0 < by_hour[24:FLOOD_HOUR].sum(), by_hour
    # Patches lift an hour above its limit, and nothing else does: all that can wait waits until it is below.
    flooded_s = (FLOOD_HOUR + 1) * HOUR_S
    assert life.link.within(HOUR_S, flooded_s) > BUDGET.bytes_per_hour + BUDGET.debt_bytes
    assert by_hour[FLOOD_HOUR + 1 : FLOOD_HOUR + 6].sum() == 0 < by_hour[FLOOD_HOUR + 6 :].sum(), by_hour
