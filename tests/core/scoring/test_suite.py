"""A bundle's scorers: through calibration.safetensors and back, and from outputs to one p-value a frame."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from edgeadapt.bundle import Calibration
from edgeadapt.errors import BundleError, ConfigError
from edgeadapt.scoring import Outputs, Suite, conformal, scorer_kind
from edgeadapt.tensors import decode_tensors, encode_tensors
from tests.core.scoring.synthetic import CLASSES, STYLE, WIDTH, familiar, rows, strange

NAMES = ("abet", "energy", "fdbd", "hdc", "prototype-mixture", "rmds", "rmds-normalised", "style", "vim")


def _calibration(names: tuple[str, ...] = NAMES) -> Calibration:
    source, holdout = familiar(800, 0), familiar(1500, 1).outputs
    fitted = {name: scorer_kind(name).fit(source) for name in names}
    bare = Calibration(
        norm_mean=np.zeros(3, np.float32),
        norm_var=np.ones(3, np.float32),
        signature_mean=np.zeros(STYLE, np.float32),
        signature_std=np.ones(STYLE, np.float32),
        class_signatures=np.zeros((CLASSES, STYLE), np.float32),
        prototypes=np.zeros((CLASSES, WIDTH), np.float32),
        entropy_quantiles=np.linspace(0, 1, 65, dtype=np.float32),
    )
    return replace(
        bare,
        scorers={name: dict(scorer.tensors()) for name, scorer in fitted.items()},
        knots={name: conformal.knots(scorer.score(holdout)) for name, scorer in fitted.items()},
    )


@pytest.fixture(scope="module")
def calibration() -> Calibration:
    """With every kind of tensors."""
    return _calibration()


def test_scorers_travel_in_the_calibration(calibration: Calibration) -> None:
    data = calibration.encode()
    names = set(decode_tensors(data))
    assert {"knots.energy", "knots.vim", "scorer.vim.directions", "scorer.rmds-normalised.mean"} <= names
    suite = Suite.of(Calibration.decode(data))
    assert suite.names == NAMES
    assert dict(zip(suite.names, suite.semantic, strict=True)) == {n: n != "style" for n in NAMES}
    frames = familiar(50, 2).outputs
    np.testing.assert_array_equal(suite.score(frames), Suite.of(calibration).score(frames))


def test_familiar_frames_are_seldom_and_strange_ones_mostly_below_a_threshold(
    calibration: Calibration,
) -> None:
    suite = Suite.of(calibration)
    known = suite.p_values(suite.score(familiar(4000, 3).outputs))
    assert known.shape == (4000, len(NAMES))
    for column, name in enumerate(suite.names):
        assert 0.03 < (known[:, column] <= 0.05).mean() < 0.07, name
    assert 0.02 < (suite.combine(known) <= 0.05).mean() < 0.08
    odd = suite.combine(suite.p_values(suite.score(strange(500, 4))))
    assert (odd <= 0.05).mean() > 0.9


def test_one_frame_gets_what_it_gets_among_many(calibration: Calibration) -> None:
    suite, frames = Suite.of(calibration), familiar(30, 5).outputs
    p = suite.p_values(suite.score(frames))
    together = suite.combine(p)
    for index in range(30):
        alone = suite.p_values(suite.score(rows(frames, slice(index, index + 1))))
        assert alone.dtype == np.float32
        np.testing.assert_allclose(alone[0], p[index], rtol=1e-4)
        np.testing.assert_allclose(suite.combine(alone), together[index], rtol=1e-3)


@pytest.mark.parametrize("count", [1, 6])
def test_what_a_frame_does_not_have_is_left_out(calibration: Calibration, count: int) -> None:
    suite, frames = Suite.of(calibration), familiar(count, 6).outputs
    bare = Outputs(frames.logits, frames.embedding)
    scores = suite.score(bare)
    missing = [name in ("style", "abet") for name in suite.names]
    assert np.isnan(scores).all(axis=0).tolist() == missing
    p = suite.p_values(scores)
    assert np.isnan(p).all(axis=0).tolist() == missing
    present = [not gone for gone in missing]
    np.testing.assert_allclose(suite.combine(p), suite.combine(p[:, present]), rtol=1e-6)


def test_a_frame_that_is_not_finite_is_as_strange_as_can_be(calibration: Calibration) -> None:
    suite, frames = Suite.of(calibration), familiar(3, 7).outputs
    assert frames.embedding is not None
    frames.embedding[1] = np.nan
    p = suite.combine(suite.p_values(suite.score(frames)))
    assert p[1] < 1 / 1000
    assert p[0] > 0.01
    assert p[2] > 0.01


def test_a_patch_has_thresholds_of_its_own(calibration: Calibration) -> None:
    suite, frames = Suite.of(calibration), strange(40, 8)
    scores = suite.score(frames)
    own = {name: conformal.knots(scores[:, column]) for column, name in enumerate(suite.names)}
    p = suite.p_values(scores, suite.thresholds(own))
    assert np.median(p) == pytest.approx(0.5, abs=0.06)
    one = suite.p_values(scores[:1], suite.thresholds(own))
    np.testing.assert_allclose(one[0], p[0], rtol=1e-4)
    with pytest.raises(ConfigError, match="thresholds are for energy; the bundle has abet"):
        suite.thresholds({"energy": own["energy"]})


def test_a_bundle_without_scorers_has_an_empty_suite() -> None:
    suite = Suite.of(Calibration.decode(_calibration(()).encode()))
    assert suite.names == ()
    for count in (1, 4):
        scores = suite.score(familiar(count, 9).outputs)
        assert scores.shape == (count, 0)
        assert suite.combine(suite.p_values(scores)).tolist() == [1.0] * count


def test_a_scorer_of_another_model_is_refused(calibration: Calibration) -> None:
    narrow = replace(calibration, prototypes=np.zeros((CLASSES, WIDTH + 1), np.float32))
    with pytest.raises(BundleError, match="does not fit this bundle's model"):
        Suite.of(narrow)
    broken = {**calibration.scorers, "rmds": {"mean": np.zeros(WIDTH, np.float32)}}
    with pytest.raises(BundleError, match=r"'rmds' does not fit .* needs directions, eigenvalues"):
        Suite.of(replace(calibration, scorers=broken))


@pytest.mark.parametrize(("name", "value"), [("seed", -1.0), ("seed", 1e10), ("width", 0.0), ("width", 1e9)])
def test_a_projection_has_bounds(calibration: Calibration, name: str, value: float) -> None:
    hdc = {**calibration.scorers["hdc"], name: np.array([value], np.float32)}
    with pytest.raises(BundleError, match="is out of range"):
        Suite.of(replace(calibration, scorers={**calibration.scorers, "hdc": hdc}))


def test_a_scorer_that_is_not_installed_is_an_error_that_says_so(calibration: Calibration) -> None:
    knots = {**calibration.knots, "from-afar": calibration.knots["energy"]}
    decoded = Calibration.decode(replace(calibration, knots=knots).encode())
    with pytest.raises(ConfigError, match="unknown scorer 'from-afar'; known: abet, energy"):
        Suite.of(decoded)


_GOOD = np.arange(64, dtype=np.float32)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"scorer.odd.x": _GOOD}, "scorer.odd.x belongs to no scorer with knots"),
        ({"knots.energy": _GOOD[:63]}, "64 finite float32"),
        ({"knots.energy": _GOOD.astype(np.float64)}, "64 finite float32"),
        ({"knots.energy": _GOOD * np.float32(np.nan)}, "64 finite float32"),
        ({"knots.energy": _GOOD[::-1].copy()}, "must ascend"),
        ({"scorer.vim.origin": np.full(WIDTH, np.inf, np.float32)}, "finite float16 or float32"),
        ({"scorer.vim.origin": np.zeros(WIDTH, np.int8)}, "finite float16 or float32"),
        ({"scorer.energy": _GOOD}, "missing or unknown|belongs to no scorer"),
    ],
)
def test_a_damaged_file_is_named(
    calibration: Calibration, changed: dict[str, np.ndarray], message: str
) -> None:
    data = encode_tensors({**decode_tensors(calibration.encode()), **changed})
    with pytest.raises(BundleError, match=message):
        Calibration.decode(data)
