"""Tensor containers: exact round trips; anything else is a WireError."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeadapt.errors import WireError
from edgeadapt.tensors import decode_tensors, encode_tensors


def test_round_trip_and_order_independence() -> None:
    a, b = np.arange(6, dtype=np.float32).reshape(2, 3), np.zeros(0, np.float32)
    data = encode_tensors({"b": b, "a": a})
    assert data == encode_tensors({"a": a, "b": b})
    back = decode_tensors(data)
    assert np.array_equal(back["a"], a)
    assert back["b"].shape == (0,)


@given(st.binary(max_size=200))
def test_garbage(data: bytes) -> None:
    with pytest.raises(WireError):
        decode_tensors(data)


def test_truncation_and_size() -> None:
    data = encode_tensors({"a": np.ones(100, np.float32)})
    for cut in range(0, len(data), 13):
        with pytest.raises(WireError):
            decode_tensors(data[:cut])
    with pytest.raises(WireError, match="allowed"):
        decode_tensors(data, max_bytes=100)
