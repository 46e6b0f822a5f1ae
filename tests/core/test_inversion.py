"""Where only a norm layer's output can be measured, its input's moments come back, or the source's do."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeadapt.bundle import Artifact, Calibration, MomentInversion, NormLayer
from tests.core import bundles

Place = Literal["input", "output"]


def layer(name: str, channels: int, offset: int) -> NormLayer:
    return NormLayer(name, "batch", channels, 1e-5, offset, *(f"{name}.{part}" for part in "sbmv"))


def calibration(mean: npt.NDArray[Any], var: npt.NDArray[Any]) -> Calibration:
    return replace(bundles.calibration(), norm_mean=mean.astype(np.float32), norm_var=var.astype(np.float32))


def inversion(
    places: tuple[Place, ...], values: dict[str, npt.NDArray[np.float32]], source: Calibration, channels: int
) -> MomentInversion:
    layers = [layer(f"n{i}", channels, i * channels) for i in range(len(places))]
    return MomentInversion(Artifact("tflite", "m", "", (), places), layers, source, values)


def moments(x: npt.NDArray[Any]) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Per frame and channel of [N, positions, C]."""
    return x.mean(axis=1).astype(np.float32), (x**2).mean(axis=1).astype(np.float32)


@given(st.integers(0, 2**32 - 1), st.integers(1, 4))
def test_moments_of_outputs_become_those_of_inputs(seed: int, channels: int) -> None:
    """Two layers: the first is measured where it is, the second behind the norm."""
    rng = np.random.default_rng(seed)
    values = {
        f"n{i}.{part}": rng.normal(size=channels).astype(np.float32) for i in range(2) for part in "sbm"
    }
    for i in range(2):
        values[f"n{i}.v"] = rng.uniform(0.5, 2.0, channels).astype(np.float32)
        values[f"n{i}.s"] = (rng.choice([-1, 1], channels) * rng.uniform(0.3, 2, channels)).astype(np.float32)
    x = rng.normal(rng.normal(size=2 * channels), rng.uniform(0.5, 2, 2 * channels), (3, 50, 2 * channels))
    gain = values["n1.s"] / np.sqrt(values["n1.v"].astype(np.float64) + 1e-5)
    y = x.copy()
    y[..., channels:] = (x[..., channels:] - values["n1.m"]) * gain + values["n1.b"]
    source = calibration(np.zeros(2 * channels), np.ones(2 * channels))
    found = inversion(("input", "output"), values, source, channels).apply(*moments(y))
    for actual, expected in zip(found, moments(x), strict=True):
        assert actual.dtype == np.float32
        np.testing.assert_allclose(actual, expected, rtol=2e-4, atol=2e-4)


@given(st.floats(-1e-4, 1e-4))
def test_a_channel_that_is_switched_off_takes_the_sources_moments(scale: float) -> None:
    values = {
        "n0.s": np.array([scale, 1.0], np.float32),
        "n0.b": np.array([5.0, 0.0], np.float32),
        "n0.m": np.zeros(2, np.float32),
        "n0.v": np.ones(2, np.float32),
    }
    source = calibration(np.array([3.0, 0.0]), np.array([4.0, 1.0]))
    y = np.random.default_rng(1).normal(size=(2, 9, 2)) * values["n0.s"] + values["n0.b"]
    mean, square = inversion(("output",), values, source, 2).apply(*moments(y))
    np.testing.assert_allclose(mean[:, 0], 3.0)
    np.testing.assert_allclose(square[:, 0], 13.0)  # var + mean^2
    assert np.abs(mean[:, 1]).max() < 1.5


def test_inputs_are_given_back_as_they_are() -> None:
    found = inversion(("input",), {}, calibration(np.zeros(2), np.zeros(2)), 2)
    mean, square = np.ones((1, 2), np.float32), np.full((1, 2), 2.0, np.float32)
    assert not found.needed
    assert found.apply(mean, square) == (mean, square)


def test_what_is_not_finite_stays_so() -> None:
    """A broken frame must not look like a sound one: the estimator leaves it out."""
    values = {f"n0.{part}": np.ones(2, np.float32) for part in "sbmv"}
    found = inversion(("output",), values, calibration(np.zeros(2), np.ones(2)), 2)
    for bad in (np.nan, np.inf):
        mean, square = found.apply(np.array([[bad, 1.0]], np.float32), np.array([[bad, 2.0]], np.float32))
        assert not (np.isfinite(mean[0, 0]) and np.isfinite(square[0, 0]))
        assert np.isfinite(mean[0, 1])


def test_a_mute_channel_hides_a_broken_frame_only_in_itself() -> None:
    values = {f"n0.{part}": np.ones(2, np.float32) for part in "sbmv"}
    values["n0.s"] = np.array([0.0, 1.0], np.float32)
    found = inversion(("output",), values, calibration(np.zeros(2), np.ones(2)), 2)
    mean, _ = found.apply(np.full((1, 2), np.nan, np.float32), np.full((1, 2), np.nan, np.float32))
    assert mean[0, 0] == pytest.approx(0.0)
    assert np.isnan(mean[0, 1])
