"""Descriptors: the same bytes everywhere, near ones for what is alike, and something for every input."""

from __future__ import annotations

import numpy as np
import pytest

from edgeadapt.descriptor import ALIKE, SIZE, Describer, cosine, pack, signs, unit, unpack
from edgeadapt.errors import WireError
from edgeadapt.tensors import FloatArray


def _prototypes(length: int = 128) -> FloatArray:
    return np.abs(np.random.default_rng(0).normal(size=(10, length))).astype(np.float32)


def test_the_projection_is_the_published_one() -> None:
    """Bytes that a device in another language must get as well: SHAKE-256, highest bit first."""
    found = signs(3)

    assert found.shape == (SIZE, 3)
    assert set(np.unique(found)) == {-1.0, 1.0}
    assert found[[0, 2, 63]].tolist() == [[-1, -1, -1], [-1, -1, 1], [-1, 1, 1]]


def test_inner_products_stay() -> None:
    rng = np.random.default_rng(1)
    describer = Describer(np.zeros((2, 256), np.float32))
    errors = []
    for _ in range(200):
        a, b = rng.normal(size=(2, 256)).astype(np.float32)
        b = (0.7 * a + 0.7 * b).astype(np.float32)
        true = float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))
        errors.append(cosine(describer.describe(a), describer.describe(b)) - true)

    assert np.sqrt(np.mean(np.square(errors))) < 0.15


def test_two_things_are_told_apart_though_every_activation_is_positive() -> None:
    prototypes = _prototypes()
    describer, rng = Describer(prototypes), np.random.default_rng(2)

    def seen(thing: int) -> FloatArray:
        return np.asarray(np.maximum(prototypes[thing] + rng.normal(0, 0.2, 128), 0.0), np.float32)

    same = cosine(describer.describe(seen(3)), describer.describe(seen(3)))
    other = cosine(describer.describe(seen(3)), describer.describe(seen(7)))

    assert same > ALIKE > other + 0.3


@pytest.mark.parametrize("odd", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_alike_to_nothing(odd: float) -> None:
    describer = Describer(_prototypes())
    broken = np.full(128, odd, np.float32)

    assert not describer.describe(broken).any()
    assert cosine(describer.describe(broken), describer.describe(broken)) == 0.0


def test_the_largest_values_there_are_overflow_nothing() -> None:
    describer = Describer(np.zeros((2, 64), np.float32))
    largest = np.full(64, np.finfo(np.float32).max, np.float32)

    assert np.abs(describer.describe(largest)).max() == 127


def test_an_embedding_of_another_length_and_one_at_the_centre_are_zeros() -> None:
    prototypes = _prototypes()
    describer = Describer(prototypes)

    assert not describer.describe(np.ones(5, np.float32)).any()
    assert not describer.describe(prototypes.mean(axis=0, dtype=np.float64).astype(np.float32)).any()


def test_it_travels_as_64_bytes() -> None:
    vector = Describer(_prototypes()).describe(np.ones(128, np.float32))

    assert unpack(pack(vector)).tolist() == vector.tolist()
    assert np.isclose(np.linalg.norm(unit(vector)), 1.0)
    with pytest.raises(WireError, match="64 bytes, got 3"):
        unpack(b"abc")
