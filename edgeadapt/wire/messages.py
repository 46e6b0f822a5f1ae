"""Every message between a device and the cloud, as strict MessagePack structs (protocol version 1).

Messages from a device that must not be lost carry (`outbox`, `sequence`): the outbox is a random id
made with the device's outbox file, the sequence rises by one per message and never restarts within it.
The server commits such a message, then acknowledges it with `Ack`; only then does the device forget it.
Samples name the `segment` (stretch of one domain) they were taken in; signatures name it too, which is
how the cloud knows a sample's domain. Vectors travel as little-endian float32 bytes.
"""

from __future__ import annotations

from typing import Literal

import msgspec

PROTOCOL_VERSION = 1

Channel = Literal["stable", "canary"]
Lane = Literal["adapt", "uniform"]


class Message(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Base: every message says which protocol it speaks."""

    protocol: int = PROTOCOL_VERSION


class Status(Message, frozen=True, kw_only=True, tag="status"):
    """Birth (online) and, as the will, death of a device session. `epoch` rises with each start."""

    epoch: int
    online: bool
    bundle: str
    generation: str = ""


class Sample(Message, frozen=True, kw_only=True, tag="sample"):
    """A frame worth a teacher's time.

    `data` is the frame in `codec`; `sha256` is over `data`. `entropy` (nats) and `predicted` are what
    the device's model said under `generation`; `captured_s` is the device's wall clock.
    """

    outbox: str
    sequence: int
    segment: int
    lane: Lane
    codec: Literal["png", "jpeg", "raw"]
    height: int
    width: int
    channels: int
    data: bytes
    sha256: str
    entropy: float
    predicted: int
    generation: str
    captured_s: float


class SignatureReport(Message, frozen=True, kw_only=True, tag="signature"):
    """Where a device is: its domain signature and the moments of its norm layers.

    `vector` [S], `mean` [P] and `var` [P] are float32 bytes; `frames` stand behind them;
    `drift` is the signature's distance from the source in source standard deviations.
    """

    outbox: str
    sequence: int
    bundle: str
    segment: int
    frames: int
    vector: bytes
    mean: bytes
    var: bytes
    drift: float


class Metric(Message, frozen=True, kw_only=True, tag="metric"):
    """Counters since start; may be lost."""

    epoch: int
    frames: int
    flagged: int
    uploaded: int
    bytes_up: int
    bytes_down: int
    budget_left_bytes: int
    latency_ms: float
    generation: str


class TrialCheck(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One line of a trial's evidence: a mean over `frames` values, held against its bound.

    `e_harm` is the e-value against "the mean is at most the bound", `e_safe` the one against "at least":
    under the hypothesis, it ever exceeds x with a chance of at most 1/x.
    """

    check: str
    value: float
    bound: float
    e_harm: float
    e_safe: float
    frames: int


class Outcome(Message, frozen=True, kw_only=True, tag="outcome"):
    """What became of a patch on a device, with the reason in words and the trial's evidence in numbers.

    `frames` are those that both generations scored; entropies are means over them, in nats.
    """

    outbox: str
    sequence: int
    cohort: str
    serial: int
    patch: str
    state: Literal["trial", "confirmed", "reverted", "refused", "reapplied"]
    reason: str = ""
    frames: int = 0
    entropy_old: float = 0.0
    entropy_new: float = 0.0
    agreement: float = 0.0
    evidence: tuple[TrialCheck, ...] = ()


class Ack(Message, frozen=True, kw_only=True, tag="ack"):
    """Sequences of one outbox that the server has committed."""

    outbox: str
    sequences: tuple[int, ...]


class Assign(Message, frozen=True, kw_only=True, tag="assign"):
    """The cohort that a device's segment belongs to, and the channel it listens on."""

    cohort: str
    segment: int
    channel: Channel
    bundle: str
    budget_bytes_per_hour: int | None = None


class Command(Message, frozen=True, kw_only=True, tag="command"):
    """An order from an operator. `rollback` returns to the base bundle and blocks the present patch."""

    id: str
    action: Literal["rollback", "report"]


UpMessage = Status | Sample | SignatureReport | Metric | Outcome
DownMessage = Ack | Assign | Command
AnyMessage = UpMessage | DownMessage
