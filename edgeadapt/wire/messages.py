"""Every message between a device and the cloud, as strict MessagePack structs (protocol version 1).

Messages from a device that must not be lost carry (`outbox`, `sequence`): the outbox is a random id
made with the device's outbox file, the sequence rises by one per message and never restarts within it.
The server commits such a message, then acknowledges it with `Ack`; only then does the device forget it.
Samples name the `segment` (stretch of one domain) they were taken in; signatures name it too, which is
how the cloud knows a sample's domain. Vectors travel as little-endian float32 bytes.

`Status` and `ServerStatus` are how both sides find the version that they have in common (`versions`): they
are read by every release there will ever be, so they never change.
"""

from __future__ import annotations

from typing import Literal

import msgspec

PROTOCOL_VERSION = 1
#: The lowest and the highest version that this release can speak.
SPEAKS = (PROTOCOL_VERSION, PROTOCOL_VERSION)
#: What greetings are written in, for ever.
GREETING_VERSION = 1

Channel = Literal["stable", "canary"]
Lane = Literal["adapt", "ask", "audit"]
Verdict = Literal["familiar", "informative", "shifted", "unknown", "unreliable"]
Codec = Literal["png", "jpeg", "raw", "none"]


class Message(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Base: every message says which protocol it speaks."""

    protocol: int = PROTOCOL_VERSION


class Status(Message, frozen=True, kw_only=True, tag="status"):
    """Birth (online) and, as the will, death of a device session. `epoch` rises with each start.

    `speaks` are the lowest and the highest version of the protocol that the device can speak.
    """

    epoch: int
    online: bool
    bundle: str
    generation: str = ""
    speaks: tuple[int, int] = SPEAKS


class ServerStatus(Message, frozen=True, kw_only=True, tag="server"):
    """Birth and, as the will, death of the fleet's adaptation service; the fields are as in `Status`."""

    epoch: int
    online: bool
    speaks: tuple[int, int] = SPEAKS


class Sample(Message, frozen=True, kw_only=True, tag="sample"):
    """A frame worth a teacher's time.

    `data` is the frame in `codec`, `height` x `width` x `channels`, which may be smaller than the model's
    input; "none": there is no frame, only its `descriptor`, because no picture may leave (privacy mode
    "embedding"), or because it was too dear and the lane is "ask" or "audit". `sha256` is over `data`.
    `lane`: "adapt" to learn from, "ask" what stays strange and a person should see, "audit" drawn at random
    with the probability `chance` (0 in the other lanes). `descriptor` is the embedding [D] as little-endian
    float16, or empty. `entropy` (nats), `predicted`, `verdict` and `p_value` (how usual such a frame is among
    known ones, 0 to 1) are what the device's model said under `generation`; `cluster` is the quarantine
    cluster it stands for, or 0; `captured_s` is the device's wall clock. `altered`: the frame was changed
    before it left, for privacy, so that it is not what the model saw, whatever the codec.
    """

    outbox: str
    sequence: int
    segment: int
    lane: Lane
    codec: Codec
    height: int
    width: int
    channels: int
    data: bytes
    sha256: str
    entropy: float
    predicted: int
    generation: str
    captured_s: float
    verdict: Verdict = "informative"
    p_value: float = 1.0
    chance: float = 0.0
    cluster: int = 0
    descriptor: bytes = b""
    altered: bool = False


class DescriptorItem(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A sample that waits on the device for somebody to want it.

    `sample` is its sequence in the outbox, `size_bytes` what it would cost to send. `vector` is its
    embedding, projected, normalised and quantised (`edgeadapt.descriptor`). `members` is how many frames it
    stands for.
    """

    sample: int
    lane: Lane
    verdict: Verdict
    predicted: int
    entropy: float
    p_value: float
    size_bytes: int
    members: int
    vector: bytes


class Descriptors(Message, frozen=True, kw_only=True, tag="descriptor"):
    """Samples that the device could send, in a few bytes each; the server answers with `Want`."""

    outbox: str
    sequence: int
    bundle: str
    segment: int
    generation: str
    items: tuple[DescriptorItem, ...]


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


class LedgerLine(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What one purpose has cost in bytes on the link since start, protocol overhead included.

    Purposes: "adapt", "ask", "audit", "descriptor", "report", "control" and "patch".
    """

    purpose: str
    bytes_up: int
    bytes_down: int
    messages: int


class VerdictCounts(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Frames by verdict since start."""

    familiar: int = 0
    informative: int = 0
    shifted: int = 0
    unknown: int = 0
    unreliable: int = 0


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
    ledger: tuple[LedgerLine, ...] = ()
    verdicts: VerdictCounts = VerdictCounts()


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


class Want(Message, frozen=True, kw_only=True, tag="want"):
    """Answer to `Descriptors`: the samples of one outbox to send, and those to let go."""

    outbox: str
    wanted: tuple[int, ...] = ()
    declined: tuple[int, ...] = ()


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
    budget_bytes_per_day: int | None = None


class Command(Message, frozen=True, kw_only=True, tag="command"):
    """An order from an operator. `rollback` returns to the base bundle and blocks the present patch."""

    id: str
    action: Literal["rollback", "report"]


class Reply(Message, frozen=True, kw_only=True, tag="reply"):
    """Answer to a `Command`, to every copy of it: what became of the order, and why, in words.

    `done`: it was carried out, now ("obeyed") or when it first came ("obeyed-before"); "refused": it was not.
    """

    id: str
    done: bool
    reason: Literal["obeyed", "obeyed-before", "refused"]
    detail: str = ""


UpMessage = Status | Sample | Descriptors | SignatureReport | Metric | Outcome | Reply
DownMessage = Ack | Assign | Command | Want | ServerStatus
AnyMessage = UpMessage | DownMessage
