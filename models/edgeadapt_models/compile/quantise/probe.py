"""The probe of the int8 artifact: moments of every norm layer's input, nearly at the price of integers.

A norm layer's input is no tensor any more where the layer is in a kernel. Reading the kernel's result would
tear it from its rounding, and the runtime would compute it in float with weights that it unpacks for every
frame (measured: a probe of five times the fast graph's time). So the suffix computes each such convolution
once more, in integers, with constants of its own that no patch changes:

    u = (x - m) / s       m, s: the source's mean and standard deviation of the channel's input x

held in 8 bits from -`REACH` to `REACH`. Each channel has the same step in its own deviations, whatever norm
layer and statistics run, and the moments of x follow from those of u. The mean of rounding errors is 0, and
their mean square, step^2 / 12, is taken off.

Float as it was: kernels that read nothing but the input, of which the domain's signature is made, and matrix
products, whose results are float anyway. Those results are measured, without rounding, activation or cut.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import numpy as np
import onnx
from onnx import helper, numpy_helper

from edgeadapt.tensors import FloatArray
from edgeadapt_models.compile.quantise.calibrated import Reach
from edgeadapt_models.compile.quantise.graph import FloatGraph
from edgeadapt_models.compile.quantise.kernels import Kernel
from edgeadapt_models.compile.quantise.places import Places
from edgeadapt_models.compile.quantise.qdq import DEQUANTISED, Int8Graph, rounded_bias

REACH = 16.0
_STEP = np.float32(2 * REACH / 255)
_MIDDLE = 128
_OUTPUTS = ("probe_mean", "probe_mean_square")

Measured = Literal["input", "output"]


class Int8Probe:
    """The suffix, and where each layer is measured.

    Attributes:
        suffix: bytes to put behind the int8 graph.
        measured: as `Artifact.measured`.
    """

    def __init__(
        self, graph: FloatGraph, kernels: Mapping[str, Kernel], places: Places, int8: Int8Graph
    ) -> None:
        """Make it of the float artifact's."""
        self._graph, self._int8 = graph, int8
        self._model = onnx.load_from_string(graph.source.probe)
        reach = Reach(graph.model.graph)
        folded = [kernel for kernel in kernels.values() if kernel.layer is not None]
        again = [k for k in folded if k.operator == "Conv" and not reach.is_pointwise(k.input)]
        self._rename(kernels, places, again)
        self._bring_constants()
        nodes = list(self._model.graph.node)
        del self._model.graph.node[:]
        for kernel in again:
            self._repeat(kernel)
        self._model.graph.node.extend(nodes)
        if again:
            self._to_inputs(again)
        self.suffix: bytes = self._model.SerializeToString(deterministic=True)
        results = {kernel.layer.name for kernel in folded if kernel.layer and kernel not in again}
        standard = {kernel.layer.name for kernel in again if kernel.layer}
        self.measured: tuple[Measured, ...] = tuple(
            "output" if layer.name in results else "input" if layer.name in standard else place
            for layer, place in zip(graph.source.layers, graph.source.artifact.measured, strict=True)
        )

    def _rename(self, kernels: Mapping[str, Kernel], places: Places, again: list[Kernel]) -> None:
        """Read the tensors that there are now."""
        table = {place.tensor: place.tensor + DEQUANTISED for place in places.of.values() if place.held}
        for kernel in kernels.values():
            table[kernel.result] = kernel.result
            if kernel.layer is not None:
                target = _standard(kernel) if kernel in again else kernel.result
                for name in (kernel.node.output[0], *kernel.absorbed):
                    table[name] = target
        for node in self._model.graph.node:
            node.input[:] = [table.get(name, name) for name in node.input]

    def _bring_constants(self) -> None:
        """Float constants that the suffix shares with the float graph and the int8 graph has no more."""
        there = {tensor.name for tensor in self._int8.model.graph.initializer}
        there.update(tensor.name for tensor in self._model.graph.initializer)
        for node in self._model.graph.node:
            for name in node.input:
                if self._graph.is_constant(name) and name not in there:
                    self._model.graph.initializer.append(self._graph.initializer(name))
                    there.add(name)

    def _repeat(self, kernel: Kernel) -> None:
        """The kernel once more, with results in the source's deviations."""
        name, new = kernel.node.output[0], f"{kernel.node.output[0]}/probe"
        deviation, mean, sign = self._source_of(kernel)
        raw = self._int8.scales[name].astype(np.float64)
        scale = (raw / deviation).astype(np.float32)
        step = np.float32(self._int8.params[kernel.input].scale) * scale
        held = np.zeros(kernel.channels) if kernel.bias is None else kernel.bias.astype(np.float64)
        bias = rounded_bias(sign * (held - mean) / deviation, step)
        weight = [f"{name}/weight", self._constant(f"{new}_scale", scale), f"{name}/weight_zero"]
        biases = [self._constant(f"{new}_bias", bias), self._constant(f"{new}_bias_scale", step)]
        rounding = [
            self._constant("probe/step", np.array(_STEP)),
            self._constant("probe/middle", np.array(_MIDDLE, np.uint8)),
        ]
        convolution = onnx.NodeProto()
        convolution.CopyFrom(kernel.node)
        convolution.name = new
        convolution.input[:] = [kernel.input + DEQUANTISED, f"{new}/weight", f"{new}/bias"]
        convolution.output[:] = [f"{new}/float"]
        self._model.graph.node.extend(
            [
                helper.make_node("DequantizeLinear", weight, [f"{new}/weight"], f"{new}/weight", axis=0),
                helper.make_node("DequantizeLinear", biases, [f"{new}/bias"], f"{new}/bias", axis=0),
                convolution,
                helper.make_node("QuantizeLinear", [f"{new}/float", *rounding], [f"{new}/q"], f"{new}/q"),
                helper.make_node(
                    "DequantizeLinear", [f"{new}/q", *rounding], [_standard(kernel)], f"{new}/u"
                ),
            ]
        )

    def _to_inputs(self, again: list[Kernel]) -> None:
        """Behind the suffix's outputs: from moments of u to moments of x, channel by channel.

        With x = a u + b: mean x = a mean u + b, and mean x^2 = a^2 mean u^2 + 2 a b mean u + b^2.
        """
        width = self._width()
        a, b, noise = np.ones(width), np.zeros(width), np.zeros(width)
        for kernel in again:
            assert kernel.layer is not None
            part = slice(kernel.layer.probe_offset, kernel.layer.probe_offset + kernel.channels)
            deviation, mean, sign = self._source_of(kernel)
            a[part], b[part], noise[part] = sign * deviation, mean, float(_STEP) ** 2 / 12
        for node in self._model.graph.node:
            node.output[:] = [f"{name}/of_u" if name in _OUTPUTS else name for name in node.output]
        mean_u, square_u = (f"{name}/of_u" for name in _OUTPUTS)
        self._node("Mul", mean_u, a, "probe/a_mean")
        self._node("Add", "probe/a_mean", b, _OUTPUTS[0])
        self._node("Mul", square_u, a**2, "probe/a_square")
        self._node("Mul", mean_u, 2 * a * b, "probe/cross")
        self._model.graph.node.append(
            helper.make_node("Add", ["probe/a_square", "probe/cross"], ["probe/sum"], "probe/sum")
        )
        self._node("Add", "probe/sum", b**2 - a**2 * noise, _OUTPUTS[1])

    def _width(self) -> int:
        """Length of the probe vectors: the layers' channels, and those of the signature's copy."""
        layers = sum(layer.channels for layer in self._graph.source.layers)
        named = {output.name: output.type.tensor_type.shape.dim for output in self._model.graph.output}
        found = named[_OUTPUTS[0]]
        return max(layers, found[1].dim_value if len(found) > 1 else 0)

    def _node(self, operator: str, tensor: str, vector: np.ndarray, result: str) -> None:
        held = self._constant(f"{result}/vector", vector.astype(np.float32))
        self._model.graph.node.append(helper.make_node(operator, [tensor, held], [result], f"{result}/node"))

    def _source_of(self, kernel: Kernel) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """[C] deviation and mean of the layer's input at the source, and the sign that the weights hold."""
        layer = kernel.layer
        assert layer is not None
        base = self._graph.source.base
        mean, var = (base[name].reshape(-1).astype(np.float64) for name in (layer.mean, layer.var))
        sign = np.ones(kernel.channels)
        sign[list(self._int8.negative[kernel.node.output[0]])] = -1.0
        return np.sqrt(var + layer.epsilon), mean, sign

    def _constant(self, name: str, value: np.ndarray | FloatArray) -> str:
        if all(tensor.name != name for tensor in self._model.graph.initializer):
            self._model.graph.initializer.append(numpy_helper.from_array(np.asarray(value), name))
        return name


def _standard(kernel: Kernel) -> str:
    return f"{kernel.node.output[0]}/probe/u"
