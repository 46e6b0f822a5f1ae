"""Operators on two values, number by number, with broadcasting."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from ai_edge_litert import schema_py_generated as schema

from edgeadapt_models.compile.tflite.lower.context import Context, Op
from edgeadapt_models.compile.tflite.lower.layout import Order, align, identity, stored_shape
from edgeadapt_models.compile.tflite.ops.activation import fuse
from edgeadapt_models.compile.tflite.ops.registry import converts

_BINARY: dict[str, tuple[int, type[Any]]] = {
    "Add": (Op.ADD, schema.AddOptionsT),
    "Div": (Op.DIV, schema.DivOptionsT),
    "Max": (Op.MAXIMUM, schema.MaximumMinimumOptionsT),
    "Min": (Op.MINIMUM, schema.MaximumMinimumOptionsT),
    "Mul": (Op.MUL, schema.MulOptionsT),
    "Sub": (Op.SUB, schema.SubOptionsT),
}
_FUSING = frozenset({"Add", "Div", "Mul", "Sub"})


def common_order(context: Context, names: list[str], rank: int) -> Order:
    """The order of the largest value of full rank: the smaller ones are cheaper to move."""
    full = [name for name in names if context.rank(name) == rank and context.constant(name) is None]
    if not full:
        return identity(rank)
    return context.order(max(full, key=lambda name: np.prod(context.shape(name))))


def aligned(context: Context, name: str, order: Order, rank: int) -> int:
    """The tensor of an operand, stored so that it broadcasts to a value stored in `order`."""
    return context.stored(name, align(order, rank, context.rank(name)))


@converts(*_BINARY)
def _binary(context: Context, node: onnx.NodeProto) -> None:
    code, options = _BINARY[node.op_type]
    result = node.output[0]
    settings = options()
    if node.op_type in _FUSING:
        settings.fusedActivationFunction, result = fuse(context, result)
    _write(context, list(node.input), node.output[0], result, code, settings)


@converts("Sum")
def _sum(context: Context, node: onnx.NodeProto) -> None:
    """Any number of values, one after the other."""
    result = node.output[0]
    rank = context.rank(result)
    order = common_order(context, list(node.input), rank)
    shape = stored_shape(context.shape(result), order)
    total, *rest = (aligned(context, name, order, rank) for name in node.input)
    for tensor in rest:
        pair = [context.subgraph.tensors[part].shape for part in (total, tensor)]
        total = context.emit(Op.ADD, [total, tensor], np.broadcast_shapes(*pair), schema.AddOptionsT())
    context.define(result, context.reshape(total, shape), order)


@converts("Pow")
def _power(context: Context, node: onnx.NodeProto) -> None:
    """The exponent may be an integer, which LiteRT does not take beside a float."""
    exponent = context.constant(node.input[1])
    base, result = node.input[0], node.output[0]
    single = exponent is not None and exponent.size == 1 and exponent.ndim <= context.rank(base)
    number = float(exponent.reshape(())) if exponent is not None and single else None
    if number == 2.0:
        _write(context, [base, base], result, result, Op.MUL, schema.MulOptionsT())
    elif number == 0.5:
        _write(context, [base], result, result, Op.SQRT, None)
    elif number is not None:
        order = context.order(base)
        inputs = [context.stored(base, order), context.literal(np.array(number, np.float32))]
        shape = stored_shape(context.shape(base), order)
        context.define(result, context.emit(Op.POW, inputs, shape, schema.PowOptionsT()), order)
    else:
        _write(context, [base, node.input[1]], result, result, Op.POW, schema.PowOptionsT())


@converts("Reciprocal")
def _reciprocal(context: Context, node: onnx.NodeProto) -> None:
    order = context.order(node.input[0])
    shape = stored_shape(context.shape(node.input[0]), order)
    one = context.literal(np.array(1, np.float32))
    tensor = context.emit(Op.DIV, [one, context.stored(node.input[0], order)], shape, schema.DivOptionsT())
    context.define(node.output[0], tensor, order)


@converts("Where")
def _where(context: Context, node: onnx.NodeProto) -> None:
    """A constant condition chooses between two values."""
    if context.constant(node.input[0]) is None:
        raise context.fail(node, "its condition is computed from the input")
    result = node.output[0]
    _write(context, list(node.input), result, result, Op.SELECT_V2, schema.SelectV2OptionsT())


def _write(context: Context, names: list[str], value: str, result: str, code: int, options: Any) -> None:
    """Write `code` on `names`; it computes `value`, which a fused activation may turn into `result`."""
    rank = context.rank(value)
    order = common_order(context, names, rank)
    inputs = [aligned(context, name, order, rank) for name in names]
    tensor = context.emit(code, inputs, stored_shape(context.shape(value), order), options)
    context.define(result, tensor, order)
