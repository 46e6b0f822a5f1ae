"""What each lane may choose to spend: three accounts, filled in their shares from one income.

An account that is full passes its income on to those that are not, so what one lane leaves the others
spend, and what is saved in an account is that lane's alone: none can starve another. While a segment is
young the adapt and ask lanes may borrow (a negative account); their income pays it back first. The audit
lane never borrows, since what it can spend decides the chance of a frame.

A segment may take only a share of what the adapt lane has saved and may borrow, and after that lives on the
income: its hundredth sample is worth less than the first of a domain that comes a minute later.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from edgeadapt.wire import Lane

LANES: tuple[Lane, ...] = ("adapt", "ask", "audit")


class Accounts:
    """Bytes of each lane; an amount may be negative."""

    def __init__(self, shares: Mapping[Lane, float], burst_bytes: int, debt_bytes: int) -> None:
        """Full to begin with; `shares` of at least one lane must be above 0."""
        total = sum(shares.values()) or 1.0
        self._shares = {lane: shares[lane] / total for lane in LANES}
        self._burst_bytes, self._debt_bytes = burst_bytes, debt_bytes
        self._least_bytes = 0.0
        self._left = {lane: self.full_bytes(lane) for lane in LANES}
        self._floor_bytes = -float("inf")

    def begin_segment(self, share: float) -> None:
        """From now on the adapt lane may be drawn by this share of what it has and may borrow, and by income.

        It is as much as two of the dearest frames cost, if there is.
        """
        left = self._left["adapt"]
        there = max(left + self._shares["adapt"] * self._debt_bytes, 0.0)
        self._floor_bytes = left - min(max(share * there, self._least_bytes), there)

    def full_bytes(self, lane: Lane) -> float:
        """What a lane can save up: its share of the burst, but no less than two of the dearest frames."""
        if self._shares[lane] <= 0.0:
            return 0.0
        return max(self._shares[lane] * self._burst_bytes, min(self._least_bytes, float(self._burst_bytes)))

    def set_dearest(self, cost_bytes: float) -> None:
        """What one frame may cost: every lane that has a share must be able to save up for two."""
        self._least_bytes = 2.0 * cost_bytes

    def left_bytes(self, lane: Lane, *, early: bool = False) -> float:
        """What a lane may spend now; `early`: with what it may borrow."""
        debt = self._shares[lane] * self._debt_bytes if early and lane != "audit" else 0.0
        floor = max(-debt, self._floor_bytes) if lane == "adapt" else -debt
        return self._left[lane] - floor

    def take(self, lane: Lane, cost_bytes: int, *, early: bool) -> bool:
        """Spend; False, and nothing spent, when it is not there."""
        if cost_bytes > self.left_bytes(lane, early=early) or self._shares[lane] <= 0.0:
            return False
        self._left[lane] -= cost_bytes
        return True

    def give(self, lane: Lane, back_bytes: int) -> None:
        """What a payment was too high by."""
        self._left[lane] = min(self._left[lane] + back_bytes, max(self.full_bytes(lane), self._left[lane]))

    def charge(self, cost_bytes: int, lane: Lane | None = None) -> None:
        """Costs of a lane that were not chosen now, or of none: then all pay in their shares.

        An account goes no deeper than its share of a burst below nothing.
        """
        for payer in LANES if lane is None else (lane,):
            part = cost_bytes if lane is not None else self._shares[payer] * cost_bytes
            deepest = min(self._left[payer], -self._shares[payer] * self._burst_bytes)
            self._left[payer] = max(self._left[payer] - part, deepest)

    def fill(self, income_bytes: float) -> None:
        """Income, in the lanes' shares; what a full lane cannot take goes to the others."""
        open_lanes = [lane for lane in LANES if self._shares[lane] > 0.0]
        while income_bytes > 1e-9 and open_lanes:
            total = sum(self._shares[lane] for lane in open_lanes)
            left_over = 0.0
            still_open = []
            for lane in open_lanes:
                part = income_bytes * self._shares[lane] / total
                room = max(self.full_bytes(lane) - self._left[lane], 0.0)
                self._left[lane] += min(part, room)
                left_over += max(part - room, 0.0)
                if part < room:
                    still_open.append(lane)
            income_bytes, open_lanes = left_over, still_open

    def record(self) -> tuple[float, ...]:
        """One amount for each lane, for `restore`."""
        return tuple(self._left[lane] for lane in LANES)

    def restore(self, record: Sequence[float]) -> None:
        """Go on with what an earlier process had, no more than full; a foreign record is ignored."""
        if len(record) == len(LANES) and all(abs(amount) < float("inf") for amount in record):
            self._left = {
                lane: min(amount, self.full_bytes(lane)) for lane, amount in zip(LANES, record, strict=True)
            }
