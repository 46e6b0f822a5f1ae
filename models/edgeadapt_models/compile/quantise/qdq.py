"""The int8 graph in QDQ form: QuantizeLinear and DequantizeLinear around what a runtime may do in integers.

Operators stay what they were, so the graph means the same in any runtime; one that knows int8 kernels fuses
each operator with the pairs around it. Activations are uint8 in the file (the integers of `qparams` plus
128): ONNX Runtime on x86 does not fuse an int8 tensor that several operators read, and on ARM both are fast.

Constants of a kernel are initializers of its own, named after its node: a norm patch writes into them.

    {node}/weight       int8, never written
    {node}/scale        float32 [channels]: raw, until the norm layer is folded in
    {node}/bias         int32 [channels]: holds the raw float32 bias, until the norm layer is folded in
    {node}/bias_scale   float32 [channels]: input scale times `scale`
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import helper, numpy_helper

from edgeadapt.bundle.folds import gain_and_shift
from edgeadapt.tensors import FloatArray
from edgeadapt_models.compile.quantise.graph import FloatGraph
from edgeadapt_models.compile.quantise.kernels import Kernel
from edgeadapt_models.compile.quantise.places import Places
from edgeadapt_models.compile.quantise.qparams import INT8_MIN, ActivationParams, quantise_weights

DEQUANTISED = "/int8"
"""What a tensor's name ends with where it was rounded."""


@dataclass(frozen=True)
class Int8Graph:
    """The result.

    Attributes:
        model: the graph; raw, until its writes have run.
        params: how each tensor in 8 bits is read, by its name in the float graph.
        negative: channels whose sign is in the weights, by the first output of the kernel's node.
        scales: float32 [channels] raw scales of the weights, likewise.
    """

    model: onnx.ModelProto
    params: Mapping[str, ActivationParams]
    negative: Mapping[str, tuple[int, ...]]
    scales: Mapping[str, FloatArray]


def build_graph(
    graph: FloatGraph, kernels: Mapping[str, Kernel], places: Places, params: Mapping[str, ActivationParams]
) -> Int8Graph:
    """Rewrite the float graph.

    Args:
        graph: the float graph.
        kernels: what becomes int8.
        places: what is held in 8 bits.
        params: scale and zero point of every root of `places`.
    """
    builder = _Builder(graph, kernels, places, params)
    builder.run()
    result = onnx.GraphProto(name=graph.model.graph.name)
    result.node.extend(builder.nodes)
    result.input.extend(graph.model.graph.input)
    result.output.extend(graph.model.graph.output)
    read = {name for node in builder.nodes for name in node.input}
    kept = (tensor for tensor in graph.model.graph.initializer if tensor.name in read)
    result.initializer.extend([*kept, *builder.constants.values()])
    model = helper.make_model(
        result, opset_imports=graph.model.opset_import, ir_version=graph.model.ir_version, producer_name=""
    )
    by_name = {name: params[place.like] for name, place in places.of.items()}
    return Int8Graph(model, by_name, builder.negative, builder.scales)


