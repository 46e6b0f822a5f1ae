"""Layers whose norm layer was folded away: a scale and a shift per channel can still be written there.

A convolution or matrix product with constant weights, or a constant Mul and Add per channel behind one
(frozen statistics), counts unless a norm layer that was found reads its output. Not used: the classifier
head, and what sees one position only (squeeze-and-excitation), whose moments say little.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

import numpy as np
import onnx

from edgeadapt_models.compile.analyse.affine import affine_behind
from edgeadapt_models.compile.analyse.sites import AffineSite, FoldedSite, Operand, Unusable
from edgeadapt_models.compile.analyse.view import GraphView, attribute

_PRODUCTS = ("Conv", "ConvTranspose", "Gemm", "MatMul")


def find_channels(
    view: GraphView, normalised: Collection[str], head: str
) -> Iterator[FoldedSite | AffineSite | Unusable]:
    """Every such layer, in order of execution.

    Args:
        view: the graph.
        normalised: tensors that norm layers normalise.
        head: first output of the classifier head's node, "" for none.
    """
    convolutions: list[FoldedSite | AffineSite | Unusable] = []
    matrices: list[FoldedSite | AffineSite | Unusable] = []
    for node in view.nodes:
        if node.op_type in _PRODUCTS and node.output[0] != head:
            found = _layer(view, node, normalised)
            if found is not None:
                (convolutions if node.op_type.startswith("Conv") else matrices).append(found)
    usable = [site for site in convolutions if not isinstance(site, Unusable)]
    # Matrices stand in only where there is no convolution: a perceptron over sensor readings.
    yield from convolutions if usable else [*convolutions, *matrices]


def _layer(
    view: GraphView, node: onnx.NodeProto, normalised: Collection[str]
) -> FoldedSite | AffineSite | Unusable | None:
    weight = view.constant(node.input[1]) if len(node.input) > 1 else None
    shape = view.shape(node.output[0])
    if weight is None or shape is None or view.is_constant(node.input[0]):
        return None
    if weight.dtype != np.float32:
        return Unusable(node.output[0], node.op_type, f"its weights are {weight.dtype}")
    convolution = node.op_type.startswith("Conv")
    if convolution and np.prod(shape[2:]) == 1:
        return Unusable(node.output[0], node.op_type, "it sees one position only (squeeze-and-excitation)")
    if not convolution and len(shape) != 2:
        return None  # of tokens: a transformer without norm layers is no use of this
    axis = _weight_axis(node)
    if axis is None:
        return Unusable(node.output[0], node.op_type, "a transposed convolution in groups cannot be scaled")
    if node.op_type == "Gemm" and (attribute(node, "transA", 0) or attribute(node, "beta", 1.0) != 1.0):
        return Unusable(node.output[0], node.op_type, "its bias or its input is scaled or turned on the way")
    if not _vector_bias(view, node, shape[1]):
        return Unusable(node.output[0], node.op_type, "its bias is no constant with a value for each channel")
    bias, tensor = _bias(view, node)
    if tensor in normalised or node.output[0] in normalised:
        return None
    frozen = _frozen(view, tensor, shape)
    if frozen is not None:
        return frozen
    place = Operand(node.output[0], 1)
    named = f"{node.op_type} + bias" if bias is not None else node.op_type
    return FoldedSite(
        shape[1], tensor, 1, len(shape), node.output[0], named, place, axis, bias, node.input[1]
    )


def _weight_axis(node: onnx.NodeProto) -> int | None:
    """Output axis of the weights."""
    if node.op_type == "Conv":
        return 0
    if node.op_type == "ConvTranspose":
        return 1 if attribute(node, "group", 1) == 1 else None
    if node.op_type == "Gemm":
        return 0 if attribute(node, "transB", 0) else 1
    return 1


def _bias(view: GraphView, node: onnx.NodeProto) -> tuple[Operand | None, str]:
    """(where the bias enters, output with the bias added)."""
    if node.op_type == "MatMul":
        added = view.only_reader(node.output[0], "Add")
        for place, constant, _ in () if added is None else view.constant_operands(added):
            value = view.constant(constant)
            width = (view.shape(node.output[0]) or (0,))[-1]
            if added is not None and value is not None and value.size == width:
                return place, added.output[0]
        return None, node.output[0]
    if len(node.input) > 2 and node.input[2]:
        return Operand(node.output[0], 2), node.output[0]
    return None, node.output[0]


def _vector_bias(view: GraphView, node: onnx.NodeProto, channels: int) -> bool:
    """False for a bias that is computed, or is no vector with a value for each channel."""
    if node.op_type == "MatMul" or len(node.input) < 3 or not node.input[2]:
        return True
    value = view.constant(node.input[2])
    return value is not None and value.shape in ((channels,), (1, channels))


def _frozen(view: GraphView, tensor: str, shape: tuple[int, ...]) -> AffineSite | None:
    """A constant Mul and Add per channel right behind."""
    behind = affine_behind(view, tensor)
    if behind.axis != 1 or behind.scale is None or behind.bias is None or behind.scale.operand is None:
        return None
    return AffineSite(
        shape[1],
        tensor,
        1,
        len(shape),
        behind.scale.operand.node,
        "Mul and Add per channel",
        behind.scale,
        behind.bias,
    )
