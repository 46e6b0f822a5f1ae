"""The byte budget: a token bucket that counts what a message really costs on the link.

Samples are paid for when they are flagged, at the mean size so far, and settled once encoded, so they
can overdraw by the error of one estimate. Reports and outcomes are always sent; they may take the
bucket below zero, and samples then wait until it has recovered. A part of the bucket is kept for the
first frames of a new segment (pay more early in a shift, as WISE-ATTA).
"""

from __future__ import annotations

import math

from edgeadapt.clock import Instant
from edgeadapt_device.config import BudgetSection
from edgeadapt_device.core.state import BudgetRecord

# MQTT 5 PUBLISH header, packet id and properties, the topic, TCP/IP and TLS framing, and the PUBACK.
OVERHEAD_BYTES = 170


class Budget:
    """Tokens are bytes; they flow in at `rate` per second up to the burst."""

    def __init__(self, config: BudgetSection) -> None:
        self._config = config
        self._rate = config.bytes_per_hour / 3600.0
        self._tokens = float(config.burst_bytes)
        self._filled: Instant | None = None
        self.spent_bytes = 0

    def restore(self, saved: BudgetRecord, now: Instant) -> None:
        """Go on with what a process before had left, and what has flowed in since by the wall clock."""
        if not math.isfinite(saved.tokens):
            return
        elapsed_s = now.wall_s - saved.wall_s
        flowed = elapsed_s * self._rate if elapsed_s > 0.0 else 0.0
        self._tokens = min(saved.tokens + flowed, float(self._config.burst_bytes))
        self._filled = now

    @property
    def saved(self) -> BudgetRecord | None:
        """What a restart should go on with; None before anything has happened."""
        return BudgetRecord(self._tokens, self._filled.wall_s) if self._filled is not None else None

    def set_rate(self, bytes_per_hour: int, now: Instant) -> None:
        """Follow the cloud's assignment; what was saved stays."""
        self._fill(now)
        self._rate = max(bytes_per_hour, 0) / 3600.0

    def left_bytes(self, now: Instant) -> int:
        """Tokens in the bucket; negative after reports that could not wait."""
        self._fill(now)
        return int(self._tokens)

    def take(self, size_bytes: int, now: Instant, *, early: bool) -> bool:
        """Pay for a sample of `size_bytes` payload; False, and nothing paid, when it does not fit."""
        self._fill(now)
        floor = self._floor(early=early)
        cost = size_bytes + OVERHEAD_BYTES
        if self._tokens - cost < floor:
            return False
        self._pay(cost)
        return True

    def _floor(self, *, early: bool) -> float:
        return 0.0 if early else self._config.shift_reserve * self._config.burst_bytes

    def price(self, size_bytes: int, *, early: bool) -> int:
        """What to `take` for a payload of `size_bytes`: no more than a full bucket can pay.

        Larger ones would never be sent; the rest of their cost is settled afterwards.
        """
        most = int(self._config.burst_bytes - self._floor(early=early)) - OVERHEAD_BYTES
        return min(size_bytes, most) if most > 0 else size_bytes

    def settle(self, estimated_bytes: int, real_bytes: int) -> None:
        """Correct a payment made on an estimate."""
        self._pay(real_bytes - estimated_bytes)

    def refund(self, estimated_bytes: int) -> None:
        """Give back what was paid for a sample that was never stored."""
        self._pay(-(estimated_bytes + OVERHEAD_BYTES))

    def charge(self, size_bytes: int, now: Instant, *, again: bool = False) -> None:
        """Pay for a message that is sent whatever the budget says.

        What is sent `again` makes no debt deeper than one burst: a server that does not answer for a
        day must not silence the samples for the day after.
        """
        self._fill(now)
        deepest = min(self._tokens, -float(self._config.burst_bytes))
        self._pay(size_bytes + OVERHEAD_BYTES)
        if again:
            self._tokens = max(self._tokens, deepest)

    def wait_s(self, size_bytes: int) -> float:
        """Seconds until a resend of `size_bytes` can be paid, as things stand."""
        lack = size_bytes + OVERHEAD_BYTES - self._tokens
        return max(lack, 0.0) / self._rate if self._rate > 0 else 3600.0

    def _pay(self, cost: float) -> None:
        self._tokens -= cost
        self.spent_bytes += int(cost)

    def _fill(self, now: Instant) -> None:
        if self._filled is not None:
            elapsed_s = max(now.mono_s - self._filled.mono_s, 0.0)
            room = max(self._config.burst_bytes - self._tokens, 0.0)
            self._tokens += min(elapsed_s * self._rate, room)
        self._filled = now
