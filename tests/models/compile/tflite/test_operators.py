"""Every ONNX operator that can be converted computes in LiteRT what it computes in ONNX Runtime."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper

from edgeadapt_models.compile.tflite.ops.registry import CONVERTERS
from tests.models.compile.tflite.graphs import OPSET, difference, graph

TOLERANCE = 1e-5
_RNG = np.random.default_rng(0)


def _values(*shape: int) -> Any:
    return _RNG.standard_normal(shape).astype(np.float32)


def _ints(*values: int) -> Any:
    return np.array(values, np.int64)


@dataclass(frozen=True)
class Case:
    """One node over an input, other inputs constant."""

    operator: str
    shape: tuple[int, ...]
    constants: dict[str, Any] = field(default_factory=dict)
    attributes: dict[str, Any] = field(default_factory=dict)
    inputs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ("y",)
    opset: int = OPSET
    # Scale and shift of the input, for operators that are not defined everywhere.
    scale: float = 1.0
    shift: float = 0.0

    def model(self) -> bytes:
        """The graph; a node in front keeps the input from being an output as it is."""
        names = self.inputs or ("x", *self.constants)
        nodes = [
            helper.make_node("Mul", ["input", "unit"], ["x"]),
            helper.make_node(self.operator, list(names), list(self.outputs), **self.attributes),
        ]
        constants = {"unit": np.array(self.scale, np.float32), **self.constants}
        return graph(nodes, self.shape, constants, outputs=self.outputs, opset=self.opset)

    def __str__(self) -> str:
        words = [self.operator, "x".join(map(str, self.shape))]
        words += [f"{key}={value}" for key, value in self.attributes.items()]
        return " ".join(words).replace(" ", "_")


IMAGE = (1, 3, 9, 8)
_NORM = {"scale": _values(6), "bias": _values(6)}
CASES = [
    # convolutions
    Case("Conv", IMAGE, {"w": _values(4, 3, 3, 3)}),
    Case("Conv", IMAGE, {"w": _values(4, 3, 3, 3), "b": _values(4)}, {"pads": [1, 1, 1, 1]}),
    Case("Conv", IMAGE, {"w": _values(4, 3, 3, 3)}, {"pads": [1, 1, 1, 1], "strides": [2, 2]}),
    Case("Conv", IMAGE, {"w": _values(4, 3, 3, 2)}, {"pads": [0, 1, 2, 3], "strides": [1, 2]}),
    Case("Conv", IMAGE, {"w": _values(4, 3, 3, 3)}, {"auto_pad": "SAME_UPPER", "strides": [2, 2]}),
    Case("Conv", IMAGE, {"w": _values(4, 3, 3, 3)}, {"auto_pad": "SAME_LOWER", "strides": [2, 2]}),
    Case("Conv", IMAGE, {"w": _values(4, 3, 3, 3)}, {"auto_pad": "VALID"}),
    Case("Conv", IMAGE, {"w": _values(4, 3, 3, 3)}, {"dilations": [2, 2], "pads": [2, 2, 2, 2]}),
    Case("Conv", IMAGE, {"w": _values(3, 1, 3, 3)}, {"group": 3, "pads": [1, 1, 1, 1]}),
    Case("Conv", IMAGE, {"w": _values(6, 1, 3, 3), "b": _values(6)}, {"group": 3}),
    Case("Conv", (1, 6, 5, 5), {"w": _values(8, 3, 3, 3), "b": _values(8)}, {"group": 2}),
    Case("Conv", (1, 4, 20), {"w": _values(5, 4, 3), "b": _values(5)}, {"pads": [1, 1], "strides": [2]}),
    Case("Conv", (1, 4, 20), {"w": _values(4, 1, 3)}, {"group": 4, "dilations": [3]}),
    Case("ConvTranspose", IMAGE, {"w": _values(3, 4, 2, 2), "b": _values(4)}, {"strides": [2, 2]}),
    # pools
    Case(
        "ConvTranspose",
        IMAGE,
        {"w": _values(3, 4, 2, 2)},
        {"strides": [2, 2], "auto_pad": "NOTSET", "pads": [0] * 4, "group": 1},
    ),
    Case("MaxPool", IMAGE, {}, {"kernel_shape": [3, 3], "strides": [2, 2]}),
    Case("MaxPool", IMAGE, {}, {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]}),
    Case("MaxPool", IMAGE, {}, {"kernel_shape": [2, 2], "strides": [2, 2], "ceil_mode": 1}),
    Case("MaxPool", (1, 4, 21), {}, {"kernel_shape": [3], "strides": [2], "pads": [1, 1]}),
    Case("AveragePool", IMAGE, {}, {"kernel_shape": [2, 2], "strides": [2, 2]}),
    Case("AveragePool", IMAGE, {}, {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]}),
    Case("AveragePool", IMAGE, {}, {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]}),
    Case("AveragePool", IMAGE, {}, {"kernel_shape": [3, 3], "pads": [1] * 4, "count_include_pad": 1}),
    Case("AveragePool", IMAGE, {}, {"kernel_shape": [2, 2], "strides": [2, 2], "ceil_mode": 1}),
    Case("GlobalAveragePool", IMAGE),
    Case("GlobalMaxPool", IMAGE),
    # activations
    *(
        Case(name, IMAGE)
        for name in ("Abs", "Ceil", "Cos", "Exp", "Floor", "HardSwish", "Neg", "Relu", "Round")
    ),
    *(
        Case(name, IMAGE)
        for name in ("Elu", "HardSigmoid", "LeakyRelu", "Sigmoid", "Sin", "Softplus", "Tanh")
    ),
    *(Case(name, IMAGE, scale=0.1, shift=2.0) for name in ("Log", "Sqrt", "Reciprocal")),
    Case("Mish", IMAGE, opset=18),
    Case("Gelu", IMAGE, opset=20),
    Case("Gelu", IMAGE, {}, {"approximate": "tanh"}, opset=20),
    Case("HardSigmoid", IMAGE, {}, {"alpha": 1 / 6, "beta": 0.5}),
    Case("LeakyRelu", IMAGE, {}, {"alpha": 0.3}),
    Case("PRelu", IMAGE, {"slope": _values(3, 1, 1)}),
    Case("PRelu", IMAGE, {"slope": _values(1)}),
    Case("Clip", IMAGE, {"low": np.float32(0), "high": np.float32(6)}),
    Case("Clip", IMAGE, {"low": np.float32(-1), "high": np.float32(1)}),
    Case("Clip", IMAGE, {"low": np.float32(-0.3), "high": np.float32(0.4)}),
    Case("Clip", IMAGE, {"low": np.float32(0.2)}),
    Case("Softmax", (1, 5, 7)),
    Case("Softmax", IMAGE, {}, {"axis": 1}),
    Case("LogSoftmax", (1, 7)),
    # two values
    *(Case(name, IMAGE, {"b": _values(3, 1, 1) + 3}) for name in ("Add", "Div", "Mul", "Sub", "Max", "Min")),
    Case("Add", IMAGE, {"b": _values(1, 3, 9, 8)}),
    Case("Add", IMAGE, {"b": _values(8)}),
    Case("Sub", IMAGE, {"b": np.float32(3)}, inputs=("b", "x")),
    Case("Add", (1, 3), {"b": _values(1, 2, 3)}),
    Case("Sum", IMAGE, {"b": _values(3, 1, 1), "c": _values(8)}),
    Case("Pow", IMAGE, {"e": np.float32(2)}),
    Case("Pow", IMAGE, {"e": np.array([2], np.float32)}),
    Case("Pow", IMAGE, {"e": np.float32(3)}),
    Case("Pow", IMAGE, {"e": np.int64(3)}),
    Case("Pow", IMAGE, {"e": np.float32(0.5)}, scale=0.1, shift=2.0),
    Case("Pow", IMAGE, {"e": np.float32(-0.5)}, scale=0.1, shift=2.0),
    Case("Where", IMAGE, {"c": _values(9, 8) > 0, "b": _values(1)}, inputs=("c", "x", "b")),
    # reductions
    Case("ReduceMean", IMAGE, {}, {"axes": [2, 3]}),
    Case("ReduceMean", IMAGE, {}, {"axes": [-1], "keepdims": 0}),
    Case("ReduceMean", IMAGE, {}, {"axes": [1]}),
    Case("ReduceMean", IMAGE, {"axes": _ints(2, 3)}, {"keepdims": 0}, opset=18),
    Case("ReduceMean", IMAGE, {}, {"keepdims": 1}),
    Case("ReduceSum", IMAGE, {"axes": _ints(1)}),
    Case("ReduceMax", IMAGE, {}, {"axes": [3]}),
    Case("ReduceMin", IMAGE, {}, {"axes": [2]}),
    Case("ReduceL2", IMAGE, {}, {"axes": [1]}),
    # matrices
    Case("Gemm", (1, 6), {"w": _values(4, 6), "b": _values(4)}, {"transB": 1}),
    Case("Gemm", (1, 6), {"w": _values(6, 4)}),
    Case("Gemm", (1, 6), {"w": _values(6, 4), "b": _values(1, 4)}),
    Case("MatMul", (1, 5, 6), {"w": _values(6, 4)}),
    Case("MatMul", (1, 6), {"w": _values(6, 4)}),
    Case("MatMul", (1, 2, 5, 6), {"w": _values(1, 2, 6, 3)}),
    Case("MatMul", (1, 6, 5), {"w": _values(4, 6)}, inputs=("w", "x")),
    # norm layers as they stand
    Case("LayerNormalization", (1, 5, 6), _NORM),
    Case("LayerNormalization", (1, 5, 6), {"scale": _values(6)}, {"epsilon": 1e-3}),
    Case("LayerNormalization", (1, 5, 6), {"scale": _values(5, 6), "bias": _values(5, 6)}, {"axis": 1}),
    Case("InstanceNormalization", (1, 6, 5, 4), _NORM),
    Case("InstanceNormalization", (1, 6, 20), _NORM),
    Case("GroupNormalization", (1, 6, 5, 4), _NORM, {"num_groups": 3}, opset=21),
    Case("GroupNormalization", (1, 6, 20), _NORM, {"num_groups": 2}, opset=21),
    Case("GroupNormalization", (1, 6, 5, 4), {"s": _values(2), "b": _values(2)}, {"num_groups": 2}, opset=18),
    Case("BatchNormalization", (1, 6, 5, 4), {**_NORM, "mean": _values(6), "var": _values(6) ** 2}),
    Case("BatchNormalization", (1, 6), {**_NORM, "mean": _values(6), "var": _values(6) ** 2}),
    # shapes
    Case("Identity", IMAGE),
    Case("Dropout", IMAGE),
    Case("Cast", IMAGE, {}, {"to": onnx.TensorProto.FLOAT}),
    Case("Transpose", IMAGE, {}, {"perm": [0, 2, 3, 1]}),
    Case("Transpose", (1, 2, 3, 4, 5), {}, {"perm": [0, 3, 1, 4, 2]}),
    Case("Reshape", IMAGE, {"s": _ints(1, 3, 72)}),
    Case("Reshape", IMAGE, {"s": _ints(0, -1, 4)}),
    Case("Flatten", IMAGE),
    Case("Squeeze", (1, 3, 1, 8), {"axes": _ints(2)}),
    Case("Unsqueeze", (1, 8), {"axes": _ints(1, 3)}),
    Case("Expand", (1, 3, 1, 8), {"s": _ints(1, 3, 4, 8)}),
    Case("Expand", (1, 3, 8), {"s": _ints(1, 1, 1)}),
    Case("Concat", IMAGE, {"b": _values(1, 2, 9, 8)}, {"axis": 1}),
    Case("Concat", IMAGE, {}, {"axis": -1}, inputs=("x",) * 6),
    Case("Split", IMAGE, {"s": _ints(2, 1)}, {"axis": 1}, outputs=("y", "z")),
    Case("Split", IMAGE, {}, {"axis": 3}, outputs=("y", "z")),
    Case("Slice", IMAGE, {"s": _ints(1), "e": _ints(-2), "a": _ints(2)}),
    Case("Slice", IMAGE, {"s": _ints(-5, 1), "e": _ints(2**31, 99), "a": _ints(3, 2), "t": _ints(2, 3)}),
    Case("Gather", IMAGE, {"i": np.array(2)}, {"axis": 1}),
    Case("Gather", IMAGE, {"i": np.array(-1)}, {"axis": 3}),
    Case("Gather", IMAGE, {"i": _ints(2, 0, 0)}, {"axis": 1}),
    Case("Pad", IMAGE, {"p": _ints(0, 0, 1, 2, 0, 1, 0, 3)}),
    Case("Pad", IMAGE, {"p": _ints(0, 0, 1, 1, 0, 0, 1, 1), "v": np.float32(-2)}),
    Case("Pad", IMAGE, {"p": _ints(0, 0, 1, 1, 0, 0, 1, 1), "v": np.array([-2], np.float32)}),
    Case("Pad", IMAGE, {"p": _ints(0, 0, 1, 1, 0, 0, 1, 1)}, {"mode": "reflect"}),
    Case("DepthToSpace", (1, 8, 3, 3), {}, {"blocksize": 2}),
    Case("SpaceToDepth", (1, 2, 4, 6), {}, {"blocksize": 2}),
    Case("Tile", IMAGE, {"r": _ints(1, 2, 1, 3)}),
    Case(
        "Resize",
        (1, 3, 4, 5),
        {"r": np.array([], np.float32), "s": np.array([1, 1, 2, 2], np.float32)},
        {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"},
    ),
    Case(
        "Resize",
        (1, 3, 4, 5),
        {"r": np.array([], np.float32), "s": np.array([1, 1, 2, 2], np.float32)},
        {"mode": "linear"},
    ),
    Case(
        "Resize",
        (1, 3, 4, 5),
        {"r": np.array([], np.float32), "s": np.array([1, 1, 2, 3], np.float32)},
        {"mode": "linear", "coordinate_transformation_mode": "align_corners"},
    ),
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_an_operator_computes_what_it_does_in_onnx_runtime(case: Case) -> None:
    frames = _frames(case.shape, case.shift)
    assert difference(case.model(), frames) < TOLERANCE


def test_every_converter_has_a_case() -> None:
    assert set(CONVERTERS) == {case.operator for case in CASES}


def _frames(shape: Sequence[int], shift: float = 0.0) -> Any:
    rng = np.random.default_rng(1)
    return rng.standard_normal((2, *shape[1:])).astype(np.float32) * 2 + np.float32(shift * 10)
