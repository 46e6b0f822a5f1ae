"""Which uploads stay unseen, and what they stand for."""

from __future__ import annotations

import math

import pytest
import torch

from edgeadapt_cloud.adapt.sampling import stratum_weights, uniform_first, unseen_mask, weighted_mean


def test_the_newest_of_each_lane_stay_unseen() -> None:
    uniform = torch.tensor([True, False] * 10)
    unseen = unseen_mask(uniform, share_adapt=0.2, share_uniform=0.5)
    assert unseen.nonzero().flatten().tolist() == [10, 12, 14, 16, 17, 18, 19]


def test_no_share_keeps_nothing() -> None:
    assert not unseen_mask(torch.ones(5, dtype=torch.bool), share_adapt=0.5, share_uniform=0.0).any()


def test_uniform_lane_comes_first_and_newest_first() -> None:
    uniform = torch.tensor([True, False, True, False, False])
    assert uniform_first(uniform, 4).tolist() == [2, 0, 4, 3]
    exact = torch.tensor([True, True, False, True, False])[: len(uniform)]
    assert uniform_first(uniform, 4, exact).tolist() == [0, 3, 1], "nothing that was compressed with loss"


def test_weights_undo_the_entropy_selection() -> None:
    """1,000 frames: 20 % in the band, where a change gains 1; outside it loses 0.5. True mean: -0.2."""
    sure = torch.tensor([0.9999, 0.0001])
    torn = torch.tensor([0.97, 0.03])
    inside = torch.tensor([True] * 300 + [False] * 0 + [index % 5 == 0 for index in range(200)])
    uniform = torch.tensor([False] * 300 + [True] * 200)
    probabilities = torch.where(inside.unsqueeze(1), torn, sure)
    unseen = torch.ones(500, dtype=torch.bool)
    gains = torch.where(inside, 1.0, -0.5)
    weights = stratum_weights(probabilities, uniform, unseen)
    mean, _ = weighted_mean(gains, weights)
    assert mean == pytest.approx(-0.2, abs=1e-5)
    assert float(gains.mean()) > 0.4  # what an unweighted look would have said


def test_a_choice_that_was_not_by_entropy_counts_outside_the_band_as_well() -> None:
    """Half of the frames lie in the band; of the devices' own choice nine tenths do."""
    sure, torn = torch.tensor([0.9999, 0.0001]), torch.tensor([0.97, 0.03])
    inside = torch.tensor([index % 10 != 0 for index in range(300)] + [True, False] * 5)
    uniform = torch.tensor([False] * 300 + [True] * 10)
    unseen = torch.ones(310, dtype=torch.bool)
    weights = stratum_weights(torch.where(inside.unsqueeze(1), torn, sure), uniform, unseen)
    assert float(weights[inside].sum()) == pytest.approx(0.5)
    assert float(weights[~inside & ~uniform].sum()) == pytest.approx(0.5 * 30 / 35)
    assert float(weights[0]) == pytest.approx(0.5 / 35), "the first lies outside, and counts"


def test_without_a_uniform_lane_all_count_alike() -> None:
    probabilities = torch.full((6, 2), 0.5)
    unseen = torch.tensor([True] * 4 + [False] * 2)
    weights = stratum_weights(probabilities, torch.zeros(6, dtype=torch.bool), unseen)
    assert weights.tolist() == [0.25] * 4


def test_a_heavy_stratum_of_equal_values_is_not_certain() -> None:
    values = torch.tensor([1.0, -1.0] * 20 + [0.2, 0.2])
    weights = torch.tensor([0.5 / 40] * 40 + [0.25, 0.25])
    mean, error = weighted_mean(values, weights)
    assert mean == pytest.approx(0.1)
    assert error > 0.18


def test_the_error_of_coin_flips_is_that_of_the_textbook() -> None:
    values = torch.tensor([1.0, -1.0] * 500)
    _, error = weighted_mean(values, torch.full((1000,), 0.001))
    assert error == pytest.approx(1.0 / math.sqrt(1000), rel=0.01)
