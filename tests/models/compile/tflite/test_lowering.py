"""From ONNX to LiteRT as a whole: what is moved, fused and recognised, and what is refused."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import pytest
from ai_edge_litert import schema_py_generated as schema
from onnx import helper

from edgeadapt.errors import CompileError
from edgeadapt_models.compile.runtime import Runner
from edgeadapt_models.compile.tflite import tflite_model
from edgeadapt_models.compile.tflite.runtime import TfliteRunner
from tests.models.compile.tflite.graphs import BARE, compiled, difference, graph, relative

_NAMES = {value: name for name, value in vars(schema.BuiltinOperator).items() if isinstance(value, int)}
_RNG = np.random.default_rng(4)
node = helper.make_node


def _values(*shape: int) -> Any:
    return _RNG.standard_normal(shape).astype(np.float32)


def _operators(data: bytes, *, image: bool = False) -> Counter[str]:
    """Names and counts of what the fast subgraph does."""
    model = tflite_model(data, b"", BARE, (), image=image)
    return Counter(_NAMES[operator.code] for operator in model.program.subgraphs[0].operators)


def _network() -> bytes:
    """Convolutions, a residual sum, channels concatenated and split, a mean."""
    return graph(
        [
            node("Conv", ["input", "w1"], ["c1"], pads=[1] * 4),
            node("Relu", ["c1"], ["r1"]),
            node("Conv", ["r1", "w2"], ["c2"], pads=[1] * 4),
            node("Add", ["c2", "r1"], ["s"]),
            node("Relu", ["s"], ["r2"]),
            node("Concat", ["r2", "r1"], ["j"], axis=1),
            node("Split", ["j"], ["a", "b"], axis=1),
            node("Mul", ["a", "b"], ["m"]),
            node("ReduceMean", ["m"], ["p"], axes=[2, 3], keepdims=0),
            node("Gemm", ["p", "w3"], ["y"], transB=1),
        ],
        (1, 3, 8, 6),
        {"w1": _values(4, 3, 3, 3), "w2": _values(4, 4, 3, 3), "w3": _values(5, 4)},
    )


def test_an_image_network_moves_no_axes_and_fuses_its_activations() -> None:
    operators = _operators(_network(), image=True)
    assert not operators.keys() & {"TRANSPOSE", "RESHAPE", "RELU"}
    assert operators["CONV_2D"] == 2


def test_frames_are_taken_channels_last() -> None:
    frames, data = _values(2, 3, 8, 6), _network()
    model = tflite_model(data, b"", BARE, (), image=True)
    found = TfliteRunner(model.data).run("fast", frames.transpose(0, 2, 3, 1))["y"]
    expected = Runner(data)
    for index in range(2):
        assert relative(expected.run(frames[index : index + 1])["y"], found[index : index + 1]) < 1e-5


def test_both_signatures_take_and_return_the_same() -> None:
    runner = TfliteRunner(compiled(_network()).data)
    frames = _values(2, 3, 8, 6)
    assert np.array_equal(runner.run("fast", frames)["y"], runner.run("probe", frames)["y"])


def test_all_of_an_image_network_runs_in_xnnpack() -> None:
    assert TfliteRunner(tflite_model(_network(), b"", BARE, (), image=True).data).delegates() == (1, 0)


def test_weights_behind_a_flattened_image_stay_in_their_order() -> None:
    """The pixels are moved, once per inference, so that the head's slots are those of ONNX."""
    weights = _values(5, 4 * 6 * 4)
    data = graph(
        [
            node("Conv", ["input", "w1"], ["c"]),
            node("Flatten", ["c"], ["f"]),
            node("Gemm", ["f", "w2"], ["y"], transB=1),
        ],
        (1, 3, 8, 6),
        {"w1": _values(4, 3, 3, 3), "w2": weights},
    )
    model = compiled(data)
    assert any(np.array_equal(value, weights) for value in model.program.constants.values())
    assert difference(data, _values(2, 3, 8, 6)) < 1e-5


