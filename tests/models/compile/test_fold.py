"""What depends on no input is computed at compile time, keeps its name and rank, and nothing else changes."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from edgeadapt_models.compile.graph.fold import fold_constants
from edgeadapt_models.compile.graph.tidy import tidy
from tests.models.compile.foreign.builder import Array, Net, run

X = np.random.default_rng(1).normal(0, 3, (2, 4)).astype(np.float32)


def folded(net: Net, *outputs: str) -> tuple[onnx.ModelProto, dict[str, Array]]:
    """The folded model, which computes what it did, and its constants."""
    model = net.model({"x": ["n", 4]}, *outputs)
    before = run(model, X)
    fold_constants(model)
    for expected, found in zip(before, run(model, X), strict=True):
        np.testing.assert_array_equal(found, expected)
    return model, {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}


def operators(model: onnx.ModelProto) -> list[str]:
    return [node.op_type for node in model.graph.node]


def test_scalars_stay_scalars() -> None:
    net = Net()
    limits = [net.op("Cast", net.const(np.array(v, np.int32)), to=TensorProto.FLOAT) for v in (0, 1)]
    model, constants = folded(net, net.op("Clip", "x", *limits))
    assert operators(model) == ["Clip"]
    assert [constants[name].shape for name in model.graph.node[0].input[1:]] == [(), ()]


def test_what_is_only_reshaped_keeps_its_name() -> None:
    net = Net()
    weight = net.const(np.arange(4, dtype=np.float32), "norm.weight")
    tall = net.op("Unsqueeze", weight, net.const(np.array([0], np.int64)))
    doubled = net.op("Mul", net.const(np.ones(4, np.float32), "other"), net.const(np.array(2.0, np.float32)))
    model, constants = folded(net, net.op("Mul", net.op("Mul", "x", tall), doubled))
    assert operators(model) == ["Mul", "Mul"]
    assert constants["norm.weight"].shape == (1, 4)
    assert "other" not in constants


def test_a_shared_constant_is_not_renamed_away() -> None:
    net = Net()
    weight = net.const(np.arange(4, dtype=np.float32), "shared")
    tall = net.op("Unsqueeze", weight, net.const(np.array([0], np.int64)))
    model, constants = folded(net, net.op("Mul", net.op("Mul", "x", tall), weight))
    assert operators(model) == ["Mul", "Mul"]
    assert constants["shared"].shape == (4,)


def test_known_parts_of_shapes_are_constants() -> None:
    net = Net()
    width = net.op("Shape", "x", start=1)
    expanded = net.op("Expand", net.const(np.array(2.0, np.float32)), width)
    whole = net.op("Shape", "x")
    model, _ = folded(net, net.op("Reshape", net.op("Mul", "x", expanded), whole))
    assert operators(model) == ["Shape", "Mul", "Reshape"]


def test_what_would_grow_too_large_stays() -> None:
    net = Net()
    wide = net.op("Expand", net.const(np.ones((4, 1), np.float32)), net.shape(4, 1 << 19))
    model, _ = folded(net, net.op("MatMul", "x", wide))
    assert operators(model) == ["Expand", "MatMul"]


def test_clutter_goes_and_dropout_in_training_stays() -> None:
    net = Net()
    x = net.op("Identity", net.op("Cast", net.op("Dropout", "x"), to=TensorProto.FLOAT))
    like = net.op("CastLike", net.const(np.ones(4, np.int64)), x)
    model, _ = folded(net, net.op("Add", x, like))
    assert operators(model) == ["Add"]
    model = Net()
    training = model.const(np.array(True))
    ratio = model.const(np.array(0.0, np.float32))
    kept, _ = folded(model, model.op("Neg", model.op("Dropout", "x", ratio, training)))
    assert operators(kept) == ["Dropout", "Neg"]


def test_functions_are_inlined_and_nodes_named() -> None:
    net = Net()
    out = net.op("Twice", "x", domain="local")
    model = net.model({"x": ["n", 4]}, out)
    body = [helper.make_node("Add", ["a", "a"], ["b"])]
    model.functions.append(
        helper.make_function("local", "Twice", ["a"], ["b"], body, [helper.make_opsetid("", 17)])
    )
    model.opset_import.append(helper.make_opsetid("local", 1))
    tidy(model)
    assert operators(model) == ["Add"]
    assert all(node.name for node in model.graph.node)
    np.testing.assert_array_equal(run(model, X)[0], 2 * X)
