"""Matrix products: with weights (FULLY_CONNECTED), and of two computed values (BATCH_MATMUL)."""

from __future__ import annotations

import onnx
from ai_edge_litert import schema_py_generated as schema

from edgeadapt_models.compile.tflite.lower.context import Context, Op, attributes
from edgeadapt_models.compile.tflite.lower.layout import Order, identity, moving, stored_shape
from edgeadapt_models.compile.tflite.lower.weights import bias_behind, weights
from edgeadapt_models.compile.tflite.ops.activation import fuse
from edgeadapt_models.compile.tflite.ops.registry import converts


@converts("Gemm")
def _gemm(context: Context, node: onnx.NodeProto) -> None:
    """alpha A B + beta C; LiteRT has the weights as [out, in]."""
    values = attributes(node)
    if values.get("alpha", 1.0) != 1.0 or values.get("beta", 1.0) != 1.0 or values.get("transA", 0):
        raise context.fail(node, "alpha or beta is not 1, or the first matrix is transposed")
    packing = (0, 1) if values.get("transB", 0) else (1, 0)
    bias = node.input[2] if len(node.input) > 2 else ""
    _connected(context, node, packing, bias, node.output[0])


@converts("MatMul")
def _product(context: Context, node: onnx.NodeProto) -> None:
    weighted = context.initial(node.input[1]) is not None and context.rank(node.input[1]) == 2
    if weighted and context.rank(node.input[0]) >= 2:
        bias, value = bias_behind(context.source, node)
        _connected(context, node, (1, 0), bias, value)
    else:
        _batched(context, node)


def _connected(context: Context, node: onnx.NodeProto, packing: Order, bias: str, value: str) -> None:
    parameters = weights(context, node, packing, 0, bias, value)
    activation, result = fuse(context, parameters.result)
    name = node.input[0]
    rank = context.rank(name)
    order = context.order(name)
    if order[-1] != rank - 1 or len(order) != rank:
        order = identity(rank)
    options = schema.FullyConnectedOptionsT()
    options.fusedActivationFunction = activation
    options.keepNumDims = rank > 2
    inputs = [context.stored(name, order), parameters.kernel, parameters.bias]
    shape = stored_shape(context.shape(value), order)
    version = 5 if rank > 2 else 1
    tensor = context.emit(Op.FULLY_CONNECTED, inputs, shape, options, version=version)
    context.define(result, tensor, order)


def _batched(context: Context, node: onnx.NodeProto) -> None:
    """The second matrix may stay as it is stored if that is the transposed one."""
    left, right = node.input
    if min(context.rank(left), context.rank(right)) < 2:
        raise context.fail(node, "it multiplies by a vector")
    order = identity(context.rank(right))
    swapped = (*order[:-2], order[-1], order[-2])
    shape = context.shape(right)
    options = schema.BatchMatMulOptionsT()
    options.adjY = moving(shape, context.order(right)) == moving(shape, swapped)
    inputs = [context.stored(left), context.stored(right, swapped if options.adjY else order)]
    tensor = context.emit(Op.BATCH_MATMUL, inputs, context.shape(node.output[0]), options)
    context.define(node.output[0], tensor)
