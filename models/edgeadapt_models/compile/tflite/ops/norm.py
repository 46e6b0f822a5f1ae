"""Norm layers that are not folded away: BatchNorm as two constants, the others as what they are made of.

    (x - mean) / sqrt(var + epsilon) * scale + bias

with mean and variance of x itself over some axes, for LayerNorm, GroupNorm and InstanceNorm.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import onnx
from ai_edge_litert import schema_py_generated as schema

from edgeadapt_models.compile.tflite.lower.context import Context, Op, attributes
from edgeadapt_models.compile.tflite.lower.layout import Shape, channels_last, stored_shape
from edgeadapt_models.compile.tflite.lower.ledger import AffineNorm
from edgeadapt_models.compile.tflite.ops.activation import fuse
from edgeadapt_models.compile.tflite.ops.elementwise import aligned
from edgeadapt_models.compile.tflite.ops.reduce import reduced
from edgeadapt_models.compile.tflite.ops.registry import converts


@converts("BatchNormalization")
def _batch(context: Context, node: onnx.NodeProto) -> None:
    """a x + b with a = scale / sqrt(var + epsilon) and b = bias - mean a, along the channels."""
    name = node.input[0]
    scale, bias, mean, var = (_values(context, node, other) for other in node.input[1:5])
    gain = scale / np.sqrt(var + attributes(node).get("epsilon", 1e-5))
    keys = [f"{node.output[0]}/scale", f"{node.output[0]}/shift"]
    factor = context.parameter(keys[0], gain.astype(np.float32))
    shift = context.parameter(keys[1], (bias - mean * gain).astype(np.float32))
    layer = context.affine.get(node.output[0])
    if layer is not None:
        context.ledger.norms[layer] = AffineNorm(*keys)
    order = context.order(name)
    rank = context.rank(name)
    if order[-1] != 1:
        order = channels_last(rank) if rank > 2 else (0, 1)
    shape = stored_shape(context.shape(name), order)
    activation, result = fuse(context, node.output[0])
    options = schema.AddOptionsT()
    options.fusedActivationFunction = activation
    scaled = context.emit(Op.MUL, [context.stored(name, order), factor], shape, schema.MulOptionsT())
    context.define(result, context.emit(Op.ADD, [scaled, shift], shape, options), order)


@converts("LayerNormalization")
def _layer(context: Context, node: onnx.NodeProto) -> None:
    """Over the axes from `axis` on."""
    if any(node.output[1:]):
        raise context.fail(node, "its mean or deviation is used")
    name, values = node.input[0], attributes(node)
    rank, order = context.rank(name), context.order(name)
    over = range(values.get("axis", -1) % rank, rank)
    places = [place for place, axis in enumerate(order) if axis in over]
    tensor = standardised(context, context.stored(name, order), places, values.get("epsilon", 1e-5))
    shape = stored_shape(context.shape(name), order)
    scale = aligned(context, node.input[1], order, rank)
    tensor = context.emit(Op.MUL, [tensor, scale], shape, schema.MulOptionsT())
    if len(node.input) > 2 and node.input[2]:
        bias = aligned(context, node.input[2], order, rank)
        tensor = context.emit(Op.ADD, [tensor, bias], shape, schema.AddOptionsT())
    context.define(node.output[0], tensor, order)


@converts("InstanceNormalization", "GroupNormalization")
def _group(context: Context, node: onnx.NodeProto) -> None:
    """Over pixels and the channels of each of G groups; an InstanceNorm has a group for each channel."""
    name, values = node.input[0], attributes(node)
    channels = context.shape(name)[1]
    groups = values.get("num_groups", channels)
    order = channels_last(context.rank(name))
    shape = stored_shape(context.shape(name), order)
    x = context.stored(name, order)
    if groups != channels:
        x = context.reshape(x, _grouped(shape, groups))
    places = list(range(1, len(context.subgraph.tensors[x].shape) - (2 if groups != channels else 1)))
    if groups != channels:
        places.append(places[-1] + 2)
    tensor = context.reshape(standardised(context, x, places, values.get("epsilon", 1e-5)), shape)
    result = node.output[0]
    if not _is(context, node.input[1], 1.0):
        scale = _per_channel(context, node, node.input[1], channels)
        tensor = context.emit(Op.MUL, [tensor, scale], shape, schema.MulOptionsT())
    if not _is(context, node.input[2], 0.0):
        options = schema.AddOptionsT()
        options.fusedActivationFunction, result = fuse(context, result)
        bias = _per_channel(context, node, node.input[2], channels)
        tensor = context.emit(Op.ADD, [tensor, bias], shape, options)
    context.define(result, tensor, order)


def standardised(context: Context, x: int, places: Sequence[int], epsilon: float) -> int:
    """(x - mean) / sqrt(var + epsilon) over stored axes."""
    order = tuple(range(len(context.subgraph.tensors[x].shape)))
    shape = context.subgraph.tensors[x].shape
    mean, _ = reduced(context, x, order, Op.MEAN, places, keep=True)
    small = context.subgraph.tensors[mean].shape
    centred = context.emit(Op.SUB, [x, mean], shape, schema.SubOptionsT())
    square = context.emit(Op.MUL, [centred, centred], shape, schema.MulOptionsT())
    variance, _ = reduced(context, square, order, Op.MEAN, places, keep=True)
    floor = context.literal(np.array(epsilon, np.float32))
    raised = context.emit(Op.ADD, [variance, floor], small, schema.AddOptionsT())
    inverse = context.emit(Op.RSQRT, [raised], small)
    return context.emit(Op.MUL, [centred, inverse], shape, schema.MulOptionsT())


def _per_channel(context: Context, node: onnx.NodeProto, name: str, channels: int) -> int:
    """A vector [C]; before opset 21 GroupNormalization has one value per group, which then must be fixed."""
    if context.shape(name) == (channels,):
        return context.stored(name)
    value = context.constant(name)
    if value is None or channels % value.size:
        raise context.fail(node, f"scale or bias has shape {context.shape(name)} for {channels} channels")
    return context.literal(np.repeat(value, channels // value.size))


def _is(context: Context, name: str, number: float) -> bool:
    """Whether a value is `number` throughout, and stays so."""
    value = context.constant(name)
    return value is not None and bool((value == number).all())


def _grouped(shape: Shape, groups: int) -> Shape:
    """[1, pixels, G, C / G]."""
    pixels = int(np.prod(shape[1:-1]))
    return shape[0], pixels, groups, shape[-1] // groups


def _values(context: Context, node: onnx.NodeProto, name: str) -> npt.NDArray[np.float64]:
    value = context.initial(name)
    if value is None:
        raise context.fail(node, f"{name!r} is computed from the input")
    return value.astype(np.float64)
