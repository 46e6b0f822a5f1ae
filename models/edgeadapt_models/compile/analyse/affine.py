"""The scale and shift behind a normalised tensor: Mul by a constant per channel, then Add of one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx

from edgeadapt.bundle.manifest import SlotKind
from edgeadapt_models.compile.analyse.sites import Operand, Value
from edgeadapt_models.compile.analyse.view import GraphView, channel_axis


@dataclass(frozen=True, slots=True)
class Affine:
    """What follows a normalised tensor.

    Attributes:
        axis: channel axis; None when there is neither scale nor bias.
        scale: the factor, or None.
        bias: the summand, or None.
    """

    axis: int | None
    scale: Value | None
    bias: Value | None


def affine_behind(view: GraphView, tensor: str) -> Affine:
    """Read Mul and Add behind `tensor`, as far as nobody else reads what is between."""
    shape = view.shape(tensor)
    if shape is None:
        return Affine(None, None, None)
    scale, axis, after = _step(view, tensor, "Mul", "norm_scale", shape, None)
    bias, axis, _ = _step(view, after, "Add", "norm_bias", shape, axis)
    return Affine(axis, scale, bias)


def bias_behind(view: GraphView, tensor: str, axis: int) -> Value | None:
    """The summand per channel of `axis` right behind `tensor`, or None."""
    shape = view.shape(tensor)
    return None if shape is None else _step(view, tensor, "Add", "norm_bias", shape, axis)[0]


def vector(view: GraphView, node: onnx.NodeProto, index: int, kind: SlotKind) -> Value | None:
    """Input `index` of a node as a value, when it is a constant of float32."""
    if len(node.input) <= index or not node.input[index]:
        return None
    value = view.constant(node.input[index])
    if value is None or value.dtype != np.float32:
        return None
    place = Operand(node.output[0], index)
    return Value(kind, value.reshape(-1), place, tuple(value.shape), node.input[index])


def _step(
    view: GraphView, tensor: str, operator: str, kind: SlotKind, shape: tuple[int, ...], axis: int | None
) -> tuple[Value | None, int | None, str]:
    """(value, channel axis, tensor after it) of one operation; the value is None when there is none."""
    node = view.only_reader(tensor, operator)
    if node is None:
        return None, axis, tensor
    for place, constant, _ in view.constant_operands(node):
        dims = view.shape(constant) or ()
        found = channel_axis(dims, len(shape))
        if found is None or (axis is not None and found != axis):
            continue
        if int(np.prod(dims)) != shape[found] or view.shape(node.output[0]) != shape:
            continue
        value = vector(view, node, place.index, kind)
        if value is not None:
            return value, found, node.output[0]
    return None, axis, tensor
