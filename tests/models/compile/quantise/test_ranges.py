"""Ranges of activations: what is cut, what is not, and what cannot be calibrated."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from edgeadapt.errors import CompileError
from edgeadapt.tensors import FloatArray
from edgeadapt_models.compile.quantise.ranges import TensorRange, measure_ranges


def doubling(batch: int | str = "batch", factor: float = 2.0) -> onnx.ModelProto:
    """input [batch, 64] -> doubled -> logits = relu(doubled)."""
    shape = [batch, 64]
    graph = helper.make_graph(
        [
            helper.make_node("Mul", ["input", "factor"], ["doubled"]),
            helper.make_node("Relu", ["doubled"], ["logits"]),
        ],
        "doubling",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, shape)],
        [onnx.numpy_helper.from_array(np.array(factor, np.float32), "factor")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def normal(count: int = 400, seed: int = 0) -> FloatArray:
    return np.random.default_rng(seed).normal(size=(count, 64)).astype(np.float32)


def tailed() -> FloatArray:
    """A quarter of a million normal values and one far out."""
    frames = normal(4000)
    frames[7, 3] = 20.0
    return frames


def test_minmax_is_the_extremes_of_every_tensor_with_zero_inside() -> None:
    frames = 1 + np.abs(normal())
    ranges = measure_ranges(doubling(), frames, ["input", "doubled"], method="minmax")
    assert ranges["input"] == TensorRange(0.0, float(frames.max()))
    assert ranges["doubled"] == TensorRange(0.0, 2 * float(frames.max()))


def test_a_long_tail_is_cut_and_a_short_one_is_not() -> None:
    flat = np.random.default_rng(0).uniform(-1, 1, (400, 64)).astype(np.float32)
    assert measure_ranges(doubling(), flat, ["doubled"])["doubled"].high == pytest.approx(2.0, rel=0.02)
    cut = measure_ranges(doubling(), tailed(), ["doubled"])["doubled"]
    assert 8.0 < cut.high < 32.0
    assert -12.0 < cut.low < -6.0


def test_the_cut_lowers_the_squared_error_of_eight_bits() -> None:
    frames = tailed()

    def error(held: TensorRange) -> float:
        step = (held.high - held.low) / 255
        kept = np.clip(np.rint(2 * frames / step) * step, held.low, held.high)
        return float(np.mean((kept - 2 * frames) ** 2))

    cut = measure_ranges(doubling(), frames, ["doubled"])["doubled"]
    whole = measure_ranges(doubling(), frames, ["doubled"], method="minmax")["doubled"]
    assert error(cut) < 0.9 * error(whole)


def test_zeros_do_not_count_as_noise() -> None:
    """They are exact at any step, so a sparse tensor is no reason to cut it."""
    frames = np.random.default_rng(0).uniform(0, 1, (400, 64)).astype(np.float32)
    frames[:, 4:] = 0.0
    assert measure_ranges(doubling(), frames, ["doubled"])["doubled"].high == pytest.approx(2.0, rel=0.02)


def test_a_fixed_batch_is_kept() -> None:
    frames = normal(35)
    frames[34] = 50.0  # in the rest of three, which a batch of eight leaves out
    found = measure_ranges(doubling(batch=8), frames, ["doubled"], method="minmax")["doubled"]
    assert found.high == pytest.approx(2 * float(frames[:32].max()))


def test_constant_tensors_have_a_range() -> None:
    zeros, fives = np.zeros((20, 64), np.float32), np.full((20, 64), 5.0, np.float32)
    assert measure_ranges(doubling(), zeros, ["logits"])["logits"] == TensorRange(0.0, 0.0)
    assert measure_ranges(doubling(), fives, ["logits"])["logits"] == TensorRange(0.0, 10.0)
    assert measure_ranges(doubling(), -fives, ["doubled"])["doubled"] == TensorRange(-10.0, 0.0)


@pytest.mark.parametrize(
    ("frames", "tensors", "words"),
    [
        (normal(15), ["doubled"], "at least 16 calibration images, got 15"),
        (normal(20), ["other"], "no tensor 'other'"),
        (np.full((20, 64), np.nan, np.float32), ["doubled"], "'doubled' holds NaN or infinity"),
        (np.full((20, 64), 3e38, np.float32), ["doubled"], "'doubled' holds NaN or infinity"),
        (normal(20)[:, :32], ["doubled"], "fails on an input"),
    ],
)
def test_what_cannot_be_calibrated_is_named(frames: FloatArray, tensors: list[str], words: str) -> None:
    with np.errstate(over="ignore"), pytest.raises(CompileError, match=words):
        measure_ranges(doubling(), frames, tensors)


def test_a_nan_in_a_later_batch_is_seen_too() -> None:
    frames = normal(300)
    frames[299, 0] = np.nan
    with pytest.raises(CompileError, match="'input' holds NaN"):
        measure_ranges(doubling(), frames, ["input"])


def test_a_range_without_zero_is_refused() -> None:
    with pytest.raises(CompileError, match="hold zero"):
        TensorRange(1.0, 2.0)
