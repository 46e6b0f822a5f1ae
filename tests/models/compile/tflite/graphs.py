"""Small ONNX graphs, and what LiteRT makes of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from edgeadapt.bundle import Artifact
from edgeadapt.tensors import FloatArray
from edgeadapt_models.compile.runtime import Runner
from edgeadapt_models.compile.tflite import TfliteModel, tflite_model
from edgeadapt_models.compile.tflite.runtime import TfliteRunner

OPSET = 17
BARE = Artifact("onnxruntime", "model.onnx", "", (), ())
"""An artifact in which nothing can be changed."""


def graph(
    nodes: Sequence[onnx.NodeProto],
    shape: Sequence[int],
    constants: Mapping[str, Any] | None = None,
    *,
    outputs: Sequence[str] = ("y",),
    opset: int = OPSET,
) -> bytes:
    """A model over the input "input" of `shape` (float32)."""
    initializers = [
        numpy_helper.from_array(np.asarray(value), name) for name, value in (constants or {}).items()
    ]
    model = helper.make_model(
        helper.make_graph(
            list(nodes),
            "test",
            [helper.make_tensor_value_info("input", TensorProto.FLOAT, list(shape))],
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
            initializers,
        ),
        opset_imports=[helper.make_opsetid("", opset)],
        ir_version=10,
    )
    return bytes(model.SerializeToString())


def compiled(data: bytes) -> TfliteModel:
    """The LiteRT model; frames are taken in ONNX's order of axes."""
    return tflite_model(data, b"", BARE, (), image=False)


def difference(data: bytes, frames: FloatArray) -> float:
    """Largest difference between ONNX Runtime and LiteRT, relative to the largest magnitude (at least 1)."""
    found = TfliteRunner(compiled(data).data).run("fast", frames)
    worst = 0.0
    for frame in range(len(frames)):
        for name, expected in Runner(data).run(frames[frame : frame + 1]).items():
            worst = max(worst, relative(expected, found[name][frame : frame + 1]))
    return worst


def relative(expected: FloatArray, actual: FloatArray) -> float:
    """Largest difference over the largest magnitude (at least 1)."""
    assert expected.shape == actual.shape
    return float(np.abs(expected - actual).max() / max(1.0, float(np.abs(expected).max())))
