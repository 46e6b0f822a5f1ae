"""The window test on style: about 1 at home, and it sees what no single frame shows."""

from __future__ import annotations

import numpy as np
import pytest

from edgeadapt.scoring import Outputs, Source, scorer_kind
from edgeadapt.scoring.scorers.style import window_statistic
from edgeadapt.tensors import FloatArray

_MEAN = np.array([1.0, 2.0, 0.5, 4.0], np.float32)
_STD = np.array([0.1, 0.5, 0.05, 1.0], np.float32)


def _frames(count: int, seed: int, shift: float = 0.0) -> FloatArray:
    z = np.random.default_rng(seed).standard_normal((count, 4)) + shift
    return (_MEAN + _STD * z).astype(np.float32)


@pytest.mark.parametrize("n", [1, 16, 64])
def test_it_is_about_one_at_home_whatever_the_window(n: int) -> None:
    found = [window_statistic(_frames(n, seed), _MEAN, _STD) for seed in range(400)]
    assert np.mean(found) == pytest.approx(1.0, abs=0.1)


def test_it_is_the_formula() -> None:
    style = _frames(32, 1).astype(np.float64)
    expected = np.mean((style.mean(axis=0) - _MEAN) ** 2 / (_STD.astype(np.float64) ** 2 / 32))
    assert window_statistic(style.astype(np.float32), _MEAN, _STD) == pytest.approx(expected, rel=1e-6)


def test_a_window_shows_a_shift_that_frames_hide() -> None:
    source = Source(
        Outputs(np.zeros((4000, 2), np.float32), style=_frames(4000, 2)), np.zeros(4000, np.int64)
    )
    scorer = scorer_kind("style").fit(source)

    def scores(style: FloatArray) -> FloatArray:
        return scorer.score(Outputs(np.zeros((len(style), 2), np.float32), style=style))

    home, away = _frames(640, 3), _frames(640, 4, shift=0.4)
    assert (scores(home)[:, None] > scores(away)[None, :]).mean() < 0.65
    windows = [[window_statistic(part, _MEAN, _STD) for part in np.split(x, 10)] for x in (home, away)]
    assert max(windows[0]) < min(windows[1])


def test_one_frame_scores_minus_the_window_of_one() -> None:
    source = Source(Outputs(np.zeros((500, 2), np.float32), style=_frames(500, 5)), np.zeros(500, np.int64))
    style = _frames(3, 6)
    known = source.outputs.style
    assert known is not None
    found = scorer_kind("style").fit(source).score(Outputs(np.zeros((3, 2), np.float32), style=style))
    mean, std = known.mean(axis=0, dtype=np.float64), known.std(axis=0, dtype=np.float64)
    expected = [
        -window_statistic(row[None], mean.astype(np.float32), std.astype(np.float32)) for row in style
    ]
    np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_frames_that_are_not_finite_are_left_out_of_a_window() -> None:
    style = _frames(10, 7)
    broken = np.concatenate([style, np.full((2, 4), np.nan, np.float32), np.full((1, 4), np.inf, np.float32)])
    assert window_statistic(broken, _MEAN, _STD) == window_statistic(style, _MEAN, _STD)
    assert window_statistic(broken[10:], _MEAN, _STD) == 0.0


def test_a_channel_that_never_varies_does_not_outweigh_the_others() -> None:
    std = np.array([0.1, 0.5, 0.0, 1.0], np.float32)
    style = _frames(16, 8)
    style[:, 2] = _MEAN[2] + 1e-5
    assert window_statistic(style, _MEAN, std) < 3.0
    assert np.isfinite(window_statistic(style, _MEAN, np.zeros(4, np.float32)))