def test_attention_is_written_without_needless_moves() -> None:
    """[tokens, 3 heads] cut into query, key and value, as exporters write it."""
    tokens, heads, width = 6, 2, 4
    data = graph(
        [
            node("MatMul", ["input", "w"], ["qkv"]),
            node("Reshape", ["qkv", "shape"], ["split"]),
            node("Transpose", ["split"], ["turned"], perm=[2, 0, 3, 1, 4]),
            *(node("Gather", ["turned", str(i)], [name], axis=0) for i, name in enumerate("qkv")),
            node("Transpose", ["k"], ["kt"], perm=[0, 1, 3, 2]),
            node("MatMul", ["q", "kt"], ["scores"]),
            node("Softmax", ["scores"], ["weights"], axis=-1),
            node("MatMul", ["weights", "v"], ["mixed"]),
            node("Transpose", ["mixed"], ["back"], perm=[0, 2, 1, 3]),
            node("Reshape", ["back", "flat"], ["y"]),
        ],
        (1, tokens, heads * width),
        {
            "w": _values(heads * width, 3 * heads * width),
            "shape": np.array([1, tokens, 3, heads, width]),
            "flat": np.array([1, tokens, heads * width]),
            **{str(i): np.array(i) for i in range(3)},
        },
    )
    assert difference(data, _values(2, tokens, heads * width)) < 1e-5
    # Query, key, value and the result are each brought to their order once.
    assert _operators(data)["TRANSPOSE"] <= 4


def test_a_series_keeps_its_height_of_one_between_convolutions() -> None:
    data = graph(
        [
            node("Conv", ["input", "w1"], ["a"], pads=[1, 1]),
            node("Relu", ["a"], ["b"]),
            node("Conv", ["b", "w2"], ["c"], pads=[1, 1]),
            node("GlobalAveragePool", ["c"], ["y"]),
        ],
        (1, 3, 20),
        {"w1": _values(4, 3, 3), "w2": _values(5, 4, 3)},
    )
    assert difference(data, _values(2, 3, 20)) < 1e-5
    # One for what comes in, one for what goes out.
    assert _operators(data)["RESHAPE"] <= 2


def _gelu(order: str) -> list[onnx.NodeProto]:
    """x/2 (1 + f(inner)) as three exporters write the product."""
    products = {
        "x first": [node("Mul", ["x", "plus"], ["p"]), node("Mul", ["p", "half"], ["y"])],
        "half first": [node("Mul", ["plus", "half"], ["p"]), node("Mul", ["x", "p"], ["y"])],
        "x halved": [node("Mul", ["x", "half"], ["p"]), node("Mul", ["p", "plus"], ["y"])],
        "divided": [node("Mul", ["x", "plus"], ["p"]), node("Div", ["p", "two"], ["y"])],
    }
    return [node("Add", ["f", "one"], ["plus"]), *products[order]]


_NUMBERS = {"one": np.float32(1), "half": np.float32(0.5), "two": np.float32(2), "unit": np.float32(1)}


@pytest.mark.parametrize("order", ["x first", "half first", "x halved", "divided"])
def test_a_gelu_in_pieces_is_one_operator(order: str) -> None:
    nodes = [
        node("Mul", ["input", "unit"], ["x"]),
        node("Div", ["x", "root"], ["inner"]),
        node("Erf", ["inner"], ["f"]),
        *_gelu(order),
    ]
    data = graph(nodes, (1, 4, 8), {**_NUMBERS, "root": np.float32(math.sqrt(2))})
    assert _operators(data) == {"MUL": 1, "GELU": 1}
    assert difference(data, 3 * _values(2, 4, 8)) < 1e-5


def test_a_gelu_by_tanh_is_one_operator() -> None:
    nodes = [
        node("Mul", ["input", "unit"], ["x"]),
        node("Mul", ["x", "x"], ["x2"]),
        node("Mul", ["x2", "x"], ["x3"]),
        node("Mul", ["x3", "a"], ["ax3"]),
        node("Add", ["x", "ax3"], ["sum"]),
        node("Mul", ["sum", "b"], ["inner"]),
        node("Tanh", ["inner"], ["f"]),
        *_gelu("x halved"),
    ]
    numbers = {**_NUMBERS, "a": np.float32(0.044715), "b": np.float32(math.sqrt(2 / math.pi))}
    data = graph(nodes, (1, 4, 8), numbers)
    assert _operators(data) == {"MUL": 1, "GELU": 1}
    assert difference(data, 3 * _values(2, 4, 8)) < 1e-5


