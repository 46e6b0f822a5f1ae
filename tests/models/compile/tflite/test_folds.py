"""BatchNorms: which are folded into the operator before them, and that the result is the same."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper

from edgeadapt.bundle import Artifact, Copy, NormLayer, Region, materialise
from edgeadapt.bundle.writes import Affine, FoldNorm, Write
from edgeadapt_models.compile.graph.wire_walk import initializer_spans
from edgeadapt_models.compile.runtime import Runner
from edgeadapt_models.compile.tflite import tflite_model
from edgeadapt_models.compile.tflite.runtime import TfliteRunner
from tests.models.compile.tflite.graphs import graph, relative

_SLOTS = ("n.scale", "n.bias", "n.mean", "n.var")
_RNG = np.random.default_rng(3)


def _values(*shape: int) -> Any:
    return _RNG.standard_normal(shape).astype(np.float32)


def _norm(source: str) -> onnx.NodeProto:
    return helper.make_node("BatchNormalization", [source, *_SLOTS], ["y"])


def _write(nodes: Sequence[onnx.NodeProto], shape: Sequence[int], constants: dict[str, Any]) -> Write:
    """Compile a graph with one BatchNorm of 4 channels, check a patch of it, and return its write."""
    slots = {name: _values(4) for name in _SLOTS}
    slots["n.var"] = np.abs(slots["n.var"]) + 0.5
    data = graph(nodes, shape, {**constants, **slots})
    spans = initializer_spans(data)
    writes = tuple(Copy(name, Region(spans[name].offset, (4,))) for name in _SLOTS)
    artifact = Artifact("onnxruntime", "model.onnx", "", writes, ("input",))
    layers = (NormLayer("n", "batch", 4, 1e-5, 0, *_SLOTS),)
    model = tflite_model(data, b"", artifact, layers, image=False)
    frames = _values(2, *shape[1:])
    for values in (
        {},
        {"n.scale": -slots["n.scale"], "n.bias": slots["n.bias"] + 1, "n.mean": slots["n.var"]},
    ):
        expected = Runner(materialise(data, artifact, layers, values, slots))
        found = TfliteRunner(materialise(model.data, model.artifact, layers, values, slots)).run(
            "fast", frames
        )
        for index in range(len(frames)):
            frame = frames[index : index + 1]
            assert relative(expected.run(frame)["y"], found["y"][index : index + 1]) < 1e-5
    (write,) = model.artifact.writes
    assert model.artifact.measured == (("output",) if isinstance(write, FoldNorm) else ("input",))
    return write


@pytest.mark.parametrize(
    ("node", "shape", "constants"),
    [
        (helper.make_node("Conv", ["input", "w"], ["c"]), (1, 3, 5, 5), {"w": _values(4, 3, 3, 3)}),
        (helper.make_node("Conv", ["input", "w"], ["c"]), (1, 3, 9), {"w": _values(4, 3, 3)}),
        (
            helper.make_node("Conv", ["input", "w", "b"], ["c"], group=4),
            (1, 4, 5, 5),
            {"w": _values(4, 1, 3, 3), "b": _values(4)},
        ),
        (
            helper.make_node("ConvTranspose", ["input", "w", "b"], ["c"]),
            (1, 3, 5, 5),
            {"w": _values(3, 4, 2, 2), "b": _values(4)},
        ),
        (helper.make_node("Gemm", ["input", "w"], ["c"], transB=1), (1, 3), {"w": _values(4, 3)}),
        (helper.make_node("Gemm", ["input", "w"], ["c"]), (1, 3), {"w": _values(3, 4)}),
        (helper.make_node("MatMul", ["input", "w"], ["c"]), (1, 3), {"w": _values(3, 4)}),
    ],
    ids=["conv", "series", "depthwise", "transposed", "gemm", "gemm-in-out", "matmul"],
)
def test_a_norm_behind_weights_is_folded(
    node: onnx.NodeProto, shape: tuple[int, ...], constants: dict[str, Any]
) -> None:
    assert isinstance(_write([node, _norm("c")], shape, constants), FoldNorm)


def test_a_norm_behind_a_product_and_its_bias_is_folded() -> None:
    nodes = [
        helper.make_node("MatMul", ["input", "w"], ["c"]),
        helper.make_node("Add", ["b", "c"], ["s"]),
        _norm("s"),
    ]
    assert isinstance(_write(nodes, (1, 3), {"w": _values(3, 4), "b": _values(4)}), FoldNorm)


def test_a_norm_whose_input_is_read_elsewhere_is_not_folded() -> None:
    nodes = [
        helper.make_node("Conv", ["input", "w"], ["c"]),
        helper.make_node("BatchNormalization", ["c", *_SLOTS], ["n"]),
        helper.make_node("Add", ["n", "c"], ["y"]),
    ]
    assert isinstance(_write(nodes, (1, 3, 5, 5), {"w": _values(4, 3, 3, 3)}), Affine)


@pytest.mark.parametrize("shape", [(1, 4, 5, 5), (1, 4, 9), (1, 4)])
def test_a_norm_behind_anything_else_is_not_folded(shape: tuple[int, ...]) -> None:
    nodes = [helper.make_node("Tanh", ["input"], ["t"]), _norm("t")]
    assert isinstance(_write(nodes, shape, {}), Affine)


def test_two_norms_behind_shared_weights_are_folded_apart() -> None:
    """One kernel in ONNX, read by two convolutions of which one has a norm layer."""
    nodes = [
        helper.make_node("Conv", ["input", "w"], ["c"]),
        helper.make_node("Conv", ["input", "w"], ["d"]),
        helper.make_node("BatchNormalization", ["c", *_SLOTS], ["n"]),
        helper.make_node("Add", ["n", "d"], ["y"]),
    ]
    assert isinstance(_write(nodes, (1, 3, 5, 5), {"w": _values(4, 3, 3, 3)}), FoldNorm)
