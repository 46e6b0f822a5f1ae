"""A graph while extras are built into it: constants of one's own, nodes put behind tensors, slots collected.

Nodes and tensors keep their names: what comes behind a tensor takes over its name, so that whoever knew the
tensor (norm layers, outputs) goes on to see what its readers see.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx

from edgeadapt.bundle import Slot
from edgeadapt.bundle.manifest import SlotKind
from edgeadapt.errors import CompileError
from edgeadapt.tensors import FloatArray
from edgeadapt_models.compile.analyse.view import GraphView
from edgeadapt_models.compile.extras.plan import Planned
from edgeadapt_models.compile.graph import edit

Shape = tuple[int, ...]


class Workpiece:
    """A copy of a graph, and what was made of it so far.

    Attributes:
        model: the copy.
        view: indices over it as it is now.
        slots, base, planned, notes: as in `plan.Extras`.
    """

    def __init__(
        self, model: onnx.ModelProto, shapes: Mapping[str, Shape], slot_names: Collection[str]
    ) -> None:
        """`shapes` holds every tensor that depends on the input; `slot_names` are taken."""
        self.model = onnx.ModelProto()
        self.model.CopyFrom(model)
        self._shapes = dict(shapes)
        self._names = edit.names(self.model.graph)
        self._slot_names = set(slot_names)
        self.slots: list[Slot] = []
        self.base: dict[str, FloatArray] = {}
        self.planned: list[Planned] = []
        self.notes: list[str] = []
        self.view = GraphView(self.model.graph, self._shapes)

    def node(self, output: str) -> onnx.NodeProto:
        """The node whose first output is `output`."""
        return next(node for node in self.model.graph.node if node.output[0] == output)

    def fresh(self, stem: str) -> str:
        """A tensor name that is not taken yet."""
        return edit.fresh(stem, self._names)

    def constant(self, stem: str, value: npt.NDArray[Any]) -> str:
        """Add an initializer and return its name."""
        name = edit.constant(self.model.graph, self.fresh(stem), value)
        self._renew()
        return name

    def own(self, node: onnx.NodeProto, index: int) -> str:
        """The initializer at an input of `node`, which nobody else reads: a copy where it is shared."""
        name: str = node.input[index]
        shared = sum(list(other.input).count(name) for other in self.model.graph.node) > 1
        if not shared and name not in self.view.outputs:
            return name
        value = self.view.constant(name)
        if value is None:
            raise CompileError(f"{name!r} is no constant of the graph")
        node.input[index] = copy = self.constant(f"{name}/own", value)
        self._renew()
        return copy

    def replace(self, node: onnx.NodeProto, index: int, stem: str, value: npt.NDArray[Any]) -> str:
        """Give an input of `node` a new constant; returns its name. The old one goes when nobody reads it."""
        node.input[index] = name = self.constant(stem, value)
        edit.drop_unused(self.model.graph)
        self._renew()
        return name

    def put_behind(self, tensor: str, result: str, nodes: Sequence[onnx.NodeProto], shape: Shape) -> str:
        """Put nodes behind a tensor; they make `result` of it, which takes over the tensor's name.

        Args:
            tensor: what a node makes, not an input of the graph; `nodes` read it under this name.
            result: the output of one of `nodes`.
            nodes: in order of execution.
            shape: of the result.

        Returns:
            The name that the tensor has now.
        """
        before = self.fresh(f"{tensor}/before")
        table = {tensor: before, result: tensor}
        for node in nodes:
            node.input[:] = [table.get(name, name) for name in node.input]
            node.output[:] = [table.get(name, name) for name in node.output]
        for node in self.model.graph.node:
            node.output[:] = [before if name == tensor else name for name in node.output]
        edit.insert_after(self.model.graph, before, nodes)
        self._shapes[before], self._shapes[tensor] = self._shapes[tensor], shape
        self._renew()
        return before

    def put_behind_input(self, name: str, result: str, nodes: Sequence[onnx.NodeProto]) -> None:
        """Put nodes behind an input of the graph, whose readers read `result` from now on."""
        for node in self.model.graph.node:
            node.input[:] = [result if tensor == name else tensor for tensor in node.input]
        edit.insert_after(self.model.graph, name, nodes)
        self._shapes[result] = self._shapes[name]
        self._renew()

    def put_in_front(self, nodes: Sequence[onnx.NodeProto]) -> None:
        """Put nodes that read constants only in front of all others."""
        for index, node in enumerate(nodes):
            self.model.graph.node.insert(index, node)
        self._renew()

    def add_slot(
        self,
        name: str,
        kind: SlotKind,
        layer: str,
        base: npt.NDArray[Any],
        limit: float,
        upper: float | None = None,
    ) -> str:
        """Declare a slot with bounds -limit and `upper` (by default limit); returns the name it got."""
        name = edit.fresh(name, self._slot_names)
        high = limit if upper is None else upper
        self.slots.append(Slot(name, kind, layer, tuple(base.shape), -limit, high))
        self.base[name] = np.ascontiguousarray(base, dtype=np.float32)
        return name

    def _renew(self) -> None:
        self.view = GraphView(self.model.graph, self._shapes)


def descendants(view: GraphView, tensor: str) -> frozenset[str]:
    """First outputs of all nodes that depend on `tensor`."""
    reached, found = {tensor}, set()
    for node in view.nodes:
        if reached.intersection(node.input):
            reached.update(node.output)
            found.add(node.output[0])
    return frozenset(found)


def ancestors(view: GraphView, tensor: str) -> frozenset[str]:
    """First outputs of all nodes that `tensor` depends on."""
    needed, found = {tensor}, set()
    for node in reversed(view.nodes):
        if needed.intersection(node.output):
            needed.update(node.input)
            found.add(node.output[0])
    return frozenset(found)