def test_a_tanh_that_only_looks_like_a_gelu_stays_one() -> None:
    nodes = [
        node("Mul", ["input", "unit"], ["x"]),
        node("Mul", ["x", "half"], ["inner"]),
        node("Tanh", ["inner"], ["f"]),
        *_gelu("x first"),
    ]
    data = graph(nodes, (1, 4, 8), _NUMBERS)
    assert "GELU" not in _operators(data)
    assert difference(data, _values(2, 4, 8)) < 1e-5


def test_a_group_norm_in_pieces_stays_channels_last() -> None:
    nodes = [
        node("Conv", ["input", "w"], ["x"]),
        node("Reshape", ["x", "groups"], ["g"]),
        node("InstanceNormalization", ["g", "ones", "zeros"], ["n"], epsilon=1e-3),
        node("Reshape", ["n", "shape"], ["r"]),
        node("Mul", ["r", "scale"], ["m"]),
        node("Add", ["m", "bias"], ["a"]),
        node("Relu", ["a"], ["y"]),
    ]
    constants = {
        "w": _values(6, 3, 3, 3),
        "groups": np.array([0, 2, -1]),
        "shape": np.array([1, 6, 6, 4]),
        "ones": np.ones(2, np.float32),
        "zeros": np.zeros(2, np.float32),
        "scale": _values(6, 1, 1),
        "bias": _values(6, 1, 1),
    }
    data = graph(nodes, (1, 3, 8, 6), constants)
    assert difference(data, _values(2, 3, 8, 6)) < 1e-5
    operators = _operators(data, image=True)
    # The one at the end brings the output to ONNX's order.
    assert operators["TRANSPOSE"] == 1
    assert operators["RESHAPE"] == 2
    # A scale that is not 1 is no GroupNorm with the scale behind it.
    constants["ones"] = _values(2)
    assert _operators(graph(nodes, (1, 3, 8, 6), constants), image=True)["TRANSPOSE"] > 1


def test_shapes_that_exporters_compute_are_constants() -> None:
    """[N, C, H, W] flattened through Shape, Gather, Unsqueeze and Concat."""
    data = graph(
        [
            node("Relu", ["input"], ["x"]),
            node("Shape", ["x"], ["s"]),
            node("Gather", ["s", "zero"], ["n"]),
            node("Unsqueeze", ["n", "axis"], ["n1"]),
            node("Concat", ["n1", "rest"], ["target"], axis=0),
            node("Reshape", ["x", "target"], ["y"]),
        ],
        (1, 3, 4, 5),
        {"zero": np.array(0), "axis": np.array([0]), "rest": np.array([-1])},
    )
    assert _operators(data) == {"RELU": 1, "RESHAPE": 1}
    assert difference(data, _values(2, 3, 4, 5)) < 1e-5


@pytest.mark.parametrize(
    ("nodes", "constants", "words"),
    [
        ([node("Erf", ["input"], ["y"])], {}, ["Erf", "'y'", "--target onnx"]),
        ([node("Conv", ["input", "input"], ["y"])], {}, ["Conv", "weights", "computed from the input"]),
        ([node("Elu", ["input"], ["y"], alpha=2.0)], {}, ["Elu", "alpha"]),
        (
            [node("MaxPool", ["input"], ["y"], kernel_shape=[2, 2], dilations=[2, 2])],
            {},
            ["MaxPool", "dilation"],
        ),
        ([node("Cast", ["input"], ["i"], to=7), node("Cast", ["i"], ["y"], to=1)], {}, ["Cast", "'i'"]),
    ],
)
def test_what_litert_cannot_have_is_named(
    nodes: Sequence[onnx.NodeProto], constants: dict[str, Any], words: list[str]
) -> None:
    with pytest.raises(CompileError) as caught:
        compiled(graph(nodes, (1, 3, 3, 3), constants))
    assert all(word in str(caught.value) for word in words)


def test_a_fixed_batch_is_refused() -> None:
    with pytest.raises(CompileError, match="fixed batch of 4"):
        compiled(graph([node("Relu", ["input"], ["y"])], (4, 3)))
