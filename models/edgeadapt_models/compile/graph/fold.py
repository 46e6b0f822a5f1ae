"""Compute at compile time whatever does not depend on the input's values.

Exporters leave chains of Shape, Gather, Concat, Expand and CastLike in front of reshapes and weights. Here
the parts of shapes that are known become constants, and every node whose inputs are all constant is computed,
by ONNX Runtime, as a device would; so a weight that was transposed, cast, dequantised or unsqueezed on the
way to its node becomes one initializer. What would take far more room than it replaces stays.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
from onnx import helper, numpy_helper

from edgeadapt.errors import CompileError
from edgeadapt_models.compile.graph.edit import bypass, constant, drop_unused, redirect, replace_nodes
from edgeadapt_models.compile.graph.run import RUNTIME_ERRORS, quiet_options

_ROUNDS = 12
_MAX_GROWTH_BYTES = 1 << 22
_MOVES = frozenset({"Cast", "Flatten", "Identity", "Reshape", "Squeeze", "Unsqueeze"})
_RANDOM = frozenset(
    {"Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike"}
)


def fold_constants(model: onnx.ModelProto) -> None:
    """Fold in place until nothing changes.

    Raises:
        CompileError: the runtime cannot compute a constant part of the graph.
    """
    for _ in range(_ROUNDS):
        known = _known_values(model)
        changed = _shapes(model.graph, known)
        changed |= _casts(model.graph, known)
        changed |= _constant_nodes(model)
        if not changed:
            break
    drop_unused(model.graph)


def _known_values(model: onnx.ModelProto) -> dict[str, onnx.TypeProto]:
    """Types that shape inference can tell; constants' own are not among them."""
    try:
        inferred = onnx.shape_inference.infer_shapes(model, data_prop=True)
    except (onnx.shape_inference.InferenceError, ValueError, RuntimeError) as error:
        raise CompileError(f"the model's shapes do not fit together: {error}") from error
    values = (*inferred.graph.value_info, *inferred.graph.input, *inferred.graph.output)
    return {value.name: value.type for value in values}


def _shapes(graph: onnx.GraphProto, known: dict[str, onnx.TypeProto]) -> bool:
    """Turn Shape nodes whose dimensions are known into constants."""
    constants = {tensor.name: list(tensor.dims) for tensor in graph.initializer}
    done: list[onnx.NodeProto] = []
    for node in graph.node:
        if node.op_type != "Shape" or node.domain:
            continue
        dims = constants.get(node.input[0]) or _dims(known.get(node.input[0]))
        if dims is None:
            continue
        attributes = {entry.name: entry.i for entry in node.attribute}
        part = dims[attributes.get("start", 0) : attributes.get("end", len(dims))]
        if all(isinstance(size, int) for size in part):
            value = numpy_helper.from_array(np.array(part, dtype=np.int64), node.output[0])
            graph.initializer.append(value)
            done.append(node)
    _remove(graph, done)
    return bool(done)


def _dims(kind: onnx.TypeProto | None) -> list[int | None] | None:
    """Dimensions of a tensor type, None for each that is not known; None when not even the rank is."""
    if kind is None or not kind.HasField("tensor_type") or not kind.tensor_type.HasField("shape"):
        return None
    return [int(d.dim_value) if d.HasField("dim_value") else None for d in kind.tensor_type.shape.dim]


def _casts(graph: onnx.GraphProto, known: dict[str, onnx.TypeProto]) -> bool:
    """CastLike becomes Cast; a cast to the type that is there goes, and so do Identity and Dropout."""
    types = {tensor.name: tensor.data_type for tensor in graph.initializer}
    types.update((name, kind.tensor_type.elem_type) for name, kind in known.items() if name not in types)
    gone: list[onnx.NodeProto] = []
    changed = False
    for node in graph.node:
        if node.op_type == "CastLike" and types.get(node.input[1]):
            target = types[node.input[1]]
            node.op_type = "Cast"
            del node.input[1:]
            node.attribute.append(helper.make_attribute("to", target))
            changed = True
        if node.op_type == "Cast":
            target = next(entry.i for entry in node.attribute if entry.name == "to")
            if types.get(node.input[0]) == target:
                gone.append(node)
        elif node.op_type == "Identity" or (node.op_type == "Dropout" and _at_rest(graph, node)):
            gone.append(node)
    if gone:
        bypass(graph, gone)
    return changed or bool(gone)


