"""A mean that shrinks to its prior, and that a stretch of one class does not carry away."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from edgeadapt.balanced import BalancedMean, Correlation

Labels = npt.NDArray[np.int64]
CLASSES = 10
# What class c shows: its own value around the domain's mean of 5.
OFFSETS = np.linspace(-3.0, 3.0, CLASSES)


def _mean(**changes: float) -> BalancedMean:
    options = {"prior_frames": 16.0, "window_frames": 512.0, **changes}
    return BalancedMean(np.zeros(1), classes=CLASSES, **options)  # type: ignore[arg-type]


def _values(labels: Labels) -> npt.NDArray[np.float64]:
    return (5.0 + OFFSETS[labels])[:, None]


def _fed(mean: BalancedMean, labels: Labels, excess: float) -> float:
    for start in range(0, len(labels), 16):
        part = labels[start : start + 16]
        mean.update(_values(part), part, excess)
    return float(mean.value[0])


def _mixed(count: int, seed: int = 1) -> Labels:
    return np.random.default_rng(seed).integers(0, CLASSES, count)


def _runs(count: int, length: int) -> Labels:
    return np.arange(count) // length % CLASSES


def test_without_a_guard_it_is_shrinkage_to_the_prior() -> None:
    """(N0 prior + n measured) / (N0 + n), while the window is long."""
    mean = BalancedMean(np.zeros(1), prior_frames=16.0, window_frames=1e9, classes=CLASSES, guarded=False)
    labels = np.zeros(48, np.int64)
    mean.update(_values(labels), labels, 1.0)
    assert float(mean.value[0]) == pytest.approx(48 * 2.0 / 64)
    assert mean.frames == 48


def test_independent_frames_are_followed_as_closely_with_the_guard_as_without() -> None:
    labels = _mixed(400)
    plain = BalancedMean(np.zeros(1), prior_frames=16.0, window_frames=512.0, classes=CLASSES, guarded=False)
    assert _fed(_mean(), labels, 0.0) == pytest.approx(_fed(plain, labels, 0.0), rel=0.02)
    assert _fed(_mean(), labels, 0.0) == pytest.approx(5.0, abs=0.5)


def test_a_stretch_of_one_class_hardly_moves_it() -> None:
    labels = np.full(400, 9, np.int64)
    plain = BalancedMean(np.zeros(1), prior_frames=16.0, window_frames=512.0, classes=CLASSES, guarded=False)
    assert _fed(plain, labels, 0.0) > 7.5
    assert 0.0 < _fed(_mean(), labels, 1.0) < 0.5


def test_after_all_classes_have_come_in_runs_the_one_now_running_does_not_matter() -> None:
    mean = _mean()
    found = [_fed(mean, part, 1.0) for part in np.split(_runs(1200, 60), 20)]
    assert found[0] < 1.0, "the first class alone"
    later = found[10:]
    assert all(abs(value - 5.0) < 1.0 for value in later)
    assert max(later) - min(later) < 0.6


def test_the_share_of_a_class_counts_where_frames_are_independent() -> None:
    labels = np.where(np.random.default_rng(2).random(480) < 0.7, 9, _mixed(480, 3))
    trusting, balanced = _fed(_mean(), labels, 0.0), _fed(_mean(), labels, 1.0)
    raw = float(_values(labels).mean())
    assert trusting == pytest.approx(raw, rel=0.1)
    assert balanced < raw - 1.0


def test_the_oldest_are_forgotten_and_relaxing_speeds_that_up() -> None:
    slow, fast = _mean(window_frames=160.0), _mean(window_frames=160.0)
    for mean in (slow, fast):
        _fed(mean, _mixed(600), 0.0)
    fast.relax()
    labels = _mixed(32, 4)
    for mean in (slow, fast):
        mean.update(_values(labels) + 10.0, labels, 0.0)
    assert 5.0 < float(slow.value[0]) < float(fast.value[0]) < 15.0
    for _ in range(60):
        slow.update(_values(labels) + 10.0, labels, 0.0)
    assert float(slow.value[0]) == pytest.approx(float((_values(labels) + 10.0).mean()), rel=0.05)


def test_where_the_domain_is_the_priors_a_stretch_of_one_class_leaves_it_there() -> None:
    """Though four in ten labels are wrong, and so look like other classes."""
    rng = np.random.default_rng(6)
    found = {}
    for nearness in (0.0, 1.1, 2.5):
        mean = BalancedMean(np.full(1, 5.0), prior_frames=16.0, window_frames=512.0, classes=CLASSES)
        for _ in range(20):
            labels = np.where(rng.random(16) < 0.6, 9, rng.integers(0, CLASSES, 16))
            mean.update(np.full((16, 1), 8.0), labels, 0.1, nearness)
        found[nearness] = float(mean.value[0]) - 5.0
    assert found[2.5] < 0.5 < found[1.1] < found[0.0]
    assert found[0.0] > 2.0, "what the labels alone say"


def test_with_very_many_classes_the_rare_ones_share_a_mean_and_none_is_lost() -> None:
    labels = np.random.default_rng(5).integers(0, 1000, 512)
    values = labels[:, None] / 1000.0
    mean = BalancedMean(np.zeros(1), prior_frames=0.0, window_frames=1e9, classes=1000)
    for start in range(0, 512, 8):
        mean.update(values[start : start + 8], labels[start : start + 8], 0.0)
    assert float(mean.value[0]) == pytest.approx(float(values.mean()), rel=1e-6)
    assert len(mean._means) <= 33


def test_a_model_with_one_class_has_nothing_to_guard() -> None:
    mean = BalancedMean(np.zeros(1), prior_frames=16.0, window_frames=1e9, classes=1)
    mean.update(np.full((48, 1), 4.0), np.zeros(48, np.int64), 1.0)
    assert float(mean.value[0]) == pytest.approx(3.0)


def test_two_classes_are_as_good_as_ten_where_there_are_no_more() -> None:
    labels = np.arange(64) % 2
    two = BalancedMean(np.zeros(1), prior_frames=16.0, window_frames=1e9, classes=2)
    many = _mean(window_frames=1e9)
    for mean in (two, many):
        mean.update(np.full((64, 1), 4.0), labels, 1.0)
    assert float(two.value[0]) > 2.5 > 1.0 > float(many.value[0])


def _excess(labels: Labels, correlation: Correlation | None = None) -> float:
    correlation = correlation if correlation is not None else Correlation(CLASSES)
    for label in labels:
        correlation.observe(int(label))
    return correlation.excess


def test_runs_are_told_from_a_model_that_predicts_one_class_nearly_always() -> None:
    rng = np.random.default_rng(7)
    collapsed = np.where(rng.random(300) < 0.8, 4, rng.integers(0, CLASSES, 300))
    assert _excess(collapsed) < 0.15
    assert _excess(_mixed(300)) < 0.1
    assert _excess(_runs(300, 30)) > 0.8


def test_one_class_alone_says_nothing_and_what_was_known_stays() -> None:
    before = Correlation(CLASSES).excess
    assert _excess(np.full(500, 3, np.int64)) == before
    correlation = Correlation(CLASSES)
    known = _excess(_runs(300, 30), correlation)
    correlation.new_segment()
    assert correlation.excess == known
    assert _excess(np.full(50, 3, np.int64), correlation) == known
