"""Mutations that break formats: for Hypothesis, and for runs without a fuzzer's own."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np

# Headers of msgpack arrays, maps and binaries that promise four billion; NaN; an integer beyond 64 bits.
_NASTY = (
    b"\xdd\xff\xff\xff\xff",
    b"\xdf\xff\xff\xff\xff",
    b"\xc6\xff\xff\xff\xff",
    b"\xdb\xff\xff\xff\xff",
    b"\xcb\x7f\xf8\x00\x00\x00\x00\x00\x00",
    b"\xcf" + b"\xff" * 8,
    b"\x91" * 64,
    b"\xff\xfe",
    b"\x00" * 8,
)


def mutated(data: bytes, rng: np.random.Generator, rounds: int = 3) -> bytes:
    """A few random edits: flips, cuts, doubled and moved pieces, and what parsers dislike."""
    for _ in range(int(rng.integers(1, rounds + 1))):
        at = int(rng.integers(0, len(data) + 1))
        until = min(len(data), at + int(rng.integers(0, 16)))
        piece = data[at:until]
        match int(rng.integers(0, 6)):
            case 0 if piece:
                flipped = bytes([piece[0] ^ (1 << int(rng.integers(0, 8)))]) + piece[1:]
                data = data[:at] + flipped + data[until:]
            case 1:
                data = data[:at] + data[until:]
            case 2:
                data = data[:until] + piece + data[until:]
            case 3:
                data = data[:at] + _NASTY[int(rng.integers(0, len(_NASTY)))] + data[until:]
            case 4:
                data = data[:at]
            case _:
                data = data[:at] + rng.bytes(until - at) + data[until:]
    return data


_VALUES: tuple[object, ...] = (
    None, True, -1, 0, 1 << 63, -(1 << 63), 1e308, float("nan"), float("-inf"), "", "x" * 300,
    b"", b"\x00" * 64, [], {}, [[]] * 8, {"a": {"b": []}}, "sample", "none", "png",
)  # fmt: skip


def restructured(data: bytes, rng: np.random.Generator) -> bytes:
    """MessagePack with one value exchanged, one key dropped or one added; other bytes are `mutated`."""
    try:
        tree = msgspec.msgpack.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return mutated(data, rng)
    place: Any = tree
    while isinstance(place, (dict, list)) and place:
        keys = list(place) if isinstance(place, dict) else range(len(place))
        key: Any = keys[int(rng.integers(0, len(keys)))]
        below = place[key]
        if isinstance(below, (dict, list)) and below and rng.random() < 0.7:
            place = below
            continue
        match int(rng.integers(0, 5)):
            case 0:
                del place[key]
            case 1 if isinstance(place, dict):
                place["odd"] = _VALUES[int(rng.integers(0, len(_VALUES)))]
            case 2 if isinstance(below, bytes):
                place[key] = mutated(below, rng)
            case _:
                place[key] = _VALUES[int(rng.integers(0, len(_VALUES)))]
        break
    return msgspec.msgpack.encode(tree)
