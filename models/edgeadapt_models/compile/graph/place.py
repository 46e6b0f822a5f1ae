"""Give every slot an initializer of its own, so that its bytes can be found and nothing else shares them.

Norm layers get initializers named after their slots, with the values that they had; a missing scale or bias
is added as a Mul or an Add that changes nothing. A folded layer ("channel") keeps its raw weights and bias,
made its own where they were shared. What a device then writes where is planned here and located in `locate`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import onnx
from onnx import helper, numpy_helper

from edgeadapt.bundle.manifest import SlotKind
from edgeadapt.tensors import FloatArray
from edgeadapt_models.compile.analyse.sites import AffineSite, FoldedSite, NormSite, Operand, Site
from edgeadapt_models.compile.graph.edit import constant, drop_unused, fresh, insert_after, names, rename


@dataclass(frozen=True, slots=True)
class Named:
    """A site with its names.

    Attributes:
        name: of the layer.
        site: where it is.
        slots: name of each of its slots.
        base: float32 [channels] of each slot, in the same order; empty while a folded layer's statistics
            have not been measured.
    """

    name: str
    site: Site
    slots: tuple[tuple[SlotKind, str], ...]
    base: Mapping[str, FloatArray]

    def slot(self, kind: SlotKind) -> str:
        """Name of a slot; "" when the layer has none of the kind."""
        return next((name for found, name in self.slots if found == kind), "")


@dataclass(frozen=True, slots=True)
class CopyPlan:
    """A slot is the initializer of the same name."""

    slot: str


@dataclass(frozen=True, slots=True)
class FoldPlan:
    """A layer is folded into the initializers `weight` (along `axis`) and `bias`."""

    layer: str
    weight: str
    axis: int
    bias: str


@dataclass(frozen=True, slots=True)
class AffinePlan:
    """A layer is written as the initializers `scale` and `shift`."""

    layer: str
    scale: str
    shift: str


Plan: TypeAlias = CopyPlan | FoldPlan | AffinePlan


def place(model: onnx.ModelProto, layers: Iterable[Named]) -> tuple[Plan, ...]:
    """Change `model` in place and say what is written where."""
    graph = model.graph
    plans: list[Plan] = []
    for layer in layers:
        if isinstance(layer.site, NormSite):
            plans += _norm(graph, layer, layer.site)
        elif isinstance(layer.site, FoldedSite):
            plans.append(_folded(graph, layer, layer.site))
        else:
            plans.append(_affine(graph, layer, layer.site))
    drop_unused(graph)
    return tuple(plans)


def _norm(graph: onnx.GraphProto, layer: Named, site: NormSite) -> list[Plan]:
    behind = site.normal
    for value in site.values:
        name = layer.slot(value.kind)
        _free(graph, name)
        held = layer.base[name]
        if value.operand is not None:
            constant(graph, name, held.reshape(value.shape))
            _set(graph, value.operand, name)
            if value.operand.node != site.node:
                behind = value.operand.node
        else:
            shape = [1] * site.rank
            shape[site.axis] = site.channels
            native = value.kind == "norm_bias" and site.operator == "LayerNormalization"
            constant(graph, name, held if native else held.reshape(shape[site.axis :]))
            _missing(graph, layer.name, site, value.kind, name, behind)
    return [CopyPlan(name) for _, name in layer.slots]


def _missing(
    graph: onnx.GraphProto, layer: str, site: NormSite, kind: SlotKind, name: str, behind: str
) -> None:
    """Add a scale or bias: as a LayerNormalization's third input, or as a node behind."""
    node = _node(graph, site.node)
    if kind == "norm_bias" and node is not None and node.op_type == "LayerNormalization":
        node.input[:] = [*node.input[:2], name]
    else:
        _behind(graph, behind, f"{layer}/bare_{kind}", "Mul" if kind == "norm_scale" else "Add", name)


def _behind(graph: onnx.GraphProto, tensor: str, stem: str, operator: str, held: str) -> None:
    """Put an operation with a constant behind a tensor. Its result takes over the tensor's name, so that
    whoever reads the tensor, be it an output or a layer that was found, reads the result."""
    inner = fresh(stem, names(graph))
    maker = _node(graph, tensor)
    assert maker is not None
    maker.output[:] = [inner if given == tensor else given for given in maker.output]
    insert_after(graph, inner, [helper.make_node(operator, [inner, held], [tensor], name=stem)])


def _folded(graph: onnx.GraphProto, layer: Named, site: FoldedSite) -> FoldPlan:
    weight = _own(graph, site.weight, f"{layer.name}/weight")
    if site.bias is not None:
        bias = _own(graph, site.bias, f"{layer.name}/bias")
        return FoldPlan(layer.name, weight, site.weight_axis, bias)
    bias = constant(graph, fresh(f"{layer.name}/bias", names(graph)), np.zeros(site.channels, np.float32))
    node = _node(graph, site.node)
    assert node is not None
    if node.op_type == "MatMul":
        _behind(graph, site.tensor, f"{layer.name}/product", "Add", bias)
    else:
        node.input[:] = [*node.input[:2], bias]
    return FoldPlan(layer.name, weight, site.weight_axis, bias)


def _affine(graph: onnx.GraphProto, layer: Named, site: AffineSite) -> AffinePlan:
    assert site.scale.operand is not None
    assert site.shift.operand is not None
    scale = _own(graph, site.scale.operand, f"{layer.name}/scale")
    shift = _own(graph, site.shift.operand, f"{layer.name}/shift")
    return AffinePlan(layer.name, scale, shift)


def _own(graph: onnx.GraphProto, operand: Operand, name: str) -> str:
    """The operand's constant, made one that only this node reads."""
    node = _node(graph, operand.node)
    assert node is not None
    held = str(node.input[operand.index])
    uses = sum(list(other.input).count(held) for other in graph.node)
    if uses == 1:
        return held
    tensor = next(tensor for tensor in graph.initializer if tensor.name == held)
    copy = constant(graph, fresh(name, names(graph)), numpy_helper.to_array(tensor))
    node.input[operand.index] = copy
    return copy


def _set(graph: onnx.GraphProto, operand: Operand, name: str) -> None:
    node = _node(graph, operand.node)
    assert node is not None
    node.input[operand.index] = name


def _node(graph: onnx.GraphProto, output: str) -> onnx.NodeProto | None:
    return next((node for node in graph.node if node.output[0] == output), None)


def _free(graph: onnx.GraphProto, name: str) -> None:
    """Rename whatever bears a slot's name: others may share it, and must not change with the slot."""
    taken = names(graph)
    if name in taken:
        rename(graph, {name: fresh(f"{name}/shared", taken)})
