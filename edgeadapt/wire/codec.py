"""Bytes to messages and back. Garbage gives a WireError and nothing else.

Size is checked before parsing; every foreign exception is translated; floats must be finite.
"""

from __future__ import annotations

import math

import msgspec
import numpy as np

from edgeadapt.errors import WireError
from edgeadapt.tensors import FloatArray
from edgeadapt.wire.messages import GREETING_VERSION, SPEAKS, AnyMessage, ServerStatus, Status

MAX_MESSAGE_BYTES = 1 << 20
_ANY_VERSION = (-(1 << 63), 1 << 64)
_decoder: msgspec.msgpack.Decoder[AnyMessage] = msgspec.msgpack.Decoder(AnyMessage)


def encode(message: AnyMessage, protocol: int | None = None) -> bytes:
    """Serialise a message to MessagePack, as one of version `protocol` (None: as it says itself)."""
    if protocol is not None and protocol != message.protocol:
        message = msgspec.structs.replace(message, protocol=protocol)
    return msgspec.msgpack.encode(message)


def restamp(data: bytes, protocol: int) -> bytes:
    """The same message in another version; greetings stay as they are. Raises WireError on no message.

    While all versions that this release speaks have the same structs, only the number differs.
    """
    message = decode(data, speaks=_ANY_VERSION)
    if message.protocol == protocol or isinstance(message, (Status, ServerStatus)):
        return data
    return encode(message, protocol)


def decode(
    data: bytes, kind: type[AnyMessage] | None = None, *, speaks: tuple[int, int] = SPEAKS
) -> AnyMessage:
    """Parse one message.

    Args:
        data: a whole MQTT payload.
        kind: the struct that the topic promises, when known.
        speaks: the lowest and the highest version to take.

    Raises:
        WireError: too large, malformed, another version, non-finite numbers, or not of `kind`.
    """
    if len(data) > MAX_MESSAGE_BYTES:
        raise WireError(f"message of {len(data)} bytes, more than {MAX_MESSAGE_BYTES}")
    try:
        message: AnyMessage = _decoder.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise WireError(f"not a message: {error}") from error
    _check_version(message, speaks)
    _check_finite(message)
    if kind is not None and not isinstance(message, kind):
        raise WireError(f"a {type(message).__name__} where a {kind.__name__} belongs")
    return message


def _check_version(message: AnyMessage, speaks: tuple[int, int]) -> None:
    low, high = speaks
    if isinstance(message, (Status, ServerStatus)):
        low = high = GREETING_VERSION
        if not 0 < message.speaks[0] <= message.speaks[1]:
            raise WireError(f"{message.speaks[0]} to {message.speaks[1]} is no range of versions")
    if not low <= message.protocol <= high:
        spoken = f"{low}" if low == high else f"{low} to {high}"
        raise WireError(f"protocol {message.protocol}, this release speaks {spoken}")


def _check_finite(part: msgspec.Struct) -> None:
    for name in part.__struct_fields__:
        value = getattr(part, name)
        if isinstance(value, float) and not math.isfinite(value):
            raise WireError(f"{name} is {value}")
        for item in value if isinstance(value, tuple) else ():
            if isinstance(item, msgspec.Struct):
                _check_finite(item)


def pack_vector(values: FloatArray) -> bytes:
    """[N] float32 as little-endian bytes."""
    return np.ascontiguousarray(values, dtype="<f4").tobytes()


def unpack_vector(data: bytes, length: int) -> FloatArray:
    """Bytes to [length] float32; raises WireError on another length or on NaN or Inf."""
    if len(data) != 4 * length:
        raise WireError(f"a vector of {len(data)} bytes where {4 * length} belong")
    values = np.frombuffer(data, dtype="<f4").astype(np.float32)
    if not np.isfinite(values).all():
        raise WireError("a vector holds NaN or Inf")
    return values
