"""The audit's estimate has no bias, its interval covers, and it never looks surer than it is."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeadapt_cloud.core.audit import estimate


def test_chances_that_go_with_what_is_right_leave_no_bias_and_the_interval_covers() -> None:
    """Right frames come when the chance is high: the plain share is far off, the estimate is not."""
    rng = np.random.default_rng(5)
    values, plain, covered = [], [], 0
    for _ in range(400):
        busy = rng.random(6000) < 0.5
        right = rng.random(6000) < np.where(busy, 0.95, 0.65)
        chance = np.where(busy, 0.05, 0.01)
        drawn = rng.random(6000) < chance
        found = estimate(right[drawn].tolist(), chance[drawn].tolist())
        values.append(found.value)
        plain.append(right[drawn].mean())
        covered += found.low <= right.mean() <= found.high
    assert abs(float(np.mean(values)) - 0.8) < 0.006
    assert float(np.mean(plain)) > 0.88
    assert covered >= 0.92 * 400


def test_a_few_that_are_all_right_are_not_certain() -> None:
    found = estimate([True] * 5, [0.1] * 5)
    assert found.value == 1.0
    assert found.low == pytest.approx(0.566, abs=0.005), "Wilson's interval for 5 of 5"
    assert found.high == 1.0
    assert str(found).startswith("1.000 (0.566 to 1.000) on 5 audit samples")


def test_samples_without_a_chance_say_nothing() -> None:
    nothing = estimate([True, False], [0.0, 2.0])
    assert (nothing.samples, nothing.low, nothing.high) == (0, 0.0, 1.0)
    assert estimate([True, False, True], [0.1, 0.0, 0.1]).samples == 2
    with pytest.raises(ValueError, match="argument"):
        estimate([True], [])


@given(st.lists(st.tuples(st.booleans(), st.floats(1e-6, 1.0)), min_size=1, max_size=50))
def test_every_estimate_lies_in_its_interval(samples: list[tuple[bool, float]]) -> None:
    found = estimate([r for r, _ in samples], [c for _, c in samples])
    assert 0.0 <= found.low <= found.value + 1e-9
    assert found.value - 1e-9 <= found.high <= 1.0
    assert 0.0 < found.effective <= len(samples) + 1e-6
