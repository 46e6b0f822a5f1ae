"""Means, sums and extremes over axes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from ai_edge_litert import schema_py_generated as schema

from edgeadapt_models.compile.tflite.lower.context import Context, Op, attributes
from edgeadapt_models.compile.tflite.lower.layout import UNIT, Order, stored_shape, without
from edgeadapt_models.compile.tflite.ops.registry import converts

_REDUCTIONS: dict[str, int] = {
    "ReduceMax": Op.REDUCE_MAX,
    "ReduceMean": Op.MEAN,
    "ReduceMin": Op.REDUCE_MIN,
    "ReduceSum": Op.SUM,
}


@converts(*_REDUCTIONS)
def _reduction(context: Context, node: onnx.NodeProto) -> None:
    values = attributes(node)
    axes = reduced_axes(context, node)
    if not axes:
        if not values.get("noop_with_empty_axes", 0):
            axes = tuple(range(context.rank(node.input[0])))
        else:
            order = context.order(node.input[0])
            context.define(node.output[0], context.stored(node.input[0], order), order)
            return
    keep = bool(values.get("keepdims", 1))
    reduce(context, node.input[0], node.output[0], _REDUCTIONS[node.op_type], axes, keep=keep)


@converts("ReduceL2")
def _norm(context: Context, node: onnx.NodeProto) -> None:
    """sqrt(sum(x * x))."""
    order = context.order(node.input[0])
    x = context.stored(node.input[0], order)
    shape = stored_shape(context.shape(node.input[0]), order)
    square = context.emit(Op.MUL, [x, x], shape, schema.MulOptionsT())
    keep = bool(attributes(node).get("keepdims", 1))
    total, order = reduced(context, square, order, Op.SUM, reduced_axes(context, node), keep=keep)
    shape = context.subgraph.tensors[total].shape
    context.define(node.output[0], context.emit(Op.SQRT, [total], shape), order)


def reduced_axes(context: Context, node: onnx.NodeProto) -> tuple[int, ...]:
    """The axes of a Reduce node, attribute or input, counted from 0; empty when none are given."""
    axes: Sequence[int] = attributes(node).get("axes", ())
    if len(node.input) > 1 and node.input[1]:
        given = context.constant(node.input[1])
        if given is None:
            raise context.fail(node, "its axes are computed from the input")
        axes = given.tolist()
    rank = context.rank(node.input[0])
    return tuple(sorted(int(axis) % rank for axis in axes))


def reduce(context: Context, name: str, result: str, code: int, axes: Sequence[int], *, keep: bool) -> None:
    """Reduce a value over logical axes and define `result`."""
    order = context.order(name)
    tensor, order = reduced(context, context.stored(name, order), order, code, axes, keep=keep)
    context.define(result, tensor, order)


def reduced(
    context: Context, tensor: int, order: Order, code: int, axes: Sequence[int], *, keep: bool
) -> tuple[int, Order]:
    """Reduce a tensor that is stored in `order`; returns the result and its order."""
    dropped = set(axes)
    # Without keepdims, axes that only storage has go too.
    places = [i for i, axis in enumerate(order) if axis in dropped or (axis == UNIT and not keep)]
    shape: list[Any] = list(context.subgraph.tensors[tensor].shape)
    for place in places:
        shape[place] = 1 if keep else None
    options = schema.ReducerOptionsT()
    options.keepDims = keep
    over = context.literal(np.array(places, np.int32))
    stored = tuple(size for size in shape if size is not None)
    result = context.emit(code, [tensor, over], stored, options)
    return result, order if keep else without(order, axes)
