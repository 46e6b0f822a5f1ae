"""The wire: topics, messages and their bytes."""

from edgeadapt.wire.codec import MAX_MESSAGE_BYTES, decode, encode, pack_vector, unpack_vector
from edgeadapt.wire.messages import (
    PROTOCOL_VERSION,
    Ack,
    AnyMessage,
    Assign,
    Channel,
    Command,
    DownMessage,
    Lane,
    Message,
    Metric,
    Outcome,
    Sample,
    SignatureReport,
    Status,
    UpMessage,
)

__all__ = [
    "MAX_MESSAGE_BYTES",
    "PROTOCOL_VERSION",
    "Ack",
    "AnyMessage",
    "Assign",
    "Channel",
    "Command",
    "DownMessage",
    "Lane",
    "Message",
    "Metric",
    "Outcome",
    "Sample",
    "SignatureReport",
    "Status",
    "UpMessage",
    "decode",
    "encode",
    "pack_vector",
    "unpack_vector",
]
