"""A model of half precision made one of single precision, as slots and the CPUs of devices are.

Every float16 or bfloat16 becomes float32: weights, constants, casts, inputs and outputs. The result is at
least as exact as what was given.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper

_HALF = frozenset({TensorProto.FLOAT16, TensorProto.BFLOAT16})
_TYPE_ATTRIBUTES = frozenset({"to", "dtype", "output_dtype"})


def to_single(model: onnx.ModelProto) -> bool:
    """Convert in place; False when there was nothing of half precision. Subgraphs are not looked into."""
    graph = model.graph
    changed = [_tensor(tensor) for tensor in graph.initializer]
    changed += [_value(value) for value in (*graph.input, *graph.output, *graph.value_info)]
    for node in graph.node:
        for entry in node.attribute:
            if entry.type == onnx.AttributeProto.TENSOR:
                changed.append(_tensor(entry.t))
            elif entry.name in _TYPE_ATTRIBUTES and entry.i in _HALF:
                entry.i = TensorProto.FLOAT
                changed.append(True)
    return any(changed)


def _tensor(tensor: onnx.TensorProto) -> bool:
    if tensor.data_type not in _HALF:
        return False
    value = numpy_helper.to_array(tensor).astype(np.float32)
    tensor.CopyFrom(numpy_helper.from_array(value, tensor.name))
    return True


def _value(value: onnx.ValueInfoProto) -> bool:
    kind = value.type.tensor_type
    if kind.elem_type not in _HALF:
        return False
    kind.elem_type = TensorProto.FLOAT
    return True