def _at_rest(graph: onnx.GraphProto, node: onnx.NodeProto) -> bool:
    """Whether a Dropout is not in training mode and nobody reads its mask."""
    training = node.input[2] if len(node.input) > 2 else ""
    if training:
        held = next((t for t in graph.initializer if t.name == training), None)
        if held is None or bool(numpy_helper.to_array(held).reshape(())):
            return False
    masks = {name for name in node.output[1:] if name}
    return not any(masks.intersection(other.input) for other in graph.node)


def _constant_nodes(model: onnx.ModelProto) -> bool:
    """Compute the nodes that depend on constants only."""
    graph = model.graph
    sizes = {tensor.name: len(tensor.raw_data) for tensor in graph.initializer}
    known = set(sizes) | {""}
    nodes = []
    for node in graph.node:
        if node.op_type not in _RANDOM and known.issuperset(node.input) and _plain(node):
            nodes.append(node)
            known.update(node.output)
    if not nodes:
        return False
    values = _compute(model, nodes)
    outputs = {output.name for output in graph.output}
    done: list[onnx.NodeProto] = []
    for node in nodes:
        room = sum(sizes.get(name, 0) for name in node.input) + _MAX_GROWTH_BYTES
        if sum(values[name].nbytes for name in node.output if name) > room:
            continue
        if not outputs.intersection(node.output):
            done.append(node)
            sizes.update((name, values[name].nbytes) for name in node.output if name)
    _remove(graph, done)
    _replace(graph, done, values)
    drop_unused(graph)
    return bool(done)


def _replace(graph: onnx.GraphProto, done: list[onnx.NodeProto], values: dict[str, npt.NDArray[Any]]) -> None:
    """Add the results as initializers. What was only reshaped on the way keeps the name it had."""
    table: dict[str, str] = {}
    kept: dict[str, npt.NDArray[Any]] = {}
    uses = Counter(name for node in (*graph.node, *done) for name in set(node.input))
    held = {tensor.name for tensor in graph.initializer}
    for node in done:
        source = table.get(node.input[0], node.input[0]) if node.input else ""
        known = source in held or source in kept
        if node.op_type in _MOVES and known and uses[node.input[0]] == 1:
            table[node.output[0]] = source
            kept[source] = values[node.output[0]]
        else:
            kept.update((name, values[name]) for name in node.output if name)
    others = [tensor for tensor in graph.initializer if tensor.name not in kept]
    copies = [onnx.TensorProto.FromString(tensor.SerializeToString()) for tensor in others]
    del graph.initializer[:]
    graph.initializer.extend(copies)
    for name, value in kept.items():
        constant(graph, name, value)
    redirect(graph, table)


def _plain(node: onnx.NodeProto) -> bool:
    """No subgraph inside."""
    kinds = (onnx.AttributeProto.GRAPH, onnx.AttributeProto.GRAPHS)
    return all(entry.type not in kinds for entry in node.attribute)


def _compute(model: onnx.ModelProto, nodes: list[onnx.NodeProto]) -> dict[str, npt.NDArray[Any]]:
    read = {name for node in nodes for name in node.input}
    made = [name for node in nodes for name in node.output if name]
    part = onnx.ModelProto(ir_version=model.ir_version)
    part.opset_import.extend(model.opset_import)
    part.graph.name = "constants"
    part.graph.node.extend(nodes)
    part.graph.initializer.extend(tensor for tensor in model.graph.initializer if tensor.name in read)
    part.graph.output.extend(onnx.ValueInfoProto(name=name) for name in made)
    try:
        session = onnxruntime.InferenceSession(
            part.SerializeToString(), quiet_options(optimise=False), providers=["CPUExecutionProvider"]
        )
        return dict(zip(made, session.run(made, {}), strict=True))
    except RUNTIME_ERRORS as error:
        raise CompileError(f"a constant part of the model cannot be computed: {error}") from error


def _remove(graph: onnx.GraphProto, nodes: list[onnx.NodeProto]) -> None:
    gone = {node.output[0] for node in nodes}
    if gone:
        replace_nodes(graph, [node for node in graph.node if node.output[0] not in gone])
