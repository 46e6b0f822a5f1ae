"""The error level of a test that is looked at after every value, and how soon it finds what is there."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest

from edgeadapt.sequential import MAX_E_VALUE, MeanTest

ALPHA = 0.05
TRIALS = 400


def _ever_above(values: npt.NDArray[np.float64], low: float, high: float, bound: float) -> bool:
    """True when the evidence for a mean above the bound passed 1/ALPHA at any moment."""
    test = MeanTest(low, high, bound)
    for value in values:
        test.observe(float(value))
        if test.e_above >= 1.0 / ALPHA:
            return True
    return False


@pytest.mark.parametrize("kind", ["coins", "narrow", "bursts"])
def test_under_the_null_the_bound_is_ever_crossed_with_a_chance_of_at_most_alpha(kind: str) -> None:
    """At the worst null, the bound itself; "bursts" are not independent, only their conditional mean is."""
    rng = np.random.default_rng(3)
    crossed = 0
    for _ in range(TRIALS):
        if kind == "coins":
            values = (rng.random(200) < 0.3).astype(np.float64)
        elif kind == "narrow":
            values = 0.3 + rng.uniform(-0.05, 0.05, 200)
        else:
            # The spread of a value depends on the one before it.
            values, wide = np.zeros(200), False
            for i in range(200):
                values[i] = 0.3 + (0.3 if wide else 0.05) * rng.choice([-1.0, 1.0])
                wide = values[i] > 0.3
        crossed += _ever_above(values, 0.0, 1.0, 0.3)
    allowed = ALPHA + 3 * math.sqrt(ALPHA * (1 - ALPHA) / TRIALS)
    assert crossed / TRIALS <= allowed


def test_a_test_at_a_fixed_sample_size_that_is_looked_at_all_the_time_would_not_hold_it() -> None:
    """Or the test above would show nothing: the same looks with a normal quantile fail by far."""
    rng = np.random.default_rng(3)
    crossed = 0
    for _ in range(TRIALS):
        values = (rng.random(200) < 0.3).astype(np.float64)
        counts = np.arange(1, 201)
        z = (np.cumsum(values) / counts - 0.3) / np.sqrt(0.21 / counts)
        crossed += bool((z[20:] > 1.645).any())
    assert crossed / TRIALS > 3 * ALPHA


@pytest.mark.parametrize(("mean", "most"), [(0.9, 12), (0.6, 60), (0.45, 200)])
def test_what_is_there_is_found_and_the_more_of_it_the_sooner(mean: float, most: int) -> None:
    rng = np.random.default_rng(5)
    found = []
    for _ in range(50):
        test = MeanTest(0.0, 1.0, 0.3)
        while test.e_above < 1.0 / ALPHA and test.count < 2000:
            test.observe(float(rng.random() < mean))
        found.append(test.count)
    assert float(np.median(found)) <= most


def test_both_sides_are_mirror_images() -> None:
    rng = np.random.default_rng(7)
    one, other = MeanTest(-1.0, 1.0, 0.08), MeanTest(-1.0, 1.0, -0.08)
    for value in rng.uniform(-0.4, 0.9, 60):
        one.observe(float(value))
        other.observe(float(-value))
    assert one.e_above == pytest.approx(other.e_below)
    assert one.e_below == pytest.approx(other.e_above)
    assert one.mean == pytest.approx(-other.mean)


def test_values_outside_the_range_count_as_its_ends_and_evidence_stays_a_number() -> None:
    test = MeanTest(0.0, 1.0, 0.5)
    for _ in range(5000):
        test.observe(9.0)
    assert (test.mean, test.e_above) == (1.0, MAX_E_VALUE)
    assert 0.0 <= test.e_below < 1e-6
    fresh = MeanTest(0.0, 1.0, 0.5)
    assert (fresh.e_above, fresh.e_below, fresh.mean) == (1.0, 1.0, 0.0)


@pytest.mark.parametrize("bound", [0.0, 1.0, -3.0])
def test_a_bound_outside_the_range_is_refused(bound: float) -> None:
    with pytest.raises(ValueError, match="low < bound < high"):
        MeanTest(0.0, 1.0, bound)
