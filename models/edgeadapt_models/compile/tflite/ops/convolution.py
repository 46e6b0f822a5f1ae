"""Convolutions, with the norm layer behind them folded in where there is one.

A folded convolution is written with its raw weights and bias; a device scales and shifts them when it builds
a session (`edgeadapt.bundle.materialise`). LiteRT keeps kernels as [O, H, W, I], depthwise ones as
[1, H, W, O].
"""

from __future__ import annotations

import numpy as np
import onnx
from ai_edge_litert import schema_py_generated as schema

from edgeadapt_models.compile.tflite.lower.context import Context, Op, attributes
from edgeadapt_models.compile.tflite.lower.layout import UNIT, channels_last, stored_shape
from edgeadapt_models.compile.tflite.lower.weights import weights
from edgeadapt_models.compile.tflite.ops.activation import fuse
from edgeadapt_models.compile.tflite.ops.registry import converts
from edgeadapt_models.compile.tflite.ops.window import VALID, Window, pad, set_window, spatial


@converts("Conv")
def _convolution(context: Context, node: onnx.NodeProto) -> None:
    name, groups = node.input[0], attributes(node).get("group", 1)
    kernel = context.shape(node.input[1])
    window = Window.of(context, node, kernel[2:])
    depthwise = groups > 1 and groups == context.shape(name)[1]
    space = (UNIT, 2) if len(kernel) == 3 else (2, 3)
    packing, axis = ((1, *space, 0), 3) if depthwise else ((0, *space, 1), 0)
    parameters = weights(context, node, packing, axis, node.input[2] if len(node.input) > 2 else "")
    activation, result = fuse(context, parameters.result)
    size, places = spatial(context.shape(name)), spatial(context.shape(node.output[0]))
    padding = window.rule(size, places)
    order = channels_last(context.rank(name))
    x = context.stored(name, order) if padding is not None else pad(context, name, window)[0]
    options = schema.DepthwiseConv2DOptionsT() if depthwise else schema.Conv2DOptionsT()
    set_window(options, window, VALID if padding is None else padding)
    options.dilationHFactor, options.dilationWFactor = window.dilations
    options.fusedActivationFunction = activation
    if depthwise:
        options.depthMultiplier = kernel[0] // groups
    code = Op.DEPTHWISE_CONV_2D if depthwise else Op.CONV_2D
    inputs = [x, parameters.kernel, parameters.bias]
    shape = stored_shape(context.shape(node.output[0]), order)
    context.define(result, context.emit(code, inputs, shape, options), order)


@converts("ConvTranspose")
def _transposed(context: Context, node: onnx.NodeProto) -> None:
    """Only without groups, dilation and output padding; LiteRT's kernel is [O, H, W, I]."""
    values = attributes(node)
    if context.rank(node.input[1]) != 4:
        raise context.fail(node, "it is not over images")
    if values.get("group", 1) != 1 or any(d != 1 for d in values.get("dilations", ())):
        raise context.fail(node, "it has groups or dilation")
    unpadded = values.get("auto_pad", "NOTSET") in ("NOTSET", "VALID")
    if any(values.get("pads", ())) or any(values.get("output_padding", ())) or not unpadded:
        raise context.fail(node, "it has padding")
    order = channels_last(4)
    shape = stored_shape(context.shape(node.output[0]), order)
    parameters = weights(context, node, (1, 2, 3, 0), 0, node.input[2] if len(node.input) > 2 else "")
    options = schema.TransposeConvOptionsT()
    options.padding = VALID
    options.strideH, options.strideW = values.get("strides", (1, 1))
    size = context.literal(np.array(shape, np.int32))
    x = context.stored(node.input[0], order)
    inputs = [size, parameters.kernel, x, parameters.bias]
    tensor = context.emit(Op.TRANSPOSE_CONV, inputs, shape, options, version=3)
    context.define(parameters.result, tensor, order)
