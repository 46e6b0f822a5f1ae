"""What the core asks its driver to do, in order. Frozen values; nothing here does anything."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import msgspec

from edgeadapt.bundle.materialise import SlotValues
from edgeadapt.tensors import FloatArray
from edgeadapt.wire import (
    NO_PROPERTIES,
    Descriptors,
    Lane,
    MessageProperties,
    Outcome,
    SignatureReport,
    Verdict,
)
from edgeadapt_device.core.events import Image
from edgeadapt_device.core.flagging.decision import Decision
from edgeadapt_device.core.state import DeviceState
from edgeadapt_device.core.uplink.candidate import Candidate


@dataclass(frozen=True, slots=True)
class BuildGeneration:
    """Build and warm up sessions with `values` over the base; answer GenerationReady or GenerationFailed."""

    token: int
    values: SlotValues


@dataclass(frozen=True, slots=True)
class Activate:
    """Score the next frame with this generation."""

    token: int


@dataclass(frozen=True, slots=True)
class Release:
    """Forget this generation's sessions."""

    token: int


class Predicted(msgspec.Struct, frozen=True):
    """The device's answer for a frame, for its host; `flagged`: it is kept, or may be, for the teacher."""

    frame: int
    label: int
    probabilities: FloatArray
    entropy: float
    generation: str
    segment: int
    flagged: bool
    verdict: Verdict = "familiar"


@dataclass(frozen=True, slots=True)
class ScoreAgain:
    """Run this generation once more, on one frame that it has not scored; answer Rescored."""

    token: int
    image: Image


@dataclass(frozen=True, slots=True)
class StoreSample:
    """Encode the frame and make it durable in the outbox; answer Stored or NotStored.

    `price_bytes` is what the budget paid for it, and the most it may take; the answer brings it back. `frame`
    is its position in the source, `descriptor` its embedding [D], `decision` the whole of its verdict. The
    rest is as in `edgeadapt.wire.Sample`. With `hold` the server
    is to be asked whether it wants the sample, unless the configuration says never; it stands for `members`
    frames.
    """

    image: Image
    segment: int
    lane: Lane
    entropy: float
    predicted: int
    generation: str
    captured_s: float
    price_bytes: int
    frame: int = -1
    verdict: Verdict = "informative"
    p_value: float = 1.0
    chance: float = 0.0
    cluster: int = 0
    descriptor: FloatArray | None = None
    hold: bool = False
    members: int = 1
    byte_price: float = 0.0
    decision: Decision | None = None


@dataclass(frozen=True, slots=True)
class Flagged:
    """A frame that is strange, or was: what becomes of it, for whoever asks later. Nothing is to be done.

    Fates: a "suspect" until the model has adapted; "watched" in case the domain has shifted; "counted" only,
    for want of room; "normal" to the adapted model; "quarantined" in a cluster of so many members; "asked"
    about; too "dear" to be asked about now; "barred": it is never asked about, by configuration.
    """

    frame: Candidate
    fate: Literal["suspect", "watched", "counted", "normal", "quarantined", "asked", "dear", "barred"]
    cluster: int = 0
    members: int = 0


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A window of the adapt lane of which not all that it held could be paid for. Nothing is to be done.

    Frames `first` to `last` were looked at, `held` of them kept to choose from, and `chosen` stored.
    """

    segment: int
    first: int
    last: int
    held: int
    chosen: int


@dataclass(frozen=True, slots=True)
class StoreMessage:
    """Make the message durable in the outbox (which fills in outbox and sequence); answer Stored or
    NotStored."""

    message: SignatureReport | Outcome | Descriptors


@dataclass(frozen=True, slots=True)
class Publish:
    """Send this row of the outbox, QoS 1; the broker may forget it after `expiry_s` (0: never)."""

    sequence: int
    expiry_s: int = 0


@dataclass(frozen=True, slots=True)
class Forget:
    """The server has these rows: delete them from the outbox."""

    sequences: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class FreeHeld:
    """These held rows of the outbox are to be sent from here on, by the next process as well."""

    sequences: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class PublishNow:
    """Send a message that may be lost, beside the outbox."""

    topic: str
    payload: bytes
    retain: bool
    qos: int
    properties: MessageProperties = NO_PROPERTIES


@dataclass(frozen=True, slots=True)
class Subscribe:
    """Listen to a topic, QoS 1."""

    topic: str


@dataclass(frozen=True, slots=True)
class Unsubscribe:
    """Stop listening to a topic."""

    topic: str


@dataclass(frozen=True, slots=True)
class CommitState:
    """Make the state durable, atomically, with the patch envelopes it names (digest to bytes)."""

    state: DeviceState
    envelopes: Mapping[str, bytes]


@dataclass(frozen=True, slots=True)
class CountStarts:
    """Make durable how many starts in a row have failed, should this one come to nothing; 0: it has not."""

    failed: int


@dataclass(frozen=True, slots=True)
class Log:
    """Something a person may want to know."""

    text: str


Effect = (
    BuildGeneration
    | Activate
    | Release
    | Predicted
    | ScoreAgain
    | Flagged
    | LeftOut
    | StoreSample
    | StoreMessage
    | Publish
    | Forget
    | FreeHeld
    | PublishNow
    | Subscribe
    | Unsubscribe
    | CommitState
    | CountStarts
    | Log
)
