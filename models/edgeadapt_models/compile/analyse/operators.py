"""Norm layers of a graph, whichever way they are written, as `NormSite`s; what cannot be used, and why.

BatchNormalization                                     batch
LayerNormalization over the last axis                  layer
InstanceNormalization                                  instance
GroupNormalization                                     group
Reshape, one of these or elementary operators,
    Reshape back, Mul and Add per channel              group
elementary operators (`decomposed`) over
    the channel axis alone                             layer
    the channel axis and others                        group (of all channels)
    other axes                                         instance
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import onnx

from edgeadapt.bundle.manifest import NormKind, SlotKind
from edgeadapt_models.compile.analyse.affine import affine_behind, vector
from edgeadapt_models.compile.analyse.decomposed import Core, find_cores
from edgeadapt_models.compile.analyse.sites import NormSite, Unusable, Value
from edgeadapt_models.compile.analyse.view import GraphView, attribute

_BATCH_SLOTS: tuple[SlotKind, ...] = ("norm_scale", "norm_bias", "norm_mean", "norm_var")
_EPSILON = 1e-5
"""Default of every norm operator of ONNX."""
_UNSUPPORTED = {
    "LpNormalization": "it has no scale and no statistics",
    "MeanVarianceNormalization": "it has no scale and no statistics",
    "LRN": "it has no scale and no statistics",
    "RMSNormalization": "it is not in opset 21 and has no bias",
    "SimplifiedLayerNormalization": "it runs on ONNX Runtime only",
    "SkipLayerNormalization": "it runs on ONNX Runtime only: give the model before its optimiser ran",
    "GroupNorm": "it runs on ONNX Runtime only: give the model before its optimiser ran",
}


def find_norms(view: GraphView) -> Iterator[NormSite | Unusable]:
    """Every norm layer, in order of execution."""
    places = {node.output[0]: index for index, node in enumerate(view.nodes)}
    found: list[NormSite | Unusable] = [
        entry for node in view.nodes if (entry := _of_node(view, node)) is not None
    ]
    found += [_of_core(view, core) for core in find_cores(view)]
    return iter(sorted(found, key=lambda entry: places[entry.node]))


def _of_node(view: GraphView, node: onnx.NodeProto) -> NormSite | Unusable | None:
    reader = {
        "BatchNormalization": _batch,
        "LayerNormalization": _layer,
        "InstanceNormalization": _instance,
        "GroupNormalization": _group,
    }.get(node.op_type)
    if reader is not None:
        if view.shape(node.input[0]) is None or view.is_constant(node.input[0]):
            return _no(node, "its input does not depend on the model's input")
        return reader(view, node)
    reason = _UNSUPPORTED.get(node.op_type)
    return None if reason is None else _no(node, reason)


def _no(node: onnx.NodeProto, reason: str) -> Unusable:
    return Unusable(node.output[0], node.op_type, reason)


def _batch(view: GraphView, node: onnx.NodeProto) -> NormSite | Unusable:
    if attribute(node, "training_mode", 0):
        return _no(node, "it is in training mode: export the model in eval mode")
    values = [vector(view, node, index, kind) for index, kind in enumerate(_BATCH_SLOTS, start=1)]
    shape = view.shape(node.input[0]) or ()
    if any(value is None or value.value.size != shape[1] for value in values):
        return _no(node, "its parameters are not float32 constants")
    return _site(node, "batch", shape, 1, tuple(value for value in values if value is not None))


def _layer(view: GraphView, node: onnx.NodeProto) -> NormSite | Unusable:
    shape = view.shape(node.input[0]) or ()
    axis = int(attribute(node, "axis", -1)) % len(shape)
    if axis != len(shape) - 1:
        return _no(node, f"it normalises over the axes from {axis} on; only the last axis is supported")
    scale = vector(view, node, 1, "norm_scale")
    bias = vector(view, node, 2, "norm_bias")
    if scale is None or scale.value.size != shape[-1]:
        return _no(node, "its scale is no float32 constant with a value for each channel")
    if len(node.input) > 2 and node.input[2] and (bias is None or bias.value.size != shape[-1]):
        return _no(node, "its bias is no float32 constant with a value for each channel")
    return _site(node, "layer", shape, axis, _filled(shape[-1], scale, bias))


def _instance(view: GraphView, node: onnx.NodeProto) -> NormSite | Unusable:
    """An instance norm; one between two reshapes is a group norm."""
    shape = view.shape(node.input[0]) or ()
    grouped = _between_reshapes(view, node.input[0], node.output[0])
    if grouped is not None:
        source, end = grouped
        return _grouped(view, node, source, end)
    scale, bias = vector(view, node, 1, "norm_scale"), vector(view, node, 2, "norm_bias")
    if scale is None or bias is None:
        return _no(node, "its scale and bias are no float32 constants")
    return _site(node, "instance", shape, 1, (scale, bias))


def _group(view: GraphView, node: onnx.NodeProto) -> NormSite | Unusable:
    """Scale and bias are per channel from opset 21 on, and per group before (then more may come behind)."""
    shape = view.shape(node.input[0]) or ()
    scale, bias = vector(view, node, 1, "norm_scale"), vector(view, node, 2, "norm_bias")
    if scale is None or bias is None:
        return _no(node, "its scale and bias are no float32 constants")
    if scale.value.size == shape[1]:
        return _site(node, "group", shape, 1, (scale, bias))
    behind = affine_behind(view, node.output[0])
    values = _filled(shape[1], behind.scale, behind.bias) if behind.axis in (1, None) else ()
    if not values:
        return _no(node, f"what follows it varies along axis {behind.axis}, not along the channels")
    return _site(node, "group", shape, 1, values)


def _grouped(
    view: GraphView, node: onnx.NodeProto, source: str, end: str, operator: str = ""
) -> NormSite | Unusable:
    """A norm between two reshapes, with scale and bias behind the second."""
    shape = view.shape(source) or ()
    behind = affine_behind(view, end)
    if behind.axis not in (1, None):
        return _no(node, f"what follows it varies along axis {behind.axis}, not along the channels")
    values = _filled(shape[1], behind.scale, behind.bias)
    named = operator or f"Reshape, {node.op_type}, Reshape"
    epsilon = float(attribute(node, "epsilon", _EPSILON))
    return NormSite("group", shape[1], source, 1, len(shape), epsilon, node.output[0], named, end, values)


def _between_reshapes(view: GraphView, tensor: str, normal: str) -> tuple[str, str] | None:
    """(tensor before the first reshape, tensor after the second), when both have the same shape."""
    before = view.made_by(tensor, "Reshape")
    after = view.only_reader(normal, "Reshape")
    if before is None or after is None:
        return None
    shape = view.shape(before.input[0])
    if shape is None or len(shape) < 3 or view.shape(after.output[0]) != shape:
        return None
    return before.input[0], after.output[0]


def _of_core(view: GraphView, core: Core) -> NormSite | Unusable:
    node = view.producer[core.node]
    operator = f"ReduceMean ... {node.op_type}"
    if core.normal and core.scale is None and core.bias is None:
        grouped = _between_reshapes(view, core.tensor, core.normal)
        if grouped is not None:
            site = _grouped(view, node, *grouped, operator=f"Reshape, {operator}, Reshape")
            return site if isinstance(site, Unusable) else replace(site, epsilon=core.epsilon)
    shape = view.shape(core.tensor) or ()
    if 0 in core.axes:
        return Unusable(core.node, operator, "it normalises over the batch: export the model in eval mode")
    kind, axis = _kind(core.axes, core.axis)
    if axis is None:
        return Unusable(
            core.node, operator, f"which of its axes {core.axes} is the channel axis is not clear"
        )
    if core.normal == "" and core.bias is None:
        return Unusable(core.node, operator, "it has a scale and no bias")
    values = _filled(shape[axis], core.scale, core.bias)
    return NormSite(
        kind,
        shape[axis],
        core.tensor,
        axis,
        len(shape),
        core.epsilon,
        core.node,
        operator,
        core.normal,
        values,
    )


def _kind(axes: tuple[int, ...], affine: int | None) -> tuple[NormKind, int | None]:
    """(kind, channel axis) from the axes of the mean and the axis of scale and bias."""
    if len(axes) == 1 and affine in (None, axes[0]):
        return "layer", axes[0]
    axis = 1 if affine is None else affine
    if axis == 0:
        return "instance", None
    return ("group" if axis in axes else "instance"), axis


def _filled(channels: int, scale: Value | None, bias: Value | None) -> tuple[Value, ...]:
    """Scale and bias; one that is missing is given the value that changes nothing."""
    one = Value("norm_scale", np.ones(channels, np.float32), None, ())
    none = Value("norm_bias", np.zeros(channels, np.float32), None, ())
    return (one if scale is None else scale), (none if bias is None else bias)


def _site(
    node: onnx.NodeProto, kind: NormKind, shape: tuple[int, ...], axis: int, values: tuple[Value, ...]
) -> NormSite:
    epsilon = float(attribute(node, "epsilon", _EPSILON))
    return NormSite(
        kind,
        shape[axis],
        node.input[0],
        axis,
        len(shape),
        epsilon,
        node.output[0],
        node.op_type,
        node.output[0],
        values,
    )
