"""What every value of an ONNX graph is at batch 1: its shape, and its value where that is constant.

LiteRT graphs have fixed shapes, so whatever an exporter computed from shapes (reshapes, slices, expanded
class tokens) is a constant here. ONNX Runtime computes all of it in one run on one input.
A value is constant when it depends on no input (other than on its shape) and on nothing that may change.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

from edgeadapt.errors import CompileError
from edgeadapt_models.compile.graph.run import run_graph
from edgeadapt_models.compile.tflite.file.program import Array

_SHAPE_OPERATORS = frozenset({"Shape", "Size"})
_RANDOM_OPERATORS = frozenset({"RandomNormal", "RandomUniform", "RandomNormalLike", "RandomUniformLike"})
_SEED = 20240611


@dataclass(frozen=True, slots=True)
class Trace:
    """One run of a graph.

    Attributes:
        samples: every value that was computed, for a random input; initializers too.
        constants: names of those that are the same for every input, whatever a device changes.
    """

    samples: Mapping[str, Array]
    constants: frozenset[str]

    def shape(self, name: str) -> tuple[int, ...]:
        """The shape at batch 1."""
        return tuple(self.samples[name].shape)

    def constant(self, name: str) -> Array | None:
        """The value if it is constant."""
        return self.samples[name] if name in self.constants else None


def trace(model: onnx.ModelProto, mutable: Collection[str]) -> Trace:
    """Run the graph once, at batch 1.

    Args:
        model: float32 inputs only; unknown dimensions are the batch.
        mutable: initializers that a device may change, which are therefore no constants.

    Raises:
        CompileError: the graph does not run at batch 1.
    """
    graph = model.graph
    initial = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    inputs = {value.name: _random(value) for value in graph.input if value.name not in initial}
    samples: dict[str, Array] = {**initial, **inputs, **run_graph(model, dict(inputs))}
    constants = set(initial) - set(mutable)
    for node in graph.node:
        read = [name for name in node.input if name]
        fixed = node.op_type in _SHAPE_OPERATORS or constants.issuperset(read)
        if fixed and node.op_type not in _RANDOM_OPERATORS:
            constants.update(name for name in node.output if name)
    return Trace(samples, frozenset(constants))


def _random(value: onnx.ValueInfoProto) -> np.ndarray[Any, np.dtype[np.float32]]:
    kind = value.type.tensor_type
    if kind.elem_type != onnx.TensorProto.FLOAT:
        raise CompileError(f"input {value.name!r} is not float32; --target tflite takes float32 models")
    shape = [dim.dim_value if dim.HasField("dim_value") else 1 for dim in kind.shape.dim]
    if shape and shape[0] > 1:
        raise CompileError(
            f"input {value.name!r} has a fixed batch of {shape[0]}; export with batch 1 or any"
        )
    return np.random.default_rng(_SEED).random(shape, dtype=np.float32)
