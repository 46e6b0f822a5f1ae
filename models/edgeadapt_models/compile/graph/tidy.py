"""Make any ONNX file one that can be searched and written into, without changing what it computes.

Afterwards: every constant is an initializer with its values in raw_data, in float32 where it was of half
precision; functions are inlined; nodes that do nothing are gone; every node has a name of its own; there are
no subgraphs; the IR version is one that the oldest supported runtime reads. Inputs and outputs are in
`boundary`.
"""

from __future__ import annotations

import re

import numpy as np
import onnx
from onnx import inliner, numpy_helper

from edgeadapt.errors import CompileError
from edgeadapt_models.compile.graph.edit import clean, drop_unused, fresh, opset, replace_nodes
from edgeadapt_models.compile.graph.fold import fold_constants
from edgeadapt_models.compile.graph.half import to_single

OPSETS = range(13, 22)
"""13: the first with Squeeze and Softmax as they still are. 21: the newest that ONNX Runtime 1.20 knows."""
_IR_VERSION = 10
_DOMAINS = frozenset({"", "ai.onnx"})
_QUANTISED = re.compile(r"(Dynamic|De)?[Qq]uantize|QLinear|QGemm|(Conv|MatMul)Integer")
"""What is left of a quantised model once its weights are float32: its activations are integers too."""


def tidy(model: onnx.ModelProto) -> tuple[str, ...]:
    """Tidy in place.

    Returns:
        Notes for people.

    Raises:
        CompileError: an opset that is not supported, control flow, operators of a runtime's own, sparse
            constants, activations of integers, or weights of NaN; names what was found and the fix.
    """
    check_opset(model)
    if model.functions:
        model.CopyFrom(inliner.inline_local_functions(model))
    graph = model.graph
    notes: list[str] = []
    constants = {tensor.name for tensor in graph.initializer}
    inputs = [value for value in graph.input if value.name not in constants]
    _keep_inputs(graph, inputs)
    _constants_to_initializers(graph)
    if to_single(model):
        notes.append("half precision became float32")
    for tensor in graph.initializer:
        _to_raw(tensor)
    clean(model)
    if any(node.op_type == "DequantizeLinear" for node in graph.node):
        notes.append("stored integers became float32 weights (--int8 quantises the compiled model)")
    fold_constants(model)
    _refuse(model)
    _name_nodes(graph)
    model.ir_version = min(model.ir_version, _IR_VERSION)
    clean(model)
    return tuple(notes)


def check_opset(model: onnx.ModelProto) -> None:
    """Raise CompileError unless the model is of a supported opset."""
    version = opset(model)
    if version not in OPSETS:
        raise CompileError(
            f"the model is of opset {version or 'unknown'}; {OPSETS[0]} to {OPSETS[-1]} can be compiled: "
            "convert it with onnx.version_converter.convert_version(model, 17), or export it anew"
        )


def _keep_inputs(graph: onnx.GraphProto, inputs: list[onnx.ValueInfoProto]) -> None:
    """Old files list their weights among the inputs."""
    kept = [onnx.ValueInfoProto.FromString(value.SerializeToString()) for value in inputs]
    del graph.input[:]
    graph.input.extend(kept)


def _constants_to_initializers(graph: onnx.GraphProto) -> None:
    if graph.sparse_initializer:
        raise CompileError("the model holds sparse weights; store them dense")
    kept = []
    for node in graph.node:
        if node.op_type != "Constant" or node.domain not in _DOMAINS:
            kept.append(node)
            continue
        graph.initializer.append(_constant(node))
    replace_nodes(graph, kept)


def _constant(node: onnx.NodeProto) -> onnx.TensorProto:
    """The value of a Constant node, in any of the forms that it may have."""
    entry = node.attribute[0]
    name = node.output[0]
    if entry.name == "value":
        tensor = onnx.TensorProto()
        tensor.CopyFrom(entry.t)
        tensor.name = name
        return tensor
    if entry.name in ("value_float", "value_floats"):
        value = entry.f if entry.name == "value_float" else list(entry.floats)
        return numpy_helper.from_array(np.array(value, np.float32), name)
    if entry.name in ("value_int", "value_ints"):
        value = entry.i if entry.name == "value_int" else list(entry.ints)
        return numpy_helper.from_array(np.array(value, np.int64), name)
    raise CompileError(f"constant {name!r} is stored as {entry.name}, which no classifier needs")


def _to_raw(tensor: onnx.TensorProto) -> None:
    """Values into raw_data, where a device can write them; refuse NaN."""
    if tensor.data_type == onnx.TensorProto.STRING:
        return
    value = numpy_helper.to_array(tensor)
    if np.issubdtype(value.dtype, np.floating) and np.isnan(value).any():
        raise CompileError(f"{tensor.name} holds NaN: the model is broken")
    if not tensor.HasField("raw_data"):
        tensor.CopyFrom(numpy_helper.from_array(value, tensor.name))


def _refuse(model: onnx.ModelProto) -> None:
    """Whatever cannot be searched or does not run everywhere."""
    integers = [node.op_type for node in model.graph.node if _QUANTISED.match(node.op_type)]
    if integers:
        raise CompileError(
            f"the model is quantised already ({integers[0]} and {len(integers) - 1} more): a patch would "
            "leave the ranges of its integers. Give the float model that it was made of; --int8 quantises "
            "what is compiled"
        )
    for node in model.graph.node:
        if node.op_type in ("If", "Loop", "Scan", "SequenceMap"):
            raise CompileError(
                f"the model holds {node.op_type} ({node.output[0]}): control flow cannot be compiled. Where "
                "it always goes one way, onnxsim takes it out; else export the part of the model without it"
            )
        if node.domain not in _DOMAINS:
            raise CompileError(
                f"the model holds {node.domain}.{node.op_type}, an operator of one runtime only: give the "
                "file from before that runtime's optimiser wrote it"
            )
        node.domain = ""


def _name_nodes(graph: onnx.GraphProto) -> None:
    taken: set[str] = set()
    for node in graph.node:
        node.name = fresh(node.name or f"{node.op_type}/{node.output[0]}", taken)
    drop_unused(graph)
