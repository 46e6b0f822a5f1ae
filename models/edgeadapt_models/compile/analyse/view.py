"""An ONNX graph made easy to walk: who makes a tensor, who reads it, what is constant, and shapes.

Nodes are known by their first output. Only the top graph is seen; models with subgraphs are refused before.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import numpy_helper

from edgeadapt_models.compile.analyse.sites import Operand

Array = npt.NDArray[Any]


class GraphView:
    """Indices over a graph, valid as long as the graph is not changed."""

    def __init__(self, graph: onnx.GraphProto, shapes: Mapping[str, Sequence[int]]) -> None:
        """`shapes` holds the shape of every tensor that depends on the input, at some batch size."""
        self.nodes: tuple[onnx.NodeProto, ...] = tuple(graph.node)
        self.outputs = frozenset(output.name for output in graph.output)
        self.producer = {name: node for node in self.nodes for name in node.output if name}
        self._readers: dict[str, list[onnx.NodeProto]] = {}
        for node in self.nodes:
            for name in set(node.input):
                self._readers.setdefault(name, []).append(node)
        self._constants = {tensor.name: tensor for tensor in graph.initializer}
        self._shapes = {name: tuple(shape) for name, shape in shapes.items()}

    def readers(self, tensor: str) -> tuple[onnx.NodeProto, ...]:
        """The nodes that read `tensor`, in order of execution."""
        return tuple(self._readers.get(tensor, ()))

    def only_reader(self, tensor: str, *operators: str) -> onnx.NodeProto | None:
        """The node that reads `tensor`, if it is one of `operators` and nobody else reads it."""
        found = self._readers.get(tensor, [])
        if len(found) == 1 and tensor not in self.outputs and found[0].op_type in operators:
            return found[0]
        return None

    def made_by(self, tensor: str, *operators: str) -> onnx.NodeProto | None:
        """The node that makes `tensor`, if it is one of `operators`."""
        node = self.producer.get(tensor)
        return node if node is not None and node.op_type in operators else None

    def is_constant(self, tensor: str) -> bool:
        """True for an initializer."""
        return tensor in self._constants

    def constant(self, tensor: str) -> Array | None:
        """The value of an initializer, else None."""
        held = self._constants.get(tensor)
        return None if held is None else np.asarray(numpy_helper.to_array(held))

    def scalar(self, tensor: str) -> float | None:
        """The value of an initializer of one element, else None."""
        value = self.constant(tensor)
        return float(value.reshape(())) if value is not None and value.size == 1 else None

    def shape(self, tensor: str) -> tuple[int, ...] | None:
        """The shape of a tensor or constant, None when it is unknown."""
        if tensor in self._constants:
            return tuple(self._constants[tensor].dims)
        return self._shapes.get(tensor)

    def constant_operands(self, node: onnx.NodeProto) -> Iterator[tuple[Operand, str, str]]:
        """(place, constant, other input) for each way to read a node of two inputs as tensor and constant."""
        if len(node.input) == 2:
            for index in (0, 1):
                if self.is_constant(node.input[index]) and not self.is_constant(node.input[1 - index]):
                    yield Operand(node.output[0], index), node.input[index], node.input[1 - index]


def attribute(node: onnx.NodeProto, name: str, default: Any = None) -> Any:
    """The value of an attribute, or `default`."""
    for entry in node.attribute:
        if entry.name == name:
            return onnx.helper.get_attribute_value(entry)
    return default


def channel_axis(shape: Sequence[int], rank: int) -> int | None:
    """The axis of a tensor of `rank` along which a constant of `shape` varies; None if not exactly one.

    Shapes are aligned at their ends, as in broadcasting: (C, 1, 1) varies along axis 1 of four. A constant of
    one element varies along the first axis that it names.
    """
    offset = rank - len(shape)
    if offset < 0 or not shape:
        return None
    long = [axis for axis, size in enumerate(shape) if size > 1]
    if len(long) > 1:
        return None
    return offset + (long[0] if long else 0)
