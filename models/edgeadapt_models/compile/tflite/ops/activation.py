"""Activations: LiteRT's own, those made of others, and those that ride on the operator before them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import onnx
from ai_edge_litert import schema_py_generated as schema

from edgeadapt_models.compile.tflite.lower.context import Context, Op, attributes
from edgeadapt_models.compile.tflite.lower.layout import Order, channels_last, stored_shape
from edgeadapt_models.compile.tflite.ops.registry import converts

Fused = schema.ActivationFunctionType

_UNARY: dict[str, tuple[int, type[Any] | None]] = {
    "Abs": (Op.ABS, schema.AbsOptionsT),
    "Ceil": (Op.CEIL, None),
    "Cos": (Op.COS, schema.CosOptionsT),
    "Exp": (Op.EXP, schema.ExpOptionsT),
    "Floor": (Op.FLOOR, None),
    "HardSwish": (Op.HARD_SWISH, schema.HardSwishOptionsT),
    "Log": (Op.LOG, None),
    "Neg": (Op.NEG, schema.NegOptionsT),
    "Relu": (Op.RELU, None),
    "Round": (Op.ROUND, None),
    "Sigmoid": (Op.LOGISTIC, None),
    "Sin": (Op.SIN, None),
    "Sqrt": (Op.SQRT, None),
    "Tanh": (Op.TANH, None),
}
_CLIPS: dict[tuple[float, float], tuple[int, int]] = {
    # (lower, upper): (operator of its own, fused form)
    (0.0, math.inf): (Op.RELU, Fused.RELU),
    (0.0, 6.0): (Op.RELU6, Fused.RELU6),
    (-1.0, 1.0): (Op.RELU_N1_TO_1, Fused.RELU_N1_TO_1),
}


def fuse(context: Context, name: str) -> tuple[int, str]:
    """The activation that can ride on the operator that computes `name`, and the value it then computes.

    Only where nothing else reads `name`.
    """
    node = context.source.only_reader(name)
    if node is None:
        return Fused.NONE, name
    bounds = (0.0, math.inf) if node.op_type == "Relu" else _clip_bounds(context, node)
    if bounds is None or bounds not in _CLIPS:
        return Fused.NONE, name
    context.done.add(node.output[0])
    return _CLIPS[bounds][1], node.output[0]


def unary(context: Context, node: onnx.NodeProto, code: int, options: Any = None) -> None:
    """Write an operator that works on each number by itself."""
    context.define(node.output[0], *apply(context, node.input[0], code, options))


def apply(context: Context, name: str, code: int, options: Any = None) -> tuple[int, Order]:
    """The operator on a value as it is stored; returns the tensor and its order."""
    order = context.order(name)
    shape = stored_shape(context.shape(name), order)
    return context.emit(code, [context.stored(name, order)], shape, options), order


@converts(*_UNARY)
def _plain(context: Context, node: onnx.NodeProto) -> None:
    code, options = _UNARY[node.op_type]
    unary(context, node, code, options() if options else None)


@converts("Clip")
def _clip(context: Context, node: onnx.NodeProto) -> None:
    bounds = _clip_bounds(context, node)
    if bounds is None:
        raise context.fail(node, "its bounds are computed from the input")
    if bounds in _CLIPS:
        unary(context, node, _CLIPS[bounds][0])
        return
    tensor, order = _bounded(context, node.input[0], *bounds)
    context.define(node.output[0], tensor, order)


@converts("LeakyRelu")
def _leaky(context: Context, node: onnx.NodeProto) -> None:
    options = schema.LeakyReluOptionsT()
    options.alpha = attributes(node).get("alpha", 0.01)
    unary(context, node, Op.LEAKY_RELU, options)


@converts("Elu")
def _elu(context: Context, node: onnx.NodeProto) -> None:
    if attributes(node).get("alpha", 1.0) != 1.0:
        raise context.fail(node, "alpha is not 1")
    unary(context, node, Op.ELU)


@converts("Gelu")
def _gelu(context: Context, node: onnx.NodeProto) -> None:
    options = schema.GeluOptionsT()
    options.approximate = attributes(node).get("approximate", "none") == "tanh"
    unary(context, node, Op.GELU, options)


@converts("HardSigmoid")
def _hard_sigmoid(context: Context, node: onnx.NodeProto) -> None:
    """max(0, min(1, alpha x + beta))."""
    values = attributes(node)
    alpha, beta = values.get("alpha", 0.2), values.get("beta", 0.5)
    order = context.order(node.input[0])
    shape = stored_shape(context.shape(node.input[0]), order)
    x = context.stored(node.input[0], order)
    # relu6 is the one clip that every kernel library has: min(max(6 alpha x + 6 beta, 0), 6) / 6.
    scaled = context.emit(Op.MUL, [x, _scalar(context, 6 * alpha)], shape, schema.MulOptionsT())
    options = schema.AddOptionsT()
    options.fusedActivationFunction = Fused.RELU6
    clipped = context.emit(Op.ADD, [scaled, _scalar(context, 6 * beta)], shape, options)
    result = context.emit(Op.MUL, [clipped, _scalar(context, 1 / 6)], shape, schema.MulOptionsT())
    context.define(node.output[0], result, order)


@converts("PRelu")
def _prelu(context: Context, node: onnx.NodeProto) -> None:
    """One slope, or one for each channel (axis 1), which LiteRT wants last."""
    slope, name = context.constant(node.input[1]), node.input[0]
    if slope is None:
        raise context.fail(node, "its slopes are computed from the input")
    rank, channels = context.rank(name), context.shape(name)[1]
    per_channel = slope.size == channels and slope.shape.index(channels) == slope.ndim - rank + 1
    if slope.size > 1 and not per_channel:
        raise context.fail(node, f"slopes of shape {slope.shape} do not run along the channels")
    order = channels_last(rank) if slope.size > 1 and rank > 2 else context.order(name)
    shape = stored_shape(context.shape(name), order)
    slopes = context.literal(slope.reshape((1,) * (len(order) - 2) + (-1,)))
    tensor = context.emit(Op.PRELU, [context.stored(name, order), slopes], shape)
    context.define(node.output[0], tensor, order)


@converts("Softplus")
def _softplus(context: Context, node: onnx.NodeProto) -> None:
    order = context.order(node.input[0])
    context.define(node.output[0], _soft_rectified(context, node.input[0], order), order)


@converts("Mish")
def _mish(context: Context, node: onnx.NodeProto) -> None:
    """x tanh(softplus(x))."""
    order = context.order(node.input[0])
    shape = stored_shape(context.shape(node.input[0]), order)
    gate = context.emit(Op.TANH, [_soft_rectified(context, node.input[0], order)], shape)
    x = context.stored(node.input[0], order)
    context.define(node.output[0], context.emit(Op.MUL, [x, gate], shape, schema.MulOptionsT()), order)


@converts("Softmax", "LogSoftmax")
def _softmax(context: Context, node: onnx.NodeProto) -> None:
    rank = context.rank(node.input[0])
    axis = attributes(node).get("axis", -1) % rank
    order = context.order(node.input[0])
    if order[-1] != axis:
        order = (*(other for other in order if other != axis), axis)
    code, options = Op.LOG_SOFTMAX, schema.LogSoftmaxOptionsT()
    if node.op_type == "Softmax":
        code, options = Op.SOFTMAX, schema.SoftmaxOptionsT()
        options.beta = 1.0
    shape = stored_shape(context.shape(node.input[0]), order)
    tensor = context.emit(code, [context.stored(node.input[0], order)], shape, options)
    context.define(node.output[0], tensor, order)


def _soft_rectified(context: Context, name: str, order: Order) -> int:
    """log(1 + exp(x)) as max(x, 0) + log(1 + exp(-|x|)), which does not overflow."""
    x, shape = context.stored(name, order), stored_shape(context.shape(name), order)
    size = context.emit(Op.ABS, [x], shape, schema.AbsOptionsT())
    negated = context.emit(Op.NEG, [size], shape, schema.NegOptionsT())
    small = context.emit(Op.EXP, [negated], shape, schema.ExpOptionsT())
    raised = context.emit(Op.ADD, [small, _scalar(context, 1.0)], shape, schema.AddOptionsT())
    rest = context.emit(Op.LOG, [raised], shape)
    positive = context.emit(Op.RELU, [x], shape)
    return context.emit(Op.ADD, [positive, rest], shape, schema.AddOptionsT())


def _bounded(context: Context, name: str, lower: float, upper: float) -> tuple[int, Order]:
    order = context.order(name)
    shape = stored_shape(context.shape(name), order)
    tensor = context.stored(name, order)
    for code, bound in ((Op.MAXIMUM, lower), (Op.MINIMUM, upper)):
        if math.isfinite(bound):
            options = schema.MaximumMinimumOptionsT()
            tensor = context.emit(code, [tensor, _scalar(context, bound)], shape, options)
    return tensor, order


def _scalar(context: Context, value: float) -> int:
    return context.literal(np.array(value, np.float32))


def _clip_bounds(context: Context, node: onnx.NodeProto) -> tuple[float, float] | None:
    """Bounds of a Clip node, whether attributes (opset 6) or inputs; None for anything else."""
    if node.op_type != "Clip":
        return None
    values = attributes(node)
    bounds = [values.get("min", -math.inf), values.get("max", math.inf)]
    for place, name in enumerate(node.input[1:3]):
        if name:
            bound = context.constant(name)
            if bound is None:
                return None
            bounds[place] = float(bound)
    lower, upper = bounds
    largest = float(np.finfo(np.float32).max)
    return -math.inf if lower <= -largest else float(lower), math.inf if upper >= largest else float(upper)
