"""p-values: what split conformal calibration promises, and how 64 knots keep it."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from edgeadapt.errors import ConfigError
from edgeadapt.scoring import STRANGEST, conformal
from edgeadapt.tensors import FloatArray

_SCORES = hnp.arrays(np.float32, st.integers(1, 400), elements=st.floats(-1e6, 1e6, width=32))


def _exact(scores: FloatArray, calibration: FloatArray) -> npt.NDArray[np.float64]:
    """(1 + #{calibration <= s}) / (n + 1), as written."""
    below = calibration[None, :] <= scores[:, None]
    return np.asarray((1 + below.sum(axis=1)) / (len(calibration) + 1))


@pytest.mark.parametrize("n", [30, 200, 2000, 8000])
def test_knots_give_the_formulas_p_values(n: int) -> None:
    rng = np.random.default_rng(n)
    calibration = rng.gumbel(size=n).astype(np.float32)
    scores = rng.gumbel(size=5000).astype(np.float32)
    expected = _exact(scores, calibration)
    found = conformal.p_values(scores, conformal.knots(calibration))
    # Knots are 1.19 apart in p below 1/16 and 0.03 above, and calibration scores are 1 / (n + 1) apart.
    ratio = np.abs(np.log(found / np.maximum(expected, 1 / 4096)))
    assert ratio.max() <= np.log(2) * 1.01
    assert ratio[expected > 40 / (n + 1)].max(initial=0.0) < 0.1
    assert np.abs(found - expected).max() < 0.031 + 1 / (n + 1)
    assert np.abs(found - expected).mean() < 0.001 + 1 / (n + 1)


@pytest.mark.parametrize("n", [19, 100, 1000, 4000])
def test_p_values_of_exchangeable_frames_are_uniform(n: int) -> None:
    rng = np.random.default_rng(7)
    # Many calibration sets: the promise is over both.
    p = np.concatenate(
        [
            conformal.p_values(
                rng.standard_normal(200).astype(np.float32),
                conformal.knots(rng.standard_normal(n).astype(np.float32)),
            )
            for _ in range(300)
        ]
    )
    for alpha in (0.01, 0.05, 0.1, 0.5):
        share = float((p <= alpha).mean())
        assert share <= alpha * 1.06 + 0.004
        if (n + 1) * alpha >= 5:
            assert share >= alpha * 0.75


@given(calibration=_SCORES, scores=_SCORES)
def test_p_values_rise_with_the_score_and_are_never_zero(calibration: FloatArray, scores: FloatArray) -> None:
    knots = conformal.knots(calibration)
    assert knots.dtype == np.float32
    assert knots.shape == (64,)
    assert (knots[1:] >= knots[:-1]).all()
    ordered = np.sort(scores)
    p = conformal.p_values(ordered, knots)
    assert (p[1:] >= p[:-1]).all()
    lowest = max(1 / (len(calibration) + 1), 1 / 4096)
    assert (p >= lowest * (1 - 1e-5)).all()
    assert (p <= 1.0).all()


@given(calibration=_SCORES, scores=_SCORES)
def test_one_frame_gets_what_many_get(calibration: FloatArray, scores: FloatArray) -> None:
    knots = conformal.knots(calibration)
    many = conformal.p_values(scores, knots)
    one = [conformal.p_value(score, knots.tolist()) for score in scores.tolist()]
    np.testing.assert_allclose(one, many, rtol=1e-5)


@given(calibration=_SCORES)
def test_a_tie_is_not_stranger_and_what_is_above_all_is_familiar(calibration: FloatArray) -> None:
    knots = conformal.knots(calibration)
    above = conformal.p_values(calibration.max()[None], knots)
    assert above[0] == 1.0
    same = conformal.knots(np.full(50, calibration[0], np.float32))
    assert conformal.p_values(calibration[:1], same)[0] == 1.0


def test_what_is_not_a_number_is_the_strangest() -> None:
    knots = conformal.knots(np.arange(9999, dtype=np.float32))
    found = conformal.p_values(np.array([np.nan, STRANGEST, -np.inf], np.float32), knots)
    np.testing.assert_allclose(found, 1 / 4096, rtol=1e-6)
    assert conformal.p_value(float("nan"), knots.tolist()) == pytest.approx(1 / 4096)


def test_knots_need_scores() -> None:
    with pytest.raises(ConfigError, match="at least one frame"):
        conformal.knots(np.array([], np.float32))
    with pytest.raises(ConfigError, match="no NaN"):
        conformal.knots(np.array([1.0, np.nan], np.float32))


def test_cauchy_is_the_formula() -> None:
    p = np.random.default_rng(0).uniform(0.001, 0.98, (3, 100))
    total = np.tan((0.5 - p) * np.pi).mean(axis=0)
    np.testing.assert_allclose(
        conformal.cauchy(p.astype(np.float32)), 0.5 - np.arctan(total) / np.pi, rtol=1e-4
    )


@pytest.mark.parametrize("correlation", [0.0, 0.6, 1.0])
def test_combined_p_values_hold_their_level(correlation: float) -> None:
    rng = np.random.default_rng(1)
    shared, own = rng.standard_normal((1, 400_000)), rng.standard_normal((3, 400_000))
    z = np.sqrt(correlation) * shared + np.sqrt(1 - correlation) * own
    order = z.argsort(axis=1).argsort(axis=1)
    p = (order + 1) / (z.shape[1] + 1)
    combined = conformal.cauchy(p.astype(np.float32))
    for alpha in (0.01, 0.05):
        assert 0.8 * alpha < (combined <= alpha).mean() < 1.15 * alpha


def test_combining_is_safe_at_the_ends() -> None:
    p = np.array([[0.0, 1.0, 0.0, np.nan, np.nan, 1e-4], [0.0, 1.0, 1.0, 0.2, np.nan, 1.0]], np.float32)
    combined = conformal.cauchy(p)
    assert np.isfinite(combined).all()
    assert 0.0 <= combined[0] < 1e-12
    assert combined[1] == pytest.approx(0.99)
    assert combined[2] < 1e-12
    assert combined[3] == pytest.approx(0.2)
    assert combined[4] == 1.0
    assert combined[5] < 1e-3  # a score that saturates does not outweigh one that is sure
    one = [conformal.cauchy_one(column) for column in p.T.tolist()]
    np.testing.assert_allclose(one, combined, rtol=1e-5, atol=1e-12)
    assert conformal.cauchy(np.empty((0, 2), np.float32)).tolist() == [1.0, 1.0]


@given(st.lists(st.floats(0, 1), min_size=1, max_size=5), st.floats(0, 1))
def test_a_smaller_p_value_never_raises_the_combined_one(p: list[float], smaller: float) -> None:
    lower = [min(p[0], smaller), *p[1:]]
    before = conformal.cauchy(np.array(p, np.float32)[:, None])[0]
    after = conformal.cauchy(np.array(lower, np.float32)[:, None])[0]
    assert after <= before * (1 + 1e-6)
