"""What can happen to a device. Every event is a plain frozen value; the time comes beside it.

What is made for every frame is a msgspec struct, as one is made twenty times as fast as a frozen dataclass.
"""

from __future__ import annotations

from dataclasses import dataclass

import msgspec
import numpy as np
import numpy.typing as npt

from edgeadapt.tensors import FloatArray
from edgeadapt_device.core.uplink.rows import PendingRow, Waiting

# A frame or a batch of them: uint8 [..., H, W, C] for a model of pictures, else float32 [..., *its shape].
Image = npt.NDArray[np.uint8 | np.float32]


class FrameScored(msgspec.Struct, frozen=True):
    """A frame went through the model.

    Attributes:
        index: position in the source, from 0.
        image: [H, W, C] uint8, or float32 of the model's shape.
        logits: [K] float32.
        token: the generation that made the logits and the embedding.
        probed: the one that measured the moments, when that is another.
        embedding: [D] float32, when the engine gives one.
        mean: [P] per-frame mean of every norm layer's input, when the frame was probed.
        mean_square: [P] per-frame mean square, likewise.
        previous_logits: [K] of the generation before the trial, when the frame was compared.
        previous_mean: [P] its per-frame means, when the frame was probed as well.
        latency_ms: time the model took.
    """

    index: int
    image: Image
    logits: FloatArray
    token: int
    probed: int | None = None
    embedding: FloatArray | None = None
    mean: FloatArray | None = None
    mean_square: FloatArray | None = None
    previous_logits: FloatArray | None = None
    previous_mean: FloatArray | None = None
    latency_ms: float = 0.0


@dataclass(frozen=True, slots=True)
class Rescored:
    """Answer to ScoreAgain: [K] logits and [D] embedding, or None: its session is gone, or refuses."""

    token: int
    logits: FloatArray | None = None
    embedding: FloatArray | None = None


@dataclass(frozen=True, slots=True)
class GenerationReady:
    """The sessions of a generation are built and warm."""

    token: int


@dataclass(frozen=True, slots=True)
class GenerationFailed:
    """A generation could not be built or run."""

    token: int
    reason: str


@dataclass(frozen=True, slots=True)
class Connected:
    """The broker accepted the connection; `max_packet_bytes` is its limit (0: none said)."""

    max_packet_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Disconnected:
    """The connection is gone."""


@dataclass(frozen=True, slots=True)
class Received:
    """A message arrived; its sender may want an answer on `response_topic`, with `correlation` in it."""

    topic: str
    payload: bytes
    response_topic: str = ""
    correlation: bytes = b""


@dataclass(frozen=True, slots=True)
class Stored:
    """A message is durable in the outbox under this sequence; its size is that of the MQTT payload.

    `price_bytes` is what the budget paid for a sample beforehand, `lane` that sample's. A row that is held
    has `waiting`. `announces` are the held rows that a message of descriptors is about. `picture_bytes` is
    what a sample with a picture would have taken at least, where it was too dear; else 0.
    """

    sequence: int
    kind: str
    size_bytes: int
    price_bytes: int = 0
    lane: str = ""
    waiting: Waiting | None = None
    announces: tuple[int, ...] = ()
    picture_bytes: int = 0


@dataclass(frozen=True, slots=True)
class NotStored:
    """A message could not be made durable: the disk refuses, or it is larger than was paid for.

    `too_large`: larger than the wire allows, even.
    """

    kind: str
    size_bytes: int
    price_bytes: int
    too_large: bool
    lane: str = ""


@dataclass(frozen=True, slots=True)
class Dropped:
    """The outbox let these rows go: it was full, or `reason` says why."""

    sequences: tuple[int, ...]
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Rollback:
    """Somebody at the device wants the base back, and says why."""

    reason: str


@dataclass(frozen=True, slots=True)
class OutboxChanged:
    """Messages are kept elsewhere from now on: another outbox, with what waits in it."""

    outbox: str
    pending: tuple[PendingRow, ...]


@dataclass(frozen=True, slots=True)
class Tick:
    """Nothing happened, but a deadline is due."""


Event = (
    FrameScored
    | Rescored
    | GenerationReady
    | GenerationFailed
    | Connected
    | Disconnected
    | Received
    | Stored
    | NotStored
    | Dropped
    | OutboxChanged
    | Rollback
    | Tick
)
