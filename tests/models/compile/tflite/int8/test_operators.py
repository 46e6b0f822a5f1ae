"""Operators between int8 kernels, those of which LiteRT needs several for one of ONNX among them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper

from edgeadapt_models.compile.quantise.calibrated import calibrated_params
from edgeadapt_models.compile.quantise.qparams import ActivationParams
from edgeadapt_models.compile.runtime import Runner
from edgeadapt_models.compile.tflite.int8.artifact import int8_model
from edgeadapt_models.compile.tflite.runtime import TfliteRunner
from tests.models.compile.tflite.graphs import compiled, graph

SHAPE = (1, 4, 9, 8)
RNG = np.random.default_rng(5)
CONSTANTS = {
    "w1": RNG.normal(0, 0.3, (6, 4, 3, 3)).astype(np.float32),
    "w2": RNG.normal(0, 0.2, (5, 6, 3, 3)).astype(np.float32),
    "w3": RNG.normal(0, 0.2, (5, 24, 1, 1)).astype(np.float32),
}
FIRST = helper.make_node("Conv", ["input", "w1"], ["a"], pads=[1, 1, 1, 1])
LAST = helper.make_node("Conv", ["b", "w2"], ["c"], pads=[1, 1, 1, 1])
MEAN = helper.make_node("GlobalAveragePool", ["c"], ["y"])


def node(operator: str, inputs: Sequence[str], output: str = "b", **attributes: object) -> onnx.NodeProto:
    """A node with one output."""
    return helper.make_node(operator, list(inputs), [output], **attributes)


BETWEEN: dict[str, list[onnx.NodeProto]] = {
    "an average that counts its padding": [
        node("AveragePool", ["a"], kernel_shape=[3, 3], pads=[1, 1, 1, 1], count_include_pad=1, ceil_mode=1,
             strides=[2, 2])
    ],
    "a sum of three": [node("Relu", ["a"], "r"), node("Sum", ["a", "r", "a"])],
    "mish": [node("Mish", ["a"])],
    "softplus": [node("Softplus", ["a"])],
    "hard sigmoid": [node("HardSigmoid", ["a"], alpha=0.2, beta=0.5)],
    "swish": [node("Sigmoid", ["a"], "s"), node("Mul", ["a", "s"])],
    "an odd clip": [node("Clip", ["a", "low", "high"])],
    "what is laid out anew for a kernel and for floats": [
        node("Reshape", ["a", "rows"], "r"),
        node("Softmax", ["r"], "s", axis=-1),
        node("Reshape", ["s", "map"], "m"),
        node("Conv", ["m", "w4"], "k", pads=[1, 1, 1, 1]),
        node("Add", ["k", "m"]),
    ],
}  # fmt: skip
MORE = {
    "w4": RNG.normal(0, 0.2, (6, 6, 3, 3)).astype(np.float32),
    "low": np.float32(-0.3),
    "high": np.float32(0.4),
    "rows": np.array([1, 6, 72], np.int64),
    "map": np.array([1, 6, 9, 8], np.int64),
}


def agrees(nodes: Sequence[onnx.NodeProto], constants: Mapping[str, Any]) -> None:
    """The int8 model, made as a bundle's is, answers nearly as ONNX Runtime does in float."""
    data = graph(nodes, SHAPE, constants, opset=18)
    frames = np.random.default_rng(1).normal(size=(32, *SHAPE[1:])).astype(np.float32)
    model = onnx.load_from_string(data)

    def calibrate(names: Sequence[str]) -> Mapping[str, ActivationParams]:
        return calibrated_params(model, frames, names, limits=None)

    made = int8_model(compiled(data), (), {}, calibrate)
    found = TfliteRunner(made.data).run("fast", frames)["y"]
    wanted = np.concatenate([Runner(data).run(frame[None])["y"] for frame in frames])
    assert np.abs(found - wanted).max() < 0.05 * np.abs(wanted).max()


@pytest.mark.parametrize("between", BETWEEN)
def test_what_lies_between_two_kernels_is_near_float(between: str) -> None:
    agrees([FIRST, *BETWEEN[between], LAST, MEAN], CONSTANTS | MORE)


def test_a_join_of_many_is_near_float() -> None:
    parts = [node("Relu", ["a"], "r0")] + [node("Sigmoid", ["a"], f"r{number}") for number in (1, 2)]
    joined = node("Concat", ["r0", "r1", "a", "r2"], "four", axis=1)
    five = node("Concat", ["r0", "r1", "a", "r2", "four"], "b", axis=1)
    wide = CONSTANTS | {"w2": np.concatenate([CONSTANTS["w3"]] * 2, axis=1)}
    last = helper.make_node("Conv", ["b", "w2"], ["c"])
    agrees([FIRST, *parts, joined, five, last, MEAN], wide)
