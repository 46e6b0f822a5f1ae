"""The classifier head and the embedding: the last linear step, and what goes into it.

The logits are followed backwards through operators that move no number (Reshape, Flatten, Squeeze, Identity)
and through a mean over positions, which commutes with a 1x1 convolution. Where the last step is not linear
(SqueezeNet has a ReLU behind it) the input of the last product is taken, pooled, with a note.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import onnx

from edgeadapt_models.compile.analyse.view import GraphView, attribute

_MOVES = ("Cast", "Flatten", "Identity", "Reshape", "Squeeze", "Unsqueeze", "Dropout")
_PRODUCTS = ("Conv", "Gemm", "MatMul")
_POOLS = ("GlobalAveragePool", "ReduceMean", "AveragePool")


@dataclass(frozen=True, slots=True)
class Head:
    """The last linear step: logits = weight @ embedding + bias.

    Attributes:
        node: first output of its product.
        operator: "Gemm", "MatMul" or "Conv".
        weight: the weights' name; [K, D], or [D, K] when `transposed`; a convolution's has axes of 1 behind.
        bias: the bias' name; "" when there is none.
        transposed: whether the input axis comes first.
        source: what goes into it.
        form: how `source` becomes the embedding [N, D]: as it is, flattened, or its mean over positions.
    """

    node: str
    operator: str
    weight: str
    bias: str
    transposed: bool
    source: str
    form: Literal["vector", "flat", "mean"]


@dataclass(frozen=True, slots=True)
class Embedding:
    """An embedding without a linear head: `form` as in `Head`, with axes to take the mean over."""

    source: str
    form: Literal["vector", "flat", "mean"]
    axes: tuple[int, ...]


def find_head(view: GraphView, logits: str) -> Head | None:
    """The head behind `logits` [N, K]; None when the last step is not linear."""
    shape = view.shape(logits)
    if shape is None or len(shape) != 2:
        return None
    node, pooled, bias = _product(view, logits, shape[1])
    if node is None or not view.is_constant(node.input[1]):
        return None
    source = node.input[0]
    dims = view.shape(source) or ()
    if node.op_type == "Conv":
        return _convolution(view, node, dims, pooled=pooled)
    if len(dims) != 2 or pooled:
        return None
    if node.op_type == "MatMul":
        return Head(node.output[0], "MatMul", node.input[1], bias, True, source, "vector")
    plain = all(attribute(node, name, 1.0) == 1.0 for name in ("alpha", "beta"))
    if not plain or attribute(node, "transA", 0):
        return None
    bias = node.input[2] if len(node.input) > 2 else ""
    transposed = not attribute(node, "transB", 0)
    return Head(node.output[0], "Gemm", node.input[1], bias, transposed, source, "vector")


def last_product(view: GraphView, logits: str) -> Embedding | None:
    """The pooled input of the last product with constant weights before `logits`."""
    ancestors = _ancestors(view, logits)
    for node in reversed(view.nodes):
        if node.op_type not in _PRODUCTS or node.output[0] not in ancestors:
            continue
        shape = view.shape(node.input[0])
        if len(node.input) < 2 or not view.is_constant(node.input[1]) or shape is None or len(shape) < 2:
            continue
        if len(shape) == 2:
            return Embedding(node.input[0], "vector", ())
        channels = 1 if node.op_type == "Conv" else len(shape) - 1
        axes = tuple(axis for axis in range(1, len(shape)) if axis != channels)
        return Embedding(node.input[0], "mean", axes)
    return None


def _product(view: GraphView, logits: str, classes: int) -> tuple[onnx.NodeProto | None, bool, str]:
    """(the product that makes the logits, whether a mean over positions lies between, name of its bias)."""
    tensor, pooled, bias = logits, False, ""
    while True:
        node = view.producer.get(tensor)
        if node is None or node.op_type in _PRODUCTS:
            return node, pooled, bias
        if node.op_type in _POOLS and not bias and _is_mean(view, node):
            pooled, tensor = True, node.input[0]
        elif node.op_type in _MOVES and _moves(view, node, classes):
            tensor = node.input[0]
        elif node.op_type == "Add" and not bias:
            sides = [(c, o) for _, c, o in view.constant_operands(node) if _size(view, c) == classes]
            if not sides:
                return None, False, ""
            bias, tensor = sides[0]
        else:
            return None, False, ""


def _size(view: GraphView, tensor: str) -> int:
    return int(np.prod(view.shape(tensor) or (0,)))


def _moves(view: GraphView, node: onnx.NodeProto, classes: int) -> bool:
    """Whether [N, K, 1, ...] stays [N, K] in other words, or the other way round."""
    return all(
        (shape := view.shape(name)) is not None
        and len(shape) > 1
        and shape[1] == classes
        and int(np.prod(shape[1:])) == classes
        for name in (node.input[0], node.output[0])
    )


def _is_mean(view: GraphView, node: onnx.NodeProto) -> bool:
    """A mean over all positions of [N, K, ...]."""
    before, after = view.shape(node.input[0]), view.shape(node.output[0])
    return before is not None and after is not None and len(before) > 2 and _tail(after) == _tail(before[:2])


def _tail(shape: tuple[int, ...]) -> int:
    return int(np.prod(shape[1:]))


def _convolution(
    view: GraphView, node: onnx.NodeProto, dims: tuple[int, ...], *, pooled: bool
) -> Head | None:
    """A 1x1 convolution over one position, or over several with a mean behind it."""
    weight = view.shape(node.input[1]) or ()
    if set(weight[2:]) != {1} or attribute(node, "group", 1) != 1:
        return None
    if any(attribute(node, "pads", [0])) or set(attribute(node, "strides", [1])) != {1}:
        return None
    bias = node.input[2] if len(node.input) > 2 else ""
    one = set(dims[2:]) == {1}
    if not one and not pooled:
        return None
    form: Literal["flat", "mean"] = "flat" if one else "mean"
    return Head(node.output[0], "Conv", node.input[1], bias, False, node.input[0], form)


def _ancestors(view: GraphView, tensor: str) -> frozenset[str]:
    """First outputs of all nodes that `tensor` depends on."""
    found: set[str] = set()
    pending = [tensor]
    while pending:
        node = view.producer.get(pending.pop())
        if node is not None and node.output[0] not in found:
            found.add(node.output[0])
            pending += node.input
    return frozenset(found)
