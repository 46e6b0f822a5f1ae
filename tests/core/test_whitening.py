"""Whitened distances: one source frame lies 1 away, whatever the features share; and bundles without W."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest

from edgeadapt import whitening
from edgeadapt.bundle import Bundle, Calibration
from edgeadapt.errors import BundleError
from edgeadapt.signature import distance
from edgeadapt.tensors import FloatArray, decode_tensors, encode_tensors
from tests.core import bundles
from tests.core.test_bundle import exchanged


def correlated(frames: int, size: int, seed: int = 0) -> FloatArray:
    """Features that share one loud part; each has a quiet one of its own, a twentieth as large."""
    rng = np.random.default_rng(seed)
    return (rng.normal(size=(frames, 1)) + 0.05 * rng.normal(size=(frames, size)) + 3.0).astype(np.float32)


def fitted(features: FloatArray, *, whiten: bool = True) -> Calibration:
    """A calibration of these features, with or without whitening."""
    size = features.shape[1]
    return replace(
        bundles.calibration(),
        signature_mean=features.mean(axis=0),
        signature_std=features.std(axis=0),
        class_signatures=np.tile(features.mean(axis=0), (3, 1)),
        signature_whitening=whitening.fit(features) if whiten else np.zeros((0, 0, 0), np.float32),
        norm_mean=np.zeros(size // 2, np.float32),
    )


@pytest.mark.parametrize("size", [2, 32, 300, 26 * 26])
def test_a_source_frame_lies_one_away_and_a_mean_of_n_one_over_root_n(size: int) -> None:
    features = correlated(2000, size)
    calibration = fitted(features)
    blocks = calibration.signature_whitening.shape
    assert blocks[0] * blocks[1] == size
    assert blocks[1] == blocks[2] <= whitening.MOST_FEATURES
    away = whitening.whiten(features - calibration.signature_mean, calibration)
    assert np.sqrt(np.mean(away**2)) == pytest.approx(1.0, abs=0.02)
    means = away[:1920].reshape(-1, 24, size).mean(axis=1)
    assert np.sqrt(np.mean(means**2)) == pytest.approx(24**-0.5, rel=0.15)


@pytest.mark.parametrize("size", [32, 300])
def test_what_the_features_do_not_share_counts_for_more_than_what_they_share(size: int) -> None:
    """A shift of the quiet part is far, one as large of the loud part is not; plainly they are the same."""
    features = correlated(2000, size)
    quiet = np.where(np.arange(size) % 2, 0.1, -0.1) * features.std(axis=0)
    loud = 0.1 * features.std(axis=0)
    source = features.mean(axis=0)
    plain, white = fitted(features, whiten=False), fitted(features)
    assert distance(source + quiet, source, plain) == pytest.approx(distance(source + loud, source, plain))
    assert distance(source + quiet, source, white) > 3.0 * distance(source + loud, source, white)


def test_blocks_hold_whole_channels_and_keep_the_features_order() -> None:
    """Of two blocks the second is another one: only what is in it may change."""
    size = 8
    matrices = np.stack([np.eye(4), 3.0 * np.eye(4)]).astype(np.float32)
    calibration = replace(fitted(correlated(50, size), whiten=False), signature_whitening=matrices)
    scaled = whitening.whiten(calibration.signature_std.astype(np.float64), calibration)
    np.testing.assert_allclose(scaled, [1, 1, 3, 3, 1, 1, 3, 3], rtol=1e-6)


def test_an_odd_frame_is_clipped_in_length_and_keeps_its_direction() -> None:
    rows = np.array([[3.0, 4.0], [0.3, 0.4], [0.0, 0.0]])
    np.testing.assert_allclose(whitening.clipped(rows, 1.0)[0], np.array([0.6, 0.8]) * np.sqrt(2))
    np.testing.assert_allclose(whitening.clipped(rows, 1.0)[1:], rows[1:])


@pytest.mark.parametrize(
    "features",
    [np.ones((20, 4)), np.ones((1, 4)), np.random.default_rng(0).normal(size=(3, 64))],
    ids=["constant", "one frame", "fewer frames than features"],
)
def test_sources_that_say_little_give_finite_matrices(features: npt.NDArray[np.float64]) -> None:
    assert np.isfinite(whitening.fit(features)).all()


def test_a_bundle_without_whitening_has_plain_distances_and_a_wide_tolerance() -> None:
    tensors = decode_tensors(bundles.calibration().encode())
    del tensors["signature_whitening"], tensors["drift_tolerance"]
    found = Bundle.from_files(exchanged("calibration.safetensors", encode_tensors(tensors))).calibration
    assert distance(np.array([1, 2, 0.5, 1], np.float32), found.signature_mean, found) == pytest.approx(1.0)
    assert found.drift_tolerance == pytest.approx([0.2])


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("signature_whitening", np.zeros((1, 3, 3)), r"signature_whitening has shape \(1, 3, 3\)"),
        ("signature_whitening", np.zeros((4, 1, 1)), "an even number of features"),
        ("signature_whitening", np.zeros((4, 4)), "signature_whitening has shape"),
        ("signature_whitening", np.zeros((9, 1, 1)), "signature_whitening has shape"),
        ("drift_tolerance", np.zeros(2), "drift_tolerance has shape"),
        ("drift_tolerance", -np.ones(1), "drift_tolerance holds a negative value"),
    ],
)
def test_whitening_that_does_not_fit_is_named(field: str, value: npt.NDArray[np.float64], words: str) -> None:
    tensors = decode_tensors(bundles.calibration().encode())
    tensors[field] = value.astype(np.float32)
    with pytest.raises(BundleError, match=words):
        Bundle.from_files(exchanged("calibration.safetensors", encode_tensors(tensors)))


def test_vectors_that_are_no_numbers_or_of_another_length_are_infinitely_far() -> None:
    calibration = fitted(correlated(100, 4))
    source = calibration.signature_mean
    assert distance(np.full(4, np.nan, np.float32), source, calibration) == np.inf
    assert distance(np.full(4, 3e38, np.float32), -np.full(4, 3e38, np.float32), calibration) > 1e30
    assert distance(source[:2], source, calibration) == np.inf
