"""The same model with every slot beside it as nodes of its own: what folding must not differ from.

A prompt is an Add at the input, a convolution adapter a second Conv, a low-rank adapter two more products,
the shift of the embedding an Add before the head. Slow, and easy to believe. Compiling holds the folded
artifact against it, for values that move every slot.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper, numpy_helper

from edgeadapt.bundle import Copy, SlotValues
from edgeadapt.bundle.folds import expand_prompt
from edgeadapt.bundle.writes import ConvAdapter, HeadShift, LowRank, Prompt
from edgeadapt_models.compile.analyse.view import attribute
from edgeadapt_models.compile.extras.build import Ground, add_extras
from edgeadapt_models.compile.extras.plan import Extras, Planned
from edgeadapt_models.compile.extras.request import VARIANTS, ExtrasRequest
from edgeadapt_models.compile.extras.workpiece import Workpiece
from edgeadapt_models.compile.reference.explicit import Branched


@dataclass(frozen=True, slots=True)
class Explicit:
    """Makes such models.

    Attributes:
        ground: what `extras` were built on; the norm layers' values are those in its graph.
        request: what was asked for.
        extras: what came of it.
    """

    ground: Ground
    request: ExtrasRequest
    extras: Extras

    def __call__(self, values: SlotValues) -> Branched:
        """For values of any slots; norm layers' are passed over, those not named keep the base value."""
        variants = tuple(adapter for adapter in self.request.adapters if adapter.kind in VARIANTS)
        plain = add_extras(self.ground, ExtrasRequest(None, variants, head=False))
        work = Workpiece(plain.model, self.ground.shapes, ())
        branches = _Branches(work, self.extras, {**self.extras.base, **values})
        for planned in self.extras.planned:
            branches.add(planned)
        work.model.graph.node.extend(plain.probe.nodes)
        work.model.graph.initializer.extend(plain.probe.initializers)
        return Branched(work.model, {**plain.probe.measured, **branches.measured})


@dataclass(frozen=True, slots=True)
class _Branches:
    """Writes turned into nodes."""

    work: Workpiece
    extras: Extras
    values: Mapping[str, npt.NDArray[np.float32]]
    measured: dict[str, str] = field(default_factory=dict)

    def add(self, planned: Planned) -> None:
        write = planned.write
        if isinstance(write, Copy):
            self._copy(write, planned.tensors["at"])
        elif isinstance(write, Prompt):
            self._prompt(write)
        elif isinstance(write, ConvAdapter):
            self._beside(planned.tensors["weight"], self._convolution(write))
        elif isinstance(write, LowRank):
            self._beside(planned.tensors["weight"], self._low_rank(write))
        elif isinstance(write, HeadShift):
            self._shift(write, planned.tensors["weight"])

    def _copy(self, write: Copy, tensor: str) -> None:
        value = self.values[write.slot]
        stored = value.T if write.transposed else value
        if self.work.view.is_constant(tensor):
            entry = next(entry for entry in self.work.model.graph.initializer if entry.name == tensor)
            entry.CopyFrom(numpy_helper.from_array(stored.reshape(tuple(entry.dims)), tensor))
        else:  # a tensor that the extras made their own, or that was not there before
            node = self._reader(tensor)
            target, index = self._counterpart(tensor), list(node.input).index(tensor)
            dims = next(tuple(t.dims) for t in self.extras.model.graph.initializer if t.name == tensor)
            target.op_type = node.op_type
            held = self.work.constant(tensor, stored.reshape(dims))
            target.input[:] = [*target.input[:index], held, *target.input[index + 1 :]]

    def _prompt(self, write: Prompt) -> None:
        name = self.work.model.graph.input[0].name
        shape = self.work.view.shape(name) or ()
        at = write.at.shape if write.layout == "NCHW" else (write.at.shape[2], *write.at.shape[:2])
        spread = expand_prompt(self.values[write.slot].astype(np.float64), write.form, at, write.border)
        turned = spread if at == shape[1:] or len(shape) < 4 else np.moveaxis(spread, 0, -1)
        held = self.work.constant("explicit/prompt", turned.reshape((1, *shape[1:])).astype(np.float32))
        made = self.work.fresh("explicit/prompted")
        self.measured[name] = made  # for a norm layer on the input itself
        self.work.put_behind_input(name, made, [helper.make_node("Add", [name, held], [made], name=made)])

    def _convolution(self, write: ConvAdapter) -> Callable[[onnx.NodeProto, str], list[onnx.NodeProto]]:
        def branch(node: onnx.NodeProto, made: str) -> list[onnx.NodeProto]:
            adapter = self.values[write.slot]
            ones = [1] * len(write.spatial_axes)
            held = self.work.constant("explicit/adapter", adapter.reshape(*adapter.shape, *ones))
            strides, group = attribute(node, "strides", ones), attribute(node, "group", 1)
            return [
                helper.make_node(
                    "Conv", [node.input[0], held], [made], name=made, strides=strides, group=group
                )
            ]

        return branch

    def _low_rank(self, write: LowRank) -> Callable[[onnx.NodeProto, str], list[onnx.NodeProto]]:
        def branch(node: onnx.NodeProto, made: str) -> list[onnx.NodeProto]:
            down = self.work.constant("explicit/down", self.values[write.down].T)
            up = self.work.constant("explicit/up", self.values[write.up].T)
            inner = self.work.fresh("explicit/inner")
            return [
                helper.make_node("MatMul", [node.input[0], down], [inner], name=inner),
                helper.make_node("MatMul", [inner, up], [made], name=made),
            ]

        return branch

    def _beside(self, weight: str, branch: Callable[[onnx.NodeProto, str], list[onnx.NodeProto]]) -> None:
        """Add what a branch makes of the input of the node that reads `weight` to its output."""
        node = self._counterpart(weight)
        output, shape = node.output[0], self.work.view.shape(node.output[0]) or ()
        made, total = self.work.fresh("explicit/branch"), self.work.fresh("explicit/sum")
        nodes = branch(node, made)
        nodes.append(helper.make_node("Add", [output, made], [total], name=total))
        self.work.put_behind(output, total, nodes, shape)

    def _shift(self, write: HeadShift, weight: str) -> None:
        node = self._counterpart(weight)
        rank = len(self.work.view.shape(node.input[0]) or ())
        shift = self.values[write.slot].reshape(1, -1, *([1] * (rank - 2)))
        held, made = self.work.constant("explicit/shift", shift), self.work.fresh("explicit/shifted")
        nodes = list(self.work.model.graph.node)
        at = next(index for index, other in enumerate(nodes) if other.output[0] == node.output[0])
        added = helper.make_node("Add", [node.input[0], held], [made], name=made)
        node.input[0] = made
        self.work.model.graph.node.insert(at, added)

    def _reader(self, tensor: str) -> onnx.NodeProto:
        """The node of the folded graph that reads an initializer."""
        return next(node for node in self.extras.model.graph.node if tensor in node.input)

    def _counterpart(self, tensor: str) -> onnx.NodeProto:
        """The same node in the graph with branches; names of nodes are unique and stay."""
        name = self._reader(tensor).name
        return next(node for node in self.work.model.graph.node if node.name == name)
