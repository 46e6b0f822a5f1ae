"""Weights and biases of convolutions and matrix products.

They are stored once per node, packed as LiteRT wants them, and the ledger says how, so that a write that
names an ONNX initializer can be turned into one that names these bytes. Where a norm layer is folded in, they
hold the raw values. A bias that is not there in ONNX is stored as zeros.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx

from edgeadapt_models.compile.tflite.lower.context import Context, pack
from edgeadapt_models.compile.tflite.lower.layout import Order
from edgeadapt_models.compile.tflite.lower.ledger import FoldedNorm, Placement
from edgeadapt_models.compile.tflite.lower.source import Source


@dataclass(frozen=True, slots=True)
class Parameters:
    """Tensors of an operator's weights and bias, and the value it computes with them."""

    kernel: int
    bias: int
    result: str


def weights(
    context: Context, node: onnx.NodeProto, order: Order, axis: int, bias: str = "", value: str = ""
) -> Parameters:
    """Store the weights of a node (its second input) and its bias.

    Args:
        context: the subgraph.
        node: a Conv, ConvTranspose, Gemm or MatMul.
        order: in which the weights are stored.
        axis: the stored axis of the output channels.
        bias: name of the bias [channels]; "" for none.
        value: what the node computes, bias included; by default its output.

    Raises:
        CompileError: weights or bias depend on the input.
    """
    name, value = node.input[1], value or node.output[0]
    initial = context.initial(name)
    shift = context.initial(bias) if bias else None
    if initial is None or (bias and shift is None):
        raise context.fail(node, "its weights or its bias are computed from the input")
    packed = pack(initial, order)
    key, bias_key = f"{node.output[0]}/weights", f"{node.output[0]}/bias"
    kernel = context.parameter(key, packed, name, Placement(key, name, order))
    if shift is None:
        offset = context.parameter(bias_key, np.zeros(packed.shape[axis], np.float32))
    else:
        placement = Placement(bias_key, bias, tuple(range(shift.ndim)))
        offset = context.parameter(bias_key, shift.reshape(-1), bias, placement)
    fold = context.folds.get(value)
    context.done.add(value)
    if fold is not None:
        context.done.add(fold.result)
        context.ledger.norms[fold.layer] = FoldedNorm(key, axis, bias_key)
    return Parameters(kernel, offset, fold.result if fold else value)


def bias_behind(source: Source, node: onnx.NodeProto) -> tuple[str, str]:
    """The bias that an Add right behind a MatMul brings, and that Add's output; else "" and the product's."""
    product = node.output[0]
    behind = source.only_reader(product)
    if behind is not None and behind.op_type == "Add":
        other = next(name for name in behind.input if name != product)
        width = source.trace.shape(product)[-1]
        if source.is_initial(other) and source.trace.shape(other) == (width,):
            return other, behind.output[0]
    return "", product