class _Builder:
    def __init__(
        self,
        graph: FloatGraph,
        kernels: Mapping[str, Kernel],
        places: Places,
        params: Mapping[str, ActivationParams],
    ) -> None:
        self.graph, self.kernels, self.places, self.params = graph, kernels, places, params
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, onnx.TensorProto] = {}
        self.negative: dict[str, tuple[int, ...]] = {}
        self.scales: dict[str, FloatArray] = {}
        self._absorbed = {name for kernel in kernels.values() for name in kernel.absorbed}

    def run(self) -> None:
        for value in self.graph.model.graph.input:
            self._round(value.name)
        for node in self.graph.nodes:
            name = node.output[0]
            if name in self._absorbed:
                continue
            if name in self.kernels:
                self._kernel(self.kernels[name])
                self._round(self.kernels[name].result)
            else:
                self._plain(node, integer=name in self.places.integer)
                for result in node.output:
                    self._round(result)

    def _plain(self, node: onnx.NodeProto, *, integer: bool) -> None:
        copy = onnx.NodeProto()
        copy.CopyFrom(node)
        copy.input[:] = [self._reading(name, integer=integer) for name in node.input]
        self.nodes.append(copy)

    def _reading(self, tensor: str, *, integer: bool) -> str:
        """What a node reads instead of a tensor of the float graph."""
        place = self.places.of.get(tensor)
        return tensor + DEQUANTISED if place is not None and (place.held or integer) else tensor

    def _round(self, tensor: str) -> None:
        """Put the pair behind a tensor that is held or read in 8 bits."""
        place = self.places.of.get(tensor)
        if place is None:
            return
        scale, zero = self._qparams(place.like)
        rounded, result = f"{tensor}/q", tensor + DEQUANTISED
        self.nodes.append(helper.make_node("QuantizeLinear", [tensor, scale, zero], [rounded], rounded))
        self.nodes.append(helper.make_node("DequantizeLinear", [rounded, scale, zero], [result], result))

    def _qparams(self, root: str) -> tuple[str, str]:
        held = self.params[root]
        scale = self._constant(f"{root}/q_scale", np.array(held.scale, np.float32))
        return scale, self._constant(f"{root}/q_zero", np.array(held.zero_point - INT8_MIN, np.uint8))

    def _kernel(self, kernel: Kernel) -> None:
        name = kernel.node.output[0]
        integers, scales = quantise_weights(self._signed(kernel, name), kernel.axis)
        self.scales[name] = scales
        step = np.float32(self.params[self.places.of[kernel.input].like].scale) * scales
        weight = self._dequantised(f"{name}/weight", integers, f"{name}/scale", scales, kernel.axis)
        inputs = [kernel.input + DEQUANTISED, weight]
        bias = kernel.bias if kernel.bias is not None or kernel.layer is None else np.zeros_like(scales)
        if bias is not None:
            stored = bias.astype("<f4").view("<i4") if kernel.layer is not None else rounded_bias(bias, step)
            inputs.append(self._dequantised(f"{name}/bias", stored, f"{name}/bias_scale", step, 0))
        node = onnx.NodeProto()
        node.CopyFrom(kernel.node)
        if kernel.operator != node.op_type:  # a matrix product with its bias
            node = helper.make_node(kernel.operator, [], [], node.name)
        node.input[:], node.output[:] = inputs, [kernel.result]
        self.nodes.append(node)

    def _signed(self, kernel: Kernel, name: str) -> FloatArray:
        """The raw kernel with the sign that its norm layer has at the base."""
        if kernel.layer is None:
            return kernel.weights
        base = self.graph.source.base
        gain, _ = gain_and_shift(kernel.layer, lambda slot: base[slot].astype(np.float64))
        self.negative[name] = tuple(np.flatnonzero(gain < 0).tolist())
        along = [1] * kernel.weights.ndim
        along[kernel.axis] = -1
        return kernel.weights * np.where(gain < 0, -1.0, 1.0).astype(np.float32).reshape(along)

    def _dequantised(self, name: str, value: np.ndarray, scale: str, scales: FloatArray, axis: int) -> str:
        inputs = [self._constant(name, value), self._constant(scale, scales)]
        if value.dtype == np.int8:
            # Of its own: ONNX Runtime's rewrite of int8 weights to uint8 fails where kernels share one.
            inputs.append(self._constant(f"{name}_zero", np.zeros(len(scales), np.int8)))
        self.nodes.append(helper.make_node("DequantizeLinear", inputs, [f"{name}/float"], name, axis=axis))
        return f"{name}/float"

    def _constant(self, name: str, value: np.ndarray) -> str:
        if name not in self.constants:
            self.constants[name] = numpy_helper.from_array(value, name)
        return name


def rounded_bias(bias: np.ndarray, step: FloatArray) -> np.ndarray:
    """int32 [channels], with room for what is added to it (as in `bundle.folds`)."""
    limit = 2**30
    return np.clip(np.rint(bias.astype(np.float64) / step), -limit, limit).astype("<i4")
