"""Kernels that become int8, each with the norm layer behind it.

A kernel is a convolution or a matrix product with constant weights. A BatchNorm node behind it is taken in:
then the raw kernel is quantised, and the norm layer goes into the scales and the bias (`FoldNormInt8`). So
it is with a norm layer that the float artifact has folded already (`FoldNorm`).

What a patch may change otherwise than by a norm layer (a head, an adapter on a kernel) stays float: integers
are the same in every generation. So does a head that is small beside the rest: float costs nothing there, and
its input, the embedding, need not be rounded and cannot saturate under a patch.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import onnx

from edgeadapt.bundle import Copy, NormLayer
from edgeadapt.bundle.writes import FoldNorm
from edgeadapt.tensors import FloatArray
from edgeadapt_models.compile.quantise.graph import FloatGraph, attribute

KERNELS = ("Conv", "Gemm", "MatMul")
SMALL_HEAD = 1 << 14
SMALL_SHARE = 0.05
"""A head of at most so many weights, or of at most this share of all, stays float."""


@dataclass(frozen=True)
class Kernel:
    """One kernel to be quantised.

    Attributes:
        node: its node in the float graph.
        operator: what it becomes: a MatMul of two axes with a bias behind it becomes a Gemm.
        weights: float32, raw.
        axis: output axis of the weights.
        bias: float32 [channels], raw; None when there is none.
        layer: the norm layer that is folded in, or None.
        result: the tensor that it gives, with bias and norm layer.
        absorbed: first outputs of the nodes behind it that it takes in.
    """

    node: onnx.NodeProto
    operator: str
    weights: FloatArray
    axis: int
    bias: FloatArray | None
    layer: NormLayer | None
    result: str
    absorbed: tuple[str, ...] = ()

    @property
    def channels(self) -> int:
        """Output channels."""
        return int(self.weights.shape[self.axis])

    @property
    def fan_in(self) -> int:
        """Products that are added up for one value."""
        return self.weights.size // self.channels

    @property
    def input(self) -> str:
        """The tensor that it reads."""
        return str(self.node.input[0])


def find_kernels(graph: FloatGraph) -> tuple[dict[str, Kernel], dict[str, str]]:
    """What becomes int8 and what does not.

    Returns:
        Kernels by the first output of their node, in order of execution; and for every other kernel the name
        of its weights with the reason why it stays float.
    """
    nodes = [node for node in graph.nodes if node.op_type in (*KERNELS, "ConvTranspose")]
    found = {node.output[0]: _kernel(graph, node) for node in nodes if node.op_type in KERNELS}
    total = sum(kernel.weights.size for kernel in found.values() if kernel is not None)
    kernels: dict[str, Kernel] = {}
    kept: dict[str, str] = {}
    for node in nodes:
        kernel = found.get(node.output[0])
        if kernel is None:
            if graph.is_constant(node.input[1]):
                kept[node.input[1]] = _reason(graph, node)
        elif kernel.result in graph.outputs and kernel.weights.size <= max(SMALL_HEAD, SMALL_SHARE * total):
            kept[node.input[1]] = "it makes an output and is small: float costs nothing"
        else:
            kernels[node.output[0]] = kernel
    return kernels, kept


def _reason(graph: FloatGraph, node: onnx.NodeProto) -> str:
    if node.op_type not in KERNELS:
        return f"no runtime has integers for {node.op_type}"
    if graph.writes_on(node.input[1]):
        return "a patch may change it"
    return f"this form of {node.op_type} is not known"


def _kernel(graph: FloatGraph, node: onnx.NodeProto) -> Kernel | None:
    weights = graph.constant(node.input[1])
    if weights is None or weights.dtype != np.float32 or graph.is_constant(node.input[0]):
        return None
    if not np.isfinite(weights).all() or weights.ndim < 2 or not weights.size:
        return None
    if node.op_type == "MatMul":
        return _matmul(graph, node, weights)
    bias_name = node.input[2] if len(node.input) > 2 else ""
    bias = graph.constant(bias_name) if bias_name else None
    axis = 0
    if node.op_type == "Gemm":
        plain = not attribute(node, "transA", 0) and attribute(node, "alpha", 1.0) == 1.0
        if not plain or (bias_name and attribute(node, "beta", 1.0) != 1.0):
            return None
        axis = 0 if attribute(node, "transB", 0) else 1
    if bias_name and (bias is None or bias.size != weights.shape[axis]):
        return None
    flat = None if bias is None else bias.reshape(-1)
    plain_kernel = Kernel(node, node.op_type, weights, axis, flat, None, node.output[0])
    return _with_norm(graph, plain_kernel, bias_name)


def _matmul(graph: FloatGraph, node: onnx.NodeProto, weights: FloatArray) -> Kernel | None:
    if weights.ndim != 2:
        return None
    plain = Kernel(node, "MatMul", weights, 1, None, None, node.output[0])
    if graph.rank(node.output[0]) != 2:
        return plain if not graph.writes_on(node.input[1]) else None
    added = graph.only_reader(node.output[0], "Add")
    if added is None:
        return _with_norm(graph, Kernel(node, "Gemm", weights, 1, None, None, node.output[0]), "")
    name = added.input[1] if added.input[0] == node.output[0] else added.input[0]
    bias = graph.constant(name)
    if bias is None or bias.size != weights.shape[1] or graph.rank(added.output[0]) != 2:
        return plain if not graph.writes_on(node.input[1]) else None
    whole = Kernel(
        node, "Gemm", weights, 1, bias.reshape(-1), None, added.output[0], absorbed=(added.output[0],)
    )
    return _with_norm(graph, whole, name)


def _with_norm(graph: FloatGraph, kernel: Kernel, bias: str) -> Kernel | None:
    """The kernel with its norm layer; None when a patch may change it in another way."""
    layers = {layer.name: layer for layer in graph.source.layers}
    writes = [*graph.writes_on(kernel.node.input[1]), *(graph.writes_on(bias) if bias else ())]
    folds = {write.layer for write in writes if isinstance(write, FoldNorm)}
    if any(not isinstance(write, FoldNorm) for write in writes) or len(folds) > 1:
        return None
    if folds:
        return _with(kernel, layers[folds.pop()], kernel.result, ())
    norm = graph.only_reader(kernel.result, "BatchNormalization")
    if norm is None or norm.input[0] != kernel.result:
        return kernel
    layer = _layer_of(graph, norm)
    return kernel if layer is None else _with(kernel, layer, norm.output[0], (norm.output[0],))


def _with(kernel: Kernel, layer: NormLayer, result: str, absorbed: tuple[str, ...]) -> Kernel:
    return Kernel(
        kernel.node,
        kernel.operator,
        kernel.weights,
        kernel.axis,
        kernel.bias,
        layer,
        result,
        kernel.absorbed + absorbed,
    )


def _layer_of(graph: FloatGraph, norm: onnx.NodeProto) -> NormLayer | None:
    """The norm layer whose slots are copied into a BatchNormalization node, each in its place."""
    slots = [list(_copied(graph, name)) for name in norm.input[1:5]]
    for layer in graph.source.layers:
        if slots == [[layer.scale], [layer.bias], [layer.mean], [layer.var]]:
            return layer
    return None


def _copied(graph: FloatGraph, name: str) -> Iterator[str]:
    for write in graph.writes_on(name):
        yield write.slot if isinstance(write, Copy) else ""
