"""Knots of the device's own domain: the base's, moved to where the domain's scores lie."""

from __future__ import annotations

import numpy as np
import pytest

from edgeadapt.scoring.base import STRANGEST
from edgeadapt.scoring.conformal import cauchy, knots, p_values
from edgeadapt.tensors import FloatArray
from edgeadapt_device.core.flagging.domain_knots import FIRST_FRAMES, DomainKnots, moved

ALPHA = 0.05


def skewed(rng: np.random.Generator, count: int) -> FloatArray:
    """[N, 2] scores of two dependent scorers with a long lower tail."""
    weight: FloatArray = np.array([[1.0], [3.0]], dtype=np.float32)
    common = -rng.gamma(2.0, 1.0, count)
    own = -rng.gamma(2.0, 0.3, (2, count))
    scores: FloatArray = (weight * (common + own)).T.astype(np.float32)
    return scores


def base() -> tuple[FloatArray, ...]:
    return tuple(knots(column) for column in skewed(np.random.default_rng(9), 5000).T)


def shifted(scores: FloatArray) -> FloatArray:
    """The scores as another domain has them: lower and wider."""
    moved_on: FloatArray = (1.2 * scores - np.array([1.0, 2.0])).astype(np.float32)
    return moved_on


def strange(scores: FloatArray, rows: tuple[FloatArray, ...]) -> float:
    p = [p_values(column, row) for column, row in zip(scores.T, rows, strict=True)]
    return float((cauchy(p) < ALPHA).mean())


def watching(seed: int = 0) -> DomainKnots:
    return DomainKnots(tuple(row.tolist() for row in base()), ALPHA, np.random.default_rng(seed))


def arrays(found: DomainKnots) -> tuple[FloatArray, ...]:
    assert found.knots is not None
    return tuple(np.array(row, dtype=np.float32) for row in found.knots)


@pytest.mark.parametrize("unknown", [0.0, 0.05, 0.1, 0.2])
def test_known_frames_are_strange_as_alpha_says_with_and_without_unknown_ones_in_the_record(
    unknown: float,
) -> None:
    rng = np.random.default_rng(3)
    known, fresh = shifted(skewed(rng, 512)), shifted(skewed(rng, 4000))
    known[: round(unknown * 512)] -= np.array([14.0, 40.0], dtype=np.float32)
    odd = shifted(skewed(rng, 500)) - np.array([14.0, 40.0], dtype=np.float32)

    own, found = moved(known, base(), ALPHA)
    tail = tuple(knots(column) for column in known.T)

    assert strange(fresh, base()) > 2 * ALPHA  # what all this is for
    assert 0.02 < strange(fresh, own) < 2 * ALPHA
    assert strange(odd, own) > 0.9
    assert abs(found - unknown) < 0.03
    if unknown == 0.2:  # the record's own tail would have taken them for usual
        assert strange(odd, tail) < 0.5


def test_a_record_of_easy_frames_makes_nothing_strange_that_the_base_would_not() -> None:
    easy = (0.1 * skewed(np.random.default_rng(4), 512)).astype(np.float32)
    for own, row in zip(moved(easy, base(), ALPHA)[0], base(), strict=True):
        assert (own <= row).all()


def test_a_score_that_saturates_leaves_the_records_own_tail() -> None:
    """Its quartiles lie together, and would put every bound out of reach."""
    rng = np.random.default_rng(5)
    flat = tuple(
        knots(np.where(rng.random(5000) < 0.2, -rng.random(5000), 0.0).astype(np.float32)) for _ in range(2)
    )
    record = np.repeat(np.where(rng.random(512) < 0.4, -3 * rng.random(512), 0.0)[:, None], 2, axis=1)
    own, _ = moved(record.astype(np.float32), flat, ALPHA)

    assert strange(record.astype(np.float32), own) >= 0.8 * ALPHA


@pytest.mark.parametrize("scores", [np.zeros((300, 2)), np.full((300, 2), STRANGEST)])
def test_knots_of_constant_scores_are_ascending_and_finite(scores: FloatArray) -> None:
    for row in moved(scores.astype(np.float32), base(), ALPHA)[0]:
        assert np.isfinite(row).all()
        assert (np.diff(row) >= 0.0).all()


def test_there_are_none_before_there_are_enough_frames_and_they_are_made_anew_as_more_come() -> None:
    found, made = watching(), []
    for number, row in enumerate(shifted(skewed(np.random.default_rng(6), 2048)).tolist(), start=1):
        if found.observe(tuple(row)):
            made.append(number)
        assert (found.knots is None) == (number < FIRST_FRAMES)

    assert made == [128, 256, 512, 1024, 1536, 2048]
    found.restart()
    assert (found.knots, found.frames) == (None, 0)


def test_a_model_that_does_not_fit_the_domain_gets_none() -> None:
    found = watching()
    for row in (shifted(skewed(np.random.default_rng(7), 128)) - np.float32(6.0)).tolist():
        found.observe(tuple(row))

    assert found.overwhelmed
    assert found.knots is None


def test_a_strange_thing_that_stays_for_a_while_does_not_become_usual() -> None:
    found, rng = watching(), np.random.default_rng(8)
    odd = shifted(skewed(rng, 600)) - np.array([14.0, 40.0], dtype=np.float32)
    for row in np.concatenate([shifted(skewed(rng, 3000)), odd]).tolist():
        found.observe(tuple(row))

    assert strange(odd, arrays(found)) > 0.9


def test_a_record_forgets_so_that_knots_follow_a_domain_that_moves_on() -> None:
    found, rng = watching(), np.random.default_rng(8)
    for row in np.concatenate([shifted(skewed(rng, 6000)), skewed(rng, 24_000)]).tolist():
        found.observe(tuple(row))
    fresh = skewed(rng, 4000)

    assert 0.02 < strange(fresh, arrays(found)) < 2 * ALPHA


def test_a_score_that_is_no_number_is_the_strangest() -> None:
    found, scores = watching(), shifted(skewed(np.random.default_rng(2), 128)).tolist()
    scores[5] = [float("nan"), -1.0]
    for row in scores:
        found.observe(tuple(row))

    assert all(np.isfinite(row).all() for row in arrays(found))


def test_so_many_strangest_scores_that_the_middle_has_no_scale_overflow_nothing() -> None:
    """As of a network whose embeddings are finite, and too large for a scorer; warnings are errors here."""
    scores = shifted(skewed(np.random.default_rng(3), FIRST_FRAMES))
    scores[::3] = STRANGEST
    found = watching()
    for row in scores:
        found.observe(tuple(row.tolist()))
    for mine, bundles in zip(arrays(found), base(), strict=True):
        assert np.isfinite(mine).all()
        assert (mine <= bundles).all()
