"""Integers from ranges and weights: zero is exact, ends are held, channels have scales of their own."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeadapt_models.compile.quantise.qparams import activation_params, quantise_weights
from edgeadapt_models.compile.quantise.ranges import TensorRange


@given(st.floats(-1e6, 0), st.floats(0, 1e6))
def test_the_range_is_held_to_a_step_and_zero_is_an_integer(low: float, high: float) -> None:
    params = activation_params(TensorRange(low, high))
    assert params.scale > 0
    assert -128 <= params.zero_point <= 127
    assert params.low <= low + params.scale
    assert params.high >= high - params.scale


def test_frames_of_eight_bits_are_exact() -> None:
    params = activation_params(TensorRange(0.0, 1.0))
    levels = np.arange(256, dtype=np.float32) / np.float32(255)
    integers = np.rint(levels / np.float32(params.scale)) + params.zero_point
    assert integers.tolist() == list(range(-128, 128))


def test_a_constant_zero_has_a_step() -> None:
    params = activation_params(TensorRange(0.0, 0.0))
    assert params.scale > 0
    assert params.zero_point == -128


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_weights_are_read_back_to_half_a_step(axis: int) -> None:
    rng = np.random.default_rng(0)
    weights = (rng.normal(size=(6, 5, 3)) * 10 ** rng.uniform(-4, 4, (6, 5, 3))).astype(np.float32)
    integers, scales = quantise_weights(weights, axis)
    assert integers.dtype == np.int8
    assert integers.min() >= -127
    assert scales.shape == (weights.shape[axis],)
    step = np.moveaxis(np.broadcast_to(scales, np.moveaxis(weights, axis, -1).shape), -1, axis)
    assert (np.abs(integers * step - weights) <= 0.5001 * step).all()
    extremes = np.abs(integers).max(axis=tuple(a for a in range(3) if a != axis % 3))
    assert (extremes == 127).all()


def test_a_dead_kernel_has_a_scale() -> None:
    weights = np.zeros((2, 3), np.float32)
    weights[1] = 1e-45  # below what a float32 scale can divide
    integers, scales = quantise_weights(weights, 0)
    assert not integers.any()
    assert (scales > 0).all()
