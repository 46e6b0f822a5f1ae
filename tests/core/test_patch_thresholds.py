"""Thresholds in a patch: they travel signed, and nothing comes in that a device could not judge with."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeadapt.errors import Refusal, TrustError
from edgeadapt.patch import open_envelope, seal
from edgeadapt.patch.thresholds import MOST_SCORERS, pack_thresholds, unpack_thresholds
from edgeadapt.tensors import FloatArray, encode_tensors
from tests.core.test_patch import GOOD, KEY, TRUSTED, header

SIGNATURE: FloatArray = np.zeros(4, np.float32)
RISING = np.linspace(-3.0, 5.0, 64, dtype=np.float32)


def test_they_travel_with_the_patch_and_are_signed() -> None:
    data = seal(header(), GOOD, SIGNATURE, KEY, {"energy": RISING})

    assert open_envelope(data, TRUSTED).thresholds["energy"].tolist() == RISING.tolist()
    place = data.find(RISING.tobytes())
    flipped = data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]
    with pytest.raises(TrustError) as caught:
        open_envelope(flipped, TRUSTED)
    assert caught.value.refusal is Refusal.BAD_SIGNATURE


def test_a_patch_without_them_is_as_it_always_was() -> None:
    data = seal(header(), GOOD, SIGNATURE, KEY)

    assert not open_envelope(data, TRUSTED).thresholds
    assert b"thresholds" not in data


@pytest.mark.parametrize(
    ("thresholds", "refusal"),
    [
        ({"energy": np.full(64, np.nan, np.float32)}, Refusal.NOT_FINITE),
        ({"energy": np.append(RISING[:-1], np.float32(np.inf))}, Refusal.NOT_FINITE),
        ({"energy": RISING[::-1].copy()}, Refusal.OUT_OF_BOUNDS),
        ({"energy": RISING[:63]}, Refusal.WRONG_SHAPE),
        ({"energy": RISING.astype(np.float64)}, Refusal.WRONG_DTYPE),
        ({"": RISING}, Refusal.MALFORMED),
        ({"x" * 65: RISING}, Refusal.MALFORMED),
        ({f"scorer{n}": RISING for n in range(MOST_SCORERS + 1)}, Refusal.TOO_LARGE),
    ],
)
def test_odd_ones_are_refused_on_both_sides(thresholds: dict[str, FloatArray], refusal: Refusal) -> None:
    with pytest.raises(TrustError) as caught:
        seal(header(), GOOD, SIGNATURE, KEY, thresholds)
    assert caught.value.refusal is refusal
    with pytest.raises(TrustError) as caught:
        unpack_thresholds(encode_tensors(thresholds))
    assert caught.value.refusal is refusal


def test_as_many_as_are_allowed_fit() -> None:
    thresholds = {f"scorer{n:02}" + "x" * 55: RISING for n in range(MOST_SCORERS)}

    assert set(unpack_thresholds(pack_thresholds(thresholds))) == set(thresholds)


@given(st.binary(min_size=1, max_size=300))
def test_garbage_is_a_refusal(data: bytes) -> None:
    with pytest.raises(TrustError):
        unpack_thresholds(data)
