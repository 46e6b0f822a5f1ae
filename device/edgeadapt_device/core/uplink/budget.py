"""The byte budget: what may be chosen for sending, and what may be sent.

All that crosses the link counts, both ways, with what MQTT, TCP and TLS add, in a sliding hour and a
sliding day. There are two gates. *Choosing*: each lane has an account (`accounts`), so that no more is put
into the outbox than will be affordable. *Sending*: a row goes out only while hour and day have room for all
of it; resends count like everything else. There is no overdraft by data:

    samples, descriptors     stop a little below the limits, adapt and ask below the audit lane's share too
    reports, metrics         may use that last bit; then they wait, durable, or are left out
    control, what comes down always counts and is never held back: outcomes (a rollout waits for them), birth,
                             subscriptions, acknowledgements, pings, patches. It alone can lift an hour above
                             its limit, and all else waits
    noise                    what comes down and is garbage, refused or for somebody else: a share of hour and
                             day at most, or whoever can publish it could silence the device. The ledger has
                             all of it

Early in a segment up to `debt_bytes` are borrowed from the hours to come: that hour may cost so much more,
and the bucket, which fills at the hourly rate, pays back before anything but young segments spends again.

Time is the device's own running clock, which a restart continues by the part of the monotonic clock that
surely went by; the wall clock is not read. So a clock that jumps, or a restart, grants nothing. Moments are
only noted (`note`); the income of the time since is credited when a question is asked, in one piece, which
comes to the same as in many. What is spent between two commits is covered by `ahead_bytes` in the committed
record: an unclean restart takes those as spent.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from edgeadapt.clock import Instant
from edgeadapt.wire import Lane
from edgeadapt_device.config import BudgetSection
from edgeadapt_device.core.state import BudgetRecord
from edgeadapt_device.core.uplink.accounts import LANES, Accounts
from edgeadapt_device.core.uplink.ledger import Ledger, Purpose, lane_of
from edgeadapt_device.core.uplink.windows import SlidingWindow

# MQTT 5 PUBLISH header, packet id and properties, the topic, TCP/IP and TLS framing, and the PUBACK.
OVERHEAD_BYTES = 170
DEFAULT_SHARES: Mapping[Lane, float] = {"adapt": 0.7, "ask": 0.25, "audit": 0.05}
HOUR_S, DAY_S = 3600.0, 86_400.0
# Share of hour and day that only reports and outcomes may use, and the most of it.
_REPORT_SHARE, _REPORT_BYTES = 1 / 16, 65_536
# Share of the hour that messages may take which nobody needs.
_METRIC_SHARE = 1 / 8
# Share of hour and day, each, that noise can take from the device.
_NOISE_SHARE = 1 / 8
# Share of the smaller limit that may be spent between two commits of the state, and the least of it.
_AHEAD_SHARE, _AHEAD_BYTES = 1 / 64, 4_096


class Budget:
    """One device's budget.

    Attributes:
        early: the running segment is young, so that it may borrow.
        ledger: what each purpose has cost since start.
    """

    def __init__(self, config: BudgetSection, shares: Mapping[Lane, float] = DEFAULT_SHARES) -> None:
        """Full; `shares` are those of the lanes."""
        self._burst_bytes, self._debt_bytes = config.burst_bytes, config.debt_bytes
        self._hour_limit, self._day_limit = config.bytes_per_hour, config.bytes_per_day
        self._hour, self._day = SlidingWindow(HOUR_S), SlidingWindow(DAY_S)
        # Not kept over a restart, which no stranger can bring about.
        self._noise_hour, self._noise_day = SlidingWindow(HOUR_S), SlidingWindow(DAY_S)
        self._tokens = float(config.burst_bytes)
        self._audit_share = shares["audit"] / (sum(shares.values()) or 1.0)
        self.accounts = Accounts(shares, config.burst_bytes, config.debt_bytes)
        self.ledger = Ledger()
        self.early = False
        self._mono_s: float | None = None
        self._noted_s = -math.inf
        self._clock_s = 0.0
        self._unsaved_bytes = 0
        self._closed = False

    def note(self, now: Instant) -> None:
        """It is so late; called for every frame, and therefore all that it does."""
        if now.mono_s > self._noted_s:
            self._noted_s = now.mono_s

    # Choosing

    def choosable_bytes(self, lane: Lane, now: Instant) -> float:
        """What a lane may put into the outbox now, overhead included."""
        self._fill(now)
        room = min(
            self._room(lane, self._hour, self._hour_limit), self._room(lane, self._day, self._day_limit)
        )
        return min(self.accounts.left_bytes(lane, early=self.early), room)

    def take(self, lane: Lane, size_bytes: int, now: Instant) -> bool:
        """Pay for choosing a sample of at most this payload; False, and nothing paid, if it is not there."""
        cost = size_bytes + OVERHEAD_BYTES
        return cost <= self.choosable_bytes(lane, now) and self.accounts.take(lane, cost, early=self.early)

    def settle(self, lane: Lane, paid_bytes: int, real_bytes: int) -> None:
        """Give back what a sample is smaller than what was paid for it; it is never larger."""
        self._catch_up()
        self.accounts.give(lane, paid_bytes - real_bytes)

    def refund(self, lane: Lane, paid_bytes: int) -> None:
        """Give back what was paid for a sample that is never sent."""
        self._catch_up()
        self.accounts.give(lane, paid_bytes + OVERHEAD_BYTES)

    # The link

    def send(
        self, purpose: Purpose, size_bytes: int, now: Instant, *, chosen: bool = False, urgent: bool = False
    ) -> bool:
        """Pay for sending a payload; False, and nothing paid, while it must wait.

        Args:
            purpose: for the ledger, and for what it must leave to others.
            size_bytes: of the payload.
            now: the moment.
            chosen: a lane has paid for it already, and it is sent for the first time.
            urgent: it never waits.
        """
        self._fill(now)
        cost = size_bytes + OVERHEAD_BYTES
        if not urgent and self._wait_s(purpose, cost) > 0.0:
            return False
        self._spend(cost)
        self.ledger.up(purpose, cost)
        if not chosen:
            self.accounts.charge(cost, lane_of(purpose) if purpose in LANES else None)
        return True

    def wait_s(self, purpose: Purpose, size_bytes: int, now: Instant) -> float:
        """Seconds until a payload may be sent, if nothing else is; an hour where it never may."""
        self._fill(now)
        return self._wait_s(purpose, size_bytes + OVERHEAD_BYTES)

    def pace_s(self, cost_bytes: int) -> float:
        """Seconds between two messages of this cost that anyone can do without, such as metrics."""
        return cost_bytes * HOUR_S / max(self._hour_limit * _METRIC_SHARE, 1.0)

    def control(self, up_bytes: int, down_bytes: int, now: Instant) -> None:
        """Count what cannot wait: connecting, status, subscriptions, pings."""
        self._fill(now)
        self.ledger.up("control", up_bytes)
        self.ledger.down("control", down_bytes, 0)
        self._unasked(up_bytes + down_bytes)

    def receive(self, purpose: Purpose, size_bytes: int, now: Instant, *, noise: bool = False) -> None:
        """Count what came down, topic and payload; `noise`: anybody may have sent it, and it is of no use."""
        self._fill(now)
        cost = size_bytes + OVERHEAD_BYTES
        self.ledger.down(purpose, cost)
        self._unasked(self._of_noise(cost) if noise else cost)

    def left_bytes(self, now: Instant) -> int:
        """What may be spent at once; negative after what could not wait."""
        self._fill(now)
        hour = self._hour_limit - self._hour.used_bytes(self._clock_s)
        day = self._day_limit - self._day.used_bytes(self._clock_s)
        return int(min(self._tokens, hour, day))

    @property
    def spendable_bytes(self) -> int:
        """The most that any lane could ever spend at once: a burst, or what an hour and a day let it."""
        audit = self._audit_share if self._audit_share < 1.0 else 0.0
        rooms = [
            limit * (1.0 - audit) - min(limit * _REPORT_SHARE, _REPORT_BYTES)
            for limit in (self._hour_limit, self._day_limit)
        ]
        return max(int(min(self._burst_bytes, *rooms)), 0)

    # Settings and state

    def assign(self, bytes_per_hour: int | None, bytes_per_day: int | None, now: Instant) -> None:
        """Follow the cloud's assignment; None says nothing. What was saved and what was spent stays."""
        self._fill(now)
        if bytes_per_hour is not None:
            self._hour_limit = max(bytes_per_hour, 0)
        if bytes_per_day is not None:
            self._day_limit = max(bytes_per_day, 0)

    @property
    def must_commit(self) -> bool:
        """True when so much was spent since the last `record` that it must be durable before it leaves."""
        return self._unsaved_bytes > self._ahead_bytes

    def close(self) -> None:
        """Nothing is spent from here on: the next `record` is exact."""
        self._closed = True

    def record(self) -> BudgetRecord | None:
        """What a restart should go on with; None before anything has happened."""
        self._catch_up()
        if self._mono_s is None:
            return None
        self._unsaved_bytes = 0
        return BudgetRecord(
            tokens=self._tokens,
            wall_s=0.0,
            clock_s=self._clock_s,
            mono_s=self._mono_s,
            ahead_bytes=0 if self._closed else self._ahead_bytes,
            lanes=self.accounts.record(),
            hour=self._hour.record(),
            day=self._day.record(),
        )

    def restore(self, saved: BudgetRecord, now: Instant) -> None:
        """Go on with what a process before had left.

        Time that surely went by since: the monotonic clock's advance, or where it began anew with the
        machine all that it shows. A record of an older release has no such clock: no time went by.
        """
        if not all(map(math.isfinite, (saved.tokens, saved.clock_s, saved.mono_s))):
            return
        elapsed_s = 0.0
        if saved.mono_s >= 0.0:
            elapsed_s = now.mono_s - saved.mono_s if now.mono_s >= saved.mono_s else now.mono_s
        self._clock_s, self._mono_s = max(saved.clock_s, 0.0), now.mono_s
        self._noted_s = now.mono_s
        self._hour.restore(saved.hour)
        self._day.restore(saved.day)
        self.accounts.restore(saved.lanes)
        self._tokens = min(saved.tokens, float(self._burst_bytes))
        if saved.ahead_bytes > 0:
            self._spend(saved.ahead_bytes)
            self._unsaved_bytes = 0
        self._advance(max(elapsed_s, 0.0))

    # Inside

    @property
    def _ahead_bytes(self) -> int:
        return max(int(min(self._hour_limit, self._day_limit) * _AHEAD_SHARE), _AHEAD_BYTES)

    def _room(self, purpose: Purpose, window: SlidingWindow, limit: int) -> float:
        """What the purpose may still spend in a window."""
        kept = 0.0
        if purpose != "report":
            kept += min(limit * _REPORT_SHARE, _REPORT_BYTES)
        if purpose in ("adapt", "ask", "descriptor"):
            kept += limit * self._audit_share
        debt = self._debt_bytes if self.early and window is self._hour else 0
        return limit + debt - kept - window.used_bytes(self._clock_s)

    def _wait_s(self, purpose: Purpose, cost: int) -> float:
        """Seconds until `cost` fits; an hour at most, since limits change."""
        waits = [0.0]
        for window, limit in ((self._hour, self._hour_limit), (self._day, self._day_limit)):
            room = self._room(purpose, window, limit) - cost
            if room < 0:
                used = window.used_bytes(self._clock_s)
                waits.append(window.wait_s(int(used + room), self._clock_s) if used + room >= 0 else HOUR_S)
        if purpose != "report":
            waits.append(self._lack_s(cost))
        return min(max(waits), HOUR_S)

    def _lack_s(self, cost: int) -> float:
        """Seconds until the bucket holds `cost`, or is full: what is larger goes then, and is paid after."""
        debt = self._debt_bytes if self.early else 0
        lack = min(cost - debt, self._burst_bytes) - self._tokens
        if lack <= 1e-6:
            return 0.0
        return lack / (self._hour_limit / HOUR_S) if self._hour_limit > 0 else HOUR_S

    def _of_noise(self, cost: int) -> int:
        """What of it the limits see."""
        hour = self._hour_limit * _NOISE_SHARE - self._noise_hour.used_bytes(self._clock_s)
        day = self._day_limit * _NOISE_SHARE - self._noise_day.used_bytes(self._clock_s)
        counted = max(int(min(cost, hour, day)), 0)
        self._noise_hour.add(counted, self._clock_s)
        self._noise_day.add(counted, self._clock_s)
        return counted

    def _unasked(self, cost: int) -> None:
        self._spend(cost)
        self.accounts.charge(cost)

    def _spend(self, cost: int) -> None:
        self._hour.add(cost, self._clock_s)
        self._day.add(cost, self._clock_s)
        self._unsaved_bytes += cost
        # A silent server, or a talkative one, must not silence the device for the day after.
        deepest = min(self._tokens, -float(self._burst_bytes + self._debt_bytes))
        self._tokens = max(self._tokens - cost, deepest)

    def _fill(self, now: Instant) -> None:
        self.note(now)
        self._catch_up()

    def _catch_up(self) -> None:
        """Credit the income of the time that was noted."""
        if self._noted_s == self._mono_s or self._noted_s < 0.0:
            return
        if self._mono_s is not None:
            self._advance(self._noted_s - self._mono_s)
        self._mono_s = self._noted_s

    def _advance(self, elapsed_s: float) -> None:
        self._clock_s += elapsed_s
        income = elapsed_s * self._hour_limit / HOUR_S
        self._tokens = min(self._tokens + income, max(float(self._burst_bytes), self._tokens))
        self.accounts.fill(income)
