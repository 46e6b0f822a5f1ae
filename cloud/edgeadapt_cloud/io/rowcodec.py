"""Rows of the core as MessagePack bodies, and back. Arrays travel as safetensors.

Bytes that are no row give ConfigError, whatever they are; who knows the database's name adds it.
"""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec
import numpy as np

from edgeadapt.errors import ConfigError, WireError
from edgeadapt.tensors import FloatArray, decode_tensors, encode_tensors

T = TypeVar("T")
DAMAGED = "the database is damaged: restore it from a backup, or move it away to begin with an empty one"


def _encode_array(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return encode_tensors({"a": value})
    raise NotImplementedError(f"{type(value).__name__} is no part of a row")


def _decode_array(kind: type, value: Any) -> Any:
    if isinstance(value, bytes):
        return decode_tensors(value)["a"]
    raise NotImplementedError(f"{kind} is no part of a row")


_encoder = msgspec.msgpack.Encoder(enc_hook=_encode_array)


def encode_row(row: object) -> bytes:
    """Serialise a row dataclass."""
    return _encoder.encode(row)


def decode_row(data: bytes, kind: type[T]) -> T:
    """Parse a row; raises ConfigError when the database holds something else."""
    try:
        return msgspec.msgpack.decode(data, type=kind, dec_hook=_decode_array)
    except (
        msgspec.DecodeError, WireError, KeyError, TypeError, ValueError, NotImplementedError, RecursionError
    ) as error:  # fmt: skip
        raise ConfigError(f"the database holds a {kind.__name__} that cannot be read: {error}") from error


def float_array(data: bytes) -> FloatArray:
    """Little-endian float32 bytes to an array of its own; raises ConfigError when they are not whole."""
    try:
        return np.frombuffer(data, dtype="<f4").astype(np.float32)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"the database holds an array that cannot be read: {error}") from error
