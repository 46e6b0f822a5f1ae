"""Pooling: over windows, and over the whole image."""

from __future__ import annotations

import numpy as np
import onnx
from ai_edge_litert import schema_py_generated as schema

from edgeadapt.tensors import FloatArray
from edgeadapt_models.compile.tflite.lower.context import Context, Op, attributes
from edgeadapt_models.compile.tflite.lower.layout import Shape, channels_last, stored_shape
from edgeadapt_models.compile.tflite.ops.activation import fuse
from edgeadapt_models.compile.tflite.ops.reduce import reduce
from edgeadapt_models.compile.tflite.ops.registry import converts
from edgeadapt_models.compile.tflite.ops.window import VALID, Window, pad, set_window, spatial

_LOWEST = float(np.finfo(np.float32).min)
_NOT_NEGATIVE = frozenset({"Relu", "Sigmoid", "HardSigmoid", "Softmax", "Exp", "Abs"})


@converts("MaxPool")
def _maximum(context: Context, node: onnx.NodeProto) -> None:
    name = node.input[0]
    window = _window(context, node)
    padding = window.rule(spatial(context.shape(name)), spatial(context.shape(node.output[0])))
    if padding is not None:
        x = context.stored(name, channels_last(context.rank(name)))
    else:
        # PADV2 is not for XNNPACK, PAD is; behind a ReLU a zero never wins over what is there.
        producer = context.source.producers.get(name)
        zero_loses = producer is not None and producer.op_type in _NOT_NEGATIVE
        x, _ = pad(context, name, window, 0.0 if zero_loses else _LOWEST)
    _write(context, node, x, Op.MAX_POOL_2D, window, VALID if padding is None else padding)


@converts("AveragePool")
def _average(context: Context, node: onnx.NodeProto) -> None:
    """LiteRT leaves padding out of the average, ONNX does if count_include_pad is 0 (the default)."""
    name = node.input[0]
    window = _window(context, node)
    size, places = spatial(context.shape(name)), spatial(context.shape(node.output[0]))
    include = bool(attributes(node).get("count_include_pad", 0))
    padding = window.rule(size, places)
    if padding is not None and not (include and window.padded):
        x = context.stored(name, channels_last(context.rank(name)))
        _write(context, node, x, Op.AVERAGE_POOL_2D, window, padding)
        return
    x, _ = pad(context, name, window)
    factor = _correction(window, size, places, _pads(node) if include else ((0, 0), (0, 0)))
    _write(context, node, x, Op.AVERAGE_POOL_2D, window, VALID, factor)


@converts("GlobalAveragePool")
def _global_average(context: Context, node: onnx.NodeProto) -> None:
    axes = tuple(range(2, context.rank(node.input[0])))
    reduce(context, node.input[0], node.output[0], Op.MEAN, axes, keep=True)


@converts("GlobalMaxPool")
def _global_maximum(context: Context, node: onnx.NodeProto) -> None:
    axes = tuple(range(2, context.rank(node.input[0])))
    reduce(context, node.input[0], node.output[0], Op.REDUCE_MAX, axes, keep=True)


def _window(context: Context, node: onnx.NodeProto) -> Window:
    if len(node.output) > 1 and node.output[1]:
        raise context.fail(node, "it also returns positions")
    window = Window.of(context, node, tuple(attributes(node)["kernel_shape"]))
    if window.dilations != (1, 1):
        raise context.fail(node, "it has dilation")
    return window


def _write(
    context: Context,
    node: onnx.NodeProto,
    x: int,
    code: int,
    window: Window,
    padding: int,
    factor: FloatArray | None = None,
) -> None:
    options = schema.Pool2DOptionsT()
    set_window(options, window, padding)
    options.filterHeight, options.filterWidth = window.kernel
    order = channels_last(context.rank(node.input[0]))
    shape = stored_shape(context.shape(node.output[0]), order)
    result = node.output[0]
    if factor is None or (factor == 1).all():
        options.fusedActivationFunction, result = fuse(context, result)
        tensor = context.emit(code, [x], shape, options)
    else:
        pooled = context.emit(code, [x], shape, options)
        tensor = context.emit(Op.MUL, [pooled, context.literal(factor)], shape, schema.MulOptionsT())
    context.define(result, tensor, order)


def _pads(node: onnx.NodeProto) -> tuple[tuple[int, int], tuple[int, int]]:
    """Padding that counts, per axis (before, after); what ceil_mode adds behind it does not."""
    pads = list(attributes(node).get("pads", ()))
    if not pads:
        return (0, 0), (0, 0)
    half = len(pads) // 2
    axes = [(pads[axis], pads[half + axis]) for axis in range(half)]
    return ((0, 0), axes[0]) if half == 1 else (axes[0], axes[1])


def _correction(
    window: Window, size: Shape, places: Shape, counted: tuple[tuple[int, int], tuple[int, int]]
) -> FloatArray:
    """Window size over the number of pixels that count, float32 [1, H, W, 1]."""
    ratios = []
    for axis in (0, 1):
        start = np.arange(places[axis]) * window.strides[axis] - window.begin[axis]
        first, last = -counted[axis][0], size[axis] + counted[axis][1]
        count = np.minimum(start + window.kernel[axis], last) - np.maximum(start, first)
        ratios.append(window.kernel[axis] / np.maximum(count, 1))
    rows, columns = ratios
    factor: FloatArray = np.outer(rows, columns).astype(np.float32)[None, :, :, None]
    return factor
