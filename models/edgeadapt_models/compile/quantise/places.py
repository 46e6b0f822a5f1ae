"""Which tensors are held in 8 bits.

A tensor is *held* when it is rounded where it is made, and everyone reads the rounded one: results of
convolutions (behind a ReLU or clip), of sums, products, concatenations and poolings of held tensors. A
tensor is only *read* in 8 bits when kernels want it so but others go on reading the float. Results of
matrix products stay float: runtimes need no integers there, and transformers lose by them. Norm layers that
are not folded, softmax, GELU, hard-swish and whatever else is not named here compute in float.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import onnx

from edgeadapt_models.compile.quantise.graph import FloatGraph
from edgeadapt_models.compile.quantise.kernels import Kernel

_JOINS = ("Add", "Mul", "Concat")
_POOLS = ("AveragePool",)
# They only move values, so the result has the integers of the input.
_MOVES = ("MaxPool", "Flatten", "Reshape", "Transpose", "Squeeze", "Unsqueeze")
_VIEWS = ("Flatten", "Reshape", "Squeeze")
_BOUNDS = ("Relu", "Clip")


@dataclass(frozen=True)
class Place:
    """A tensor in 8 bits.

    Attributes:
        tensor: its name in the float graph.
        like: the tensor whose scale and zero point it shares; itself unless values only move.
        held: True when everyone reads the integers.
    """

    tensor: str
    like: str
    held: bool


@dataclass(frozen=True)
class Places:
    """All tensors in 8 bits, and the nodes that compute with them.

    Attributes:
        of: by name, in order of execution.
        integer: first outputs of the nodes that read rounded tensors.
    """

    of: Mapping[str, Place]
    integer: frozenset[str]

    def roots(self) -> tuple[str, ...]:
        """The tensors that need a range."""
        return tuple(dict.fromkeys(place.like for place in self.of.values()))


def choose_places(graph: FloatGraph, kernels: Mapping[str, Kernel]) -> Places:
    """Decide for every tensor of the graph."""
    chooser = _Chooser(graph, kernels)
    for node in graph.nodes:
        chooser.visit(node)
    return Places(chooser.places, frozenset(chooser.integer))


def bounded(graph: FloatGraph, tensor: str) -> str:
    """The tensor behind an activation that runtimes fuse, if there is one; else `tensor`."""
    node = graph.only_reader(tensor, *_BOUNDS)
    if node is None or not all(graph.is_constant(name) for name in node.input[1:] if name):
        return tensor
    return str(node.output[0])


class _Chooser:
    def __init__(self, graph: FloatGraph, kernels: Mapping[str, Kernel]) -> None:
        self.graph, self.kernels = graph, kernels
        self.places: dict[str, Place] = {}
        self.integer: set[str] = set()

    def visit(self, node: onnx.NodeProto) -> None:
        kernel = self.kernels.get(node.output[0])
        if kernel is not None:
            self._read(kernel.input)
            self.integer.add(node.output[0])
            if kernel.operator == "Conv":
                self._hold(bounded(self.graph, kernel.result))
        elif node.op_type in _JOINS and all(self._held(name) for name in node.input):
            self._compute(node, bounded(self.graph, node.output[0]))
        elif node.op_type in _POOLS and self._held(node.input[0]):
            self._compute(node, node.output[0])
        elif node.op_type == "GlobalAveragePool" and self._held(node.input[0]):
            if self._only_kernels(node.output[0]):
                self._compute(node, node.output[0])
        elif node.op_type in _MOVES and self._held(node.input[0]):
            root = self.places[node.input[0]].like
            if node.output[0] not in self.graph.outputs and len(node.output) == 1:
                self.integer.add(node.output[0])
                self.places[node.output[0]] = Place(node.output[0], root, held=True)

    def _compute(self, node: onnx.NodeProto, result: str) -> None:
        if result in self.graph.outputs:
            return
        self.integer.add(node.output[0])
        self._hold(result)

    def _held(self, tensor: str) -> bool:
        place = self.places.get(tensor)
        return place is not None and place.held

    def _hold(self, tensor: str) -> None:
        held = tensor not in self.graph.outputs
        if held:
            self.places[tensor] = Place(tensor, tensor, held=True)

    def _read(self, tensor: str) -> None:
        if tensor not in self.places:
            self.places[tensor] = Place(tensor, tensor, held=False)

    def _only_kernels(self, tensor: str) -> bool:
        """True when integers are all that is wanted of a tensor."""
        if tensor in self.graph.outputs:
            return False
        return all(
            reader.output[0] in self.kernels
            or (reader.op_type in _VIEWS and self._only_kernels(reader.output[0]))
            for reader in self.graph.readers(tensor)
        )
