"""What a row of the outbox is worth, for the day when there is no room for all of them.

Rows go in the order of (rank, value, sequence), least first:

1. samples of the adapt lane: there are many, and another one will come;
2. samples of the audit lane, oldest first: to choose among them would bias the estimate they are drawn for;
3. samples of the ask lane: rare, and a person waits for them;
4. only when no sample is left, and the rest takes `REPORT_RESERVE_BYTES` beyond the bound: reports and
   descriptors, oldest first, and outcomes last.

Within a lane the value is per byte: what a frame teaches over what it costs to keep and to send. For the
adapt lane that is its entropy (nats) under a weight for its verdict; for the ask lane how strange it is.
"""

from __future__ import annotations

from typing import NamedTuple

from edgeadapt.wire import Descriptors, Outcome, Sample, SignatureReport

Storable = Sample | Descriptors | SignatureReport | Outcome

#: What reports may take beyond the outbox's size when there is no sample left to drop.
REPORT_RESERVE_BYTES = 1 << 20
_RANKS = {"adapt": 0, "audit": 1, "ask": 2}
# What a teacher can make of a frame: one that is unknown, or not to be relied on, must not be learned from.
_LESSON = {"informative": 1.0, "shifted": 0.8, "familiar": 0.3, "unknown": 0.2, "unreliable": 0.1}
# A frame without entropy is still a frame.
_LEAST_NATS = 0.01
_LEAST_STRANGENESS = 0.01


class Worth(NamedTuple):
    """What goes first has the lowest rank, and in a rank the lowest value (per byte)."""

    rank: int
    value: float


def worth_of(message: Storable, size_bytes: int) -> Worth | None:
    """What a sample is worth at `size_bytes`; None for reports, which are dropped last."""
    if not isinstance(message, Sample):
        return None
    if message.lane == "audit":
        return Worth(_RANKS["audit"], 0.0)
    if message.lane == "ask":
        gain = max(1.0 - message.p_value, _LEAST_STRANGENESS)
    else:
        gain = max(message.entropy, _LEAST_NATS) * _LESSON[message.verdict]
    return Worth(_RANKS[message.lane], gain / max(size_bytes, 1))
