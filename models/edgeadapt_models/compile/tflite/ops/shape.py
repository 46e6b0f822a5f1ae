"""Operators that move numbers and change none."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
from ai_edge_litert import schema_py_generated as schema

from edgeadapt_models.compile.tflite.lower.context import Context, Op, attributes
from edgeadapt_models.compile.tflite.lower.layout import (
    after_transpose,
    reshape_orders,
    stored_shape,
)
from edgeadapt_models.compile.tflite.ops.elementwise import common_order
from edgeadapt_models.compile.tflite.ops.registry import converts


@converts("Identity", "Dropout", "Cast")
def _same(context: Context, node: onnx.NodeProto) -> None:
    if node.op_type == "Cast" and attributes(node)["to"] != onnx.TensorProto.FLOAT:
        raise context.fail(node, "it casts a computed value to another type than float32")
    order = context.order(node.input[0])
    context.define(node.output[0], context.stored(node.input[0], order), order)


@converts("Transpose")
def _transpose(context: Context, node: onnx.NodeProto) -> None:
    """Only the order changes; whoever needs another one moves the numbers."""
    name = node.input[0]
    permutation = attributes(node).get("perm", tuple(reversed(range(context.rank(name)))))
    order = context.order(name)
    context.define(node.output[0], context.stored(name, order), after_transpose(order, permutation))


@converts("Reshape", "Flatten", "Squeeze", "Unsqueeze")
def _reshape(context: Context, node: onnx.NodeProto) -> None:
    name, result = node.input[0], node.output[0]
    source, target = context.shape(name), context.shape(result)
    wanted, order = reshape_orders(source, target, context.order(name))
    tensor = context.stored_flat(name, wanted)
    context.define(result, context.reshape(tensor, stored_shape(target, order)), order)


@converts("Expand")
def _expand(context: Context, node: onnx.NodeProto) -> None:
    name, result = node.input[0], node.output[0]
    shape = context.shape(result)
    if context.shape(name) == shape:
        order = context.order(name)
        context.define(result, context.stored(name, order), order)
        return
    target = context.literal(np.array(shape, np.int32))
    options = schema.BroadcastToOptionsT()
    inputs = [context.stored(name), target]
    context.define(result, context.emit(Op.BROADCAST_TO, inputs, shape, options, version=2))


@converts("Concat")
def _concat(context: Context, node: onnx.NodeProto) -> None:
    result = node.output[0]
    rank = context.rank(result)
    axis = attributes(node)["axis"] % rank
    names = list(node.input)
    order = common_order(context, names, rank)
    tensors = [context.stored(name, order) for name in names]
    context.define(result, _concatenate(context, tensors, order.index(axis)), order)


def _concatenate(context: Context, tensors: Sequence[int], axis: int) -> int:
    """Join tensors along a stored axis, at most four at a time: XNNPACK takes no more."""
    parts = list(tensors)
    while len(parts) > 1:
        groups = [parts[start : start + 4] for start in range(0, len(parts), 4)]
        parts = [group[0] if len(group) == 1 else _join(context, group, axis) for group in groups]
    return parts[0]


def _join(context: Context, tensors: Sequence[int], axis: int) -> int:
    shapes = [context.subgraph.tensors[tensor].shape for tensor in tensors]
    joined = (*shapes[0][:axis], sum(shape[axis] for shape in shapes), *shapes[0][axis + 1 :])
    options = schema.ConcatenationOptionsT()
    options.axis = axis
    return context.emit(Op.CONCATENATION, tensors, joined, options)


@converts("Split")
def _split(context: Context, node: onnx.NodeProto) -> None:
    axis = attributes(node).get("axis", 0) % context.rank(node.input[0])
    start = 0
    for name in node.output:
        size = context.shape(name)[axis]
        _cut(context, node.input[0], name, {axis: (start, size, 1)})
        start += size


@converts("Slice")
def _slice(context: Context, node: onnx.NodeProto) -> None:
    name, result = node.input[0], node.output[0]
    values = attributes(node)
    fields = [values.get(field) for field in ("starts", "ends", "axes", "steps")]
    for place, given in enumerate(node.input[1:]):
        if given:
            constant = context.constant(given)
            if constant is None:
                raise context.fail(node, "where it cuts is computed from the input")
            fields[place] = constant.tolist()
    starts, _, axes, steps = fields
    assert starts is not None
    axes = range(len(starts)) if axes is None else axes
    steps = [1] * len(starts) if steps is None else steps
    shape, cut = context.shape(name), context.shape(result)
    ranges: dict[int, tuple[int, int, int]] = {}
    for start, axis, step in zip(starts, axes, steps, strict=True):
        if step < 1:
            raise context.fail(node, "it runs backwards")
        axis %= len(shape)
        first = max(start + shape[axis], 0) if start < 0 else min(start, shape[axis])
        ranges[axis] = (first, cut[axis], step)
    _cut(context, name, result, ranges)


@converts("Gather")
def _gather(context: Context, node: onnx.NodeProto) -> None:
    """One row, or rows at constant places."""
    name, result = node.input[0], node.output[0]
    places = context.constant(node.input[1])
    axis = attributes(node).get("axis", 0) % context.rank(name)
    if places is None:
        raise context.fail(node, "which entries it takes is computed from the input")
    if places.ndim == 0:
        _take(context, name, result, axis, int(places) % context.shape(name)[axis])
        return
    if places.ndim != 1:
        raise context.fail(node, f"its indices have {places.ndim} axes")
    order = context.order(name)
    options = schema.GatherOptionsT()
    options.axis = order.index(axis)
    rows = context.literal((places % context.shape(name)[axis]).astype(np.int32))
    shape = stored_shape(context.shape(result), order)
    tensor = context.emit(Op.GATHER, [context.stored(name, order), rows], shape, options)
    context.define(result, tensor, order)


def _take(context: Context, name: str, result: str, axis: int, row: int) -> None:
    """One entry of an axis, which then goes."""
    order = context.order(name)
    tensor = _window(context, name, order, {axis: (row, 1, 1)})
    kept = tuple(other for other in order if other != axis)
    order = tuple(other if other < axis else other - 1 for other in kept)
    context.define(result, context.reshape(tensor, stored_shape(context.shape(result), order)), order)


def _cut(context: Context, name: str, result: str, ranges: dict[int, tuple[int, int, int]]) -> None:
    order = context.order(name)
    context.define(result, _window(context, name, order, ranges), order)


def _window(
    context: Context, name: str, order: tuple[int, ...], ranges: dict[int, tuple[int, int, int]]
) -> int:
    """Entries (start, count, step) of logical axes; the rest whole."""
    whole = stored_shape(context.shape(name), order)
    parts = [ranges.get(axis, (0, size, 1)) for axis, size in zip(order, whole, strict=True)]
    begin = np.array([start for start, _, _ in parts], np.int32)
    shape = tuple(count for _, count, _ in parts)
    x = context.stored(name, order)
    if shape == whole:
        return x
    if all(step == 1 for _, _, step in parts):
        inputs = [x, context.literal(begin), context.literal(np.array(shape, np.int32))]
        return context.emit(Op.SLICE, inputs, shape, schema.SliceOptionsT())
    end = np.array([start + (count - 1) * step + 1 for start, count, step in parts], np.int32)
    steps = np.array([step for _, _, step in parts], np.int32)
    inputs = [x, *(context.literal(values) for values in (begin, end, steps))]
    return context.emit(Op.STRIDED_SLICE, inputs, shape, schema.StridedSliceOptionsT())
