"""Statistics, signatures and scores against values worked out by hand."""

from __future__ import annotations

import math

import msgspec
import numpy as np
import pytest

from edgeadapt.normstats import (
    NormEstimator,
    StatisticsConfig,
    distance_moved,
    statistics_of_slots,
    statistics_slots,
)
from edgeadapt.scoring import RedundancyFilter, entropy, entropy_bounds, softmax, softmax_and_entropy
from edgeadapt.signature import distance, features
from tests.core import bundles

MEAN = np.array([0.0, 2.0], np.float32)
VAR = np.array([1.0, 4.0], np.float32)


def _estimator(*, window_frames: float = 512.0) -> NormEstimator:
    config = StatisticsConfig(prior_frames=16.0, window_frames=window_frames, diversity_guard=False)
    return NormEstimator(MEAN, VAR, config, 3)


def _feed(estimator: NormEstimator, mean: float, var: float, count: int) -> bool:
    """`count` frames whose two channels have this mean and this variance."""
    means = np.full((count, 2), mean, np.float32)
    return estimator.update(means, (var + means**2).astype(np.float32), np.arange(count) % 3)


def test_an_estimator_starts_at_the_source() -> None:
    estimator = _estimator()
    assert estimator.mean.tolist() == [0.0, 2.0]
    assert np.allclose(estimator.var, VAR)


def test_shrinkage_to_the_source_is_a_weighted_mean() -> None:
    """(N0 * source + n * measured) / (N0 + n), with the second moment pooled the same way."""
    estimator = _estimator(window_frames=1e9)
    assert _feed(estimator, 4.0, 1.0, 48)
    assert np.allclose(estimator.mean, [3.0, 3.5])
    second = (16 * (VAR + MEAN**2) + 48 * (1.0 + 16.0)) / 64
    assert np.allclose(estimator.var, second - np.array([3.0, 3.5]) ** 2)
    assert estimator.frames == 48


def test_frames_with_nan_do_not_move_the_estimate() -> None:
    estimator = _estimator()
    assert not _feed(estimator, float("nan"), 1.0, 16)
    assert not _feed(estimator, float("inf"), 1.0, 16)
    assert estimator.mean.tolist() == [0.0, 2.0]
    assert estimator.frames == 0
    means = np.array([[np.nan, 0.0], [4.0, 4.0]], np.float32)
    assert estimator.update(means, means**2, np.zeros(2, np.int64))
    assert estimator.frames == 1


def test_constant_channels_keep_a_positive_variance() -> None:
    estimator = _estimator(window_frames=16)
    for _ in range(200):
        _feed(estimator, 5.0, 0.0, 16)
    assert (estimator.var > 0).all()


def test_a_move_is_in_standard_deviations_and_takes_in_the_variance() -> None:
    assert distance_moved((MEAN, VAR), (MEAN, VAR)) == 0.0
    away = (MEAN + np.array([0.5, 1.0], np.float32), VAR)
    assert distance_moved((MEAN, VAR), away) == pytest.approx(0.5)
    wider = (MEAN, (VAR * np.float32(np.e**2)).astype(np.float32))
    assert distance_moved((MEAN, VAR), wider) == pytest.approx(1.0)


def test_statistics_and_slots_are_inverse() -> None:
    manifest = bundles.bundle().manifest
    slots = statistics_slots(manifest, MEAN, VAR)
    assert set(slots) == {"bn.mean", "bn.var"}
    back = statistics_of_slots(manifest, slots, np.zeros(2, np.float32), np.ones(2, np.float32))
    assert np.array_equal(back[0], MEAN)
    assert np.array_equal(back[1], VAR)


def test_signature_features_are_means_then_deviations() -> None:
    manifest = bundles.bundle().manifest
    mean = np.array([[1.0, 2.0]], np.float32)
    square = np.array([[5.0, 4.0]], np.float32)
    assert features(manifest, mean, square).tolist() == [[1.0, 2.0, 2.0, 0.0]]


def test_the_signature_is_taken_from_the_copy_that_no_slot_reaches() -> None:
    manifest = msgspec.structs.replace(bundles.bundle().manifest, signature_offset=2)
    assert (manifest.layer_channels, manifest.probe_channels) == (2, 4)
    mean = np.array([[9.0, 9.0, 1.0, 2.0]], np.float32)
    square = np.array([[99.0, 99.0, 5.0, 4.0]], np.float32)
    assert features(manifest, mean, square).tolist() == [[1.0, 2.0, 2.0, 0.0]]
    # The layers' own statistics stay where they were.
    slots = statistics_slots(manifest, mean[0], square[0])
    assert slots["bn.mean"].tolist() == [9.0, 9.0]


def test_signature_distance_is_in_source_deviations() -> None:
    calibration = bundles.calibration()
    a = np.zeros(4, np.float32)
    assert distance(a, np.array([1.0, 2.0, 0.5, 1.0], np.float32), calibration) == pytest.approx(1.0)
    assert distance(a, a, calibration) == 0.0
    assert distance(a, np.full(4, np.nan, np.float32), calibration) == math.inf
    assert distance(a, np.zeros(3, np.float32), calibration) == math.inf


@pytest.mark.parametrize("seed", range(4))
def test_one_row_is_scored_as_one_of_many(seed: int) -> None:
    rng = np.random.default_rng(seed)
    rows = (rng.normal(0, 10**seed, (20, 3 + 7 * seed))).astype(np.float32)
    rows[0, 0], rows[1, 1], rows[2, 2], rows[3] = np.nan, np.inf, -np.inf, np.finfo(np.float32).max
    rows[4] = np.where(np.arange(len(rows[4])) == 1, 3e38, -3e38)
    many = softmax(rows)
    for row, wanted, uncertain in zip(rows, many, entropy(many), strict=True):
        probabilities, value = softmax_and_entropy(row)
        np.testing.assert_array_equal(probabilities, wanted)
        assert probabilities.dtype == np.float32
        assert value == pytest.approx(float(uncertain), abs=2e-6)
        assert value >= 0.0


def test_softmax_and_entropy() -> None:
    p = softmax(np.array([[0.0, 0.0], [1000.0, 0.0], [np.nan, 1.0]], np.float32))
    assert np.allclose(p, [[0.5, 0.5], [1.0, 0.0], [0.5, 0.5]])
    assert np.allclose(entropy(p), [math.log(2), 0.0, math.log(2)], atol=1e-6)
    assert entropy_bounds(10, 0.02, 0.4) == pytest.approx((0.02 * math.log(10), 0.4 * math.log(10)))


def test_redundancy_filter_drops_repeats_and_keeps_novelty() -> None:
    keeper = RedundancyFilter(classes=3, margin=0.5)
    first, other = np.array([1, 0, 0], np.float32), np.array([0, 1, 0], np.float32)
    assert keeper.is_new(first)
    keeper.keep(first)
    assert not keeper.is_new(first)
    assert keeper.is_new(other)
