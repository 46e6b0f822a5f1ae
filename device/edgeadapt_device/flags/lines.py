"""What stands in the flag journal: JSON, one line for each thing that happened. Values and their bytes only.

    frame    a frame that was flagged or is strange: its verdict, and all that it rests on
    fate     what the device made of such a frame later: scored again, quarantined, asked about
    sample   what was stored of it, and what that cost; or why nothing was
    window   frames that the adapt lane held and could not pay for all: a line for each of its windows, or for
             those of ten seconds
    row      what became of stored samples: wanted, sent unasked, declined, acknowledged, dropped

A frame is known by its number in the source, a sample by its outbox and sequence.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from edgeadapt.errors import WireError
from edgeadapt.wire import Verdict
from edgeadapt_device.core.flagging.decision import Thresholds

Fate = Literal["suspect", "watched", "counted", "normal", "quarantined", "asked", "dear", "barred"]
RowFate = Literal["wanted", "unasked", "declined", "acknowledged", "dropped"]


class _Line(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", omit_defaults=True):
    time_s: float


class ScoreLine(msgspec.Struct, frozen=True):
    """One scorer's score, its p-value, and the score below which a frame is strange to it."""

    name: str
    score: float
    p_value: float
    bound: float


class FrameLine(_Line, frozen=True, kw_only=True, tag="frame"):
    """A frame's verdict. `predicted` is the class's name, `alpha` the bound of the p-value.

    `thresholds` says whose knots gave the p-values, and `calibrated` from how many frames of the domain, for
    knots that the device made itself.
    """

    frame: int
    segment: int
    generation: str
    predicted: str
    entropy: float
    verdict: Verdict
    p_value: float
    alpha: float
    adapted: bool
    thresholds: Thresholds = "bundle"
    calibrated: int = 0
    reason: str = ""
    scores: tuple[ScoreLine, ...] = ()
    window: str = ""


class FateLine(_Line, frozen=True, kw_only=True, tag="fate"):
    """What the device made of a frame; `cluster` has so many `members` then."""

    frame: int
    fate: Fate
    cluster: int = 0
    members: int = 0
    p_value: float = 1.0


class SampleLine(_Line, frozen=True, kw_only=True, tag="sample"):
    """What was stored of a frame under `sequence` (0: nothing, and `trouble` says why).

    `size_bytes` is the message, `cost_bytes` what it takes of the budget with what the link adds,
    `hour_bytes` the budget of an hour. Of one that is `held` the server is told first, in about `told_bytes`:
    unless it wants the sample, those are all that it has cost.
    """

    frame: int
    lane: str
    sequence: int = 0
    outbox: str = ""
    codec: str = ""
    size_bytes: int = 0
    cost_bytes: int = 0
    hour_bytes: int = 0
    chance: float = 0.0
    held: bool = False
    told_bytes: int = 0
    cluster: int = 0
    members: int = 0
    trouble: str = ""


class RowLine(_Line, frozen=True, kw_only=True, tag="row"):
    """What became of stored samples."""

    outbox: str
    sequences: tuple[int, ...]
    fate: RowFate
    why: str = ""


class WindowLine(_Line, frozen=True, kw_only=True, tag="window"):
    """Frames `first` to `last` of a segment: the adapt lane `held` some, and could pay for `chosen`."""

    segment: int
    first: int
    last: int
    held: int
    chosen: int
    windows: int = 1


Line = FrameLine | FateLine | SampleLine | RowLine | WindowLine
_DECODER = msgspec.json.Decoder(Line)


def to_bytes(line: Line) -> bytes:
    """One line of the journal, with its end."""
    return msgspec.json.encode(line) + b"\n"


def from_bytes(data: bytes) -> Line:
    """The inverse; raises WireError on anything else, such as a line that was cut off."""
    try:
        line: Line = _DECODER.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise WireError(f"no line of a flag journal: {error}") from error
    return line
