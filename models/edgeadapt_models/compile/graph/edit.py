"""Small changes to an ONNX graph that keep it valid: renaming, taking nodes out, adding constants.

Tensors are known by name; a name is made once in a graph. Nothing here knows what a graph is for.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import numpy_helper


def names(graph: onnx.GraphProto) -> set[str]:
    """Every tensor's name."""
    found = {tensor.name for tensor in graph.initializer}
    found.update(value.name for value in graph.input)
    for node in graph.node:
        found.update(node.output)
    return found


def fresh(stem: str, taken: set[str]) -> str:
    """`stem`, or `stem_2`, `stem_3`...: the first that is not taken; it is taken now."""
    name, number = stem, 1
    while name in taken:
        number += 1
        name = f"{stem}_{number}"
    taken.add(name)
    return name


def rename(graph: onnx.GraphProto, table: Mapping[str, str]) -> None:
    """Give tensors other names, wherever they occur."""
    for tensor in graph.initializer:
        tensor.name = table.get(tensor.name, tensor.name)
    for value in (*graph.input, *graph.output):
        value.name = table.get(value.name, value.name)
    for node in graph.node:
        node.input[:] = [table.get(name, name) for name in node.input]
        node.output[:] = [table.get(name, name) for name in node.output]


def redirect(graph: onnx.GraphProto, table: Mapping[str, str]) -> None:
    """Make whoever reads a tensor of `table` read another one; graph outputs too."""
    for value in graph.output:
        value.name = table.get(value.name, value.name)
    for node in graph.node:
        node.input[:] = [table.get(name, name) for name in node.input]


def bypass(graph: onnx.GraphProto, nodes: Iterable[onnx.NodeProto]) -> None:
    """Take nodes out that return their first input."""
    table: dict[str, str] = {}
    gone = {node.output[0] for node in nodes}
    for node in graph.node:
        if node.output[0] in gone:
            table[node.output[0]] = table.get(node.input[0], node.input[0])
    kept = [node for node in graph.node if node.output[0] not in gone]
    replace_nodes(graph, kept)
    redirect(graph, table)


def replace_nodes(graph: onnx.GraphProto, nodes: Iterable[onnx.NodeProto]) -> None:
    """Make `nodes` the graph's nodes."""
    kept = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del graph.node[:]
    graph.node.extend(kept)


def insert_after(graph: onnx.GraphProto, tensor: str, nodes: Iterable[onnx.NodeProto]) -> None:
    """Put nodes right behind the one that makes `tensor` (in front of all for an input)."""
    at = 0
    for index, node in enumerate(graph.node):
        if tensor in node.output:
            at = index + 1
    for offset, node in enumerate(nodes):
        graph.node.insert(at + offset, node)


def constant(graph: onnx.GraphProto, name: str, value: npt.NDArray[Any]) -> str:
    """Add an initializer with its values in raw_data, and return its name."""
    graph.initializer.append(numpy_helper.from_array(np.asarray(value, order="C"), name))
    return name


def drop_unused(graph: onnx.GraphProto) -> None:
    """Remove nodes and initializers that no output depends on."""
    needed = {output.name for output in graph.output}
    kept: list[onnx.NodeProto] = []
    for node in reversed(graph.node):
        if needed.intersection(node.output):
            kept.append(node)
            needed.update(node.input)
    if len(kept) != len(graph.node):
        replace_nodes(graph, reversed(kept))
    used = [tensor for tensor in graph.initializer if tensor.name in needed]
    if len(used) != len(graph.initializer):
        copies = [onnx.TensorProto.FromString(tensor.SerializeToString()) for tensor in used]
        del graph.initializer[:]
        graph.initializer.extend(copies)


def clean(model: onnx.ModelProto) -> None:
    """Nothing of the machine or the moment stays in the file: equal models give equal bytes."""
    model.doc_string = ""
    del model.metadata_props[:]
    del model.graph.value_info[:]
    del model.graph.quantization_annotation[:]
    model.graph.doc_string = ""
    for node in model.graph.node:
        node.doc_string = ""
        del node.metadata_props[:]


def opset(model: onnx.ModelProto) -> int:
    """Version of the standard operators; 0 when the model names none."""
    return next((int(entry.version) for entry in model.opset_import if entry.domain in ("", "ai.onnx")), 0)
