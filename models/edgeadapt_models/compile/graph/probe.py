"""The probe suffix: bytes that, put behind a model, make it also return the moments of its norm inputs.

Protobuf merges concatenated messages, so a ModelProto that holds only extra nodes and outputs extends the
graph before it without moving a byte: the write recipes of the fast graph hold for both. The nodes compute,
per frame and channel, the mean of x and of x*x over all positions, where x is what a norm layer normalises,
or what a folded layer returns. Pooling over frames is in `edgeadapt.normstats`.

Where the channels are the second axis the mean is a GlobalAveragePool and not a ReduceMean: ONNX Runtime
keeps activations in blocks of channels and has kernels for that layout for pools and products, so nothing is
put back in order just to be measured (probe over fast: ResNet-18 1.04 against 1.09, ResNet-8 1.20 against
1.33, MobileNetV2 2.0 against 2.6).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from edgeadapt_models.compile.analyse.sites import Site, reduce_axes
from edgeadapt_models.compile.graph.edit import opset

PROBE_OUTPUTS = ("probe_mean", "probe_mean_square")
_AXES_ARE_INPUTS = 18
"""First opset in which ReduceMean takes its axes as an input."""


@dataclass(frozen=True, slots=True)
class Measured:
    """A tensor whose moments the probe returns.

    Attributes:
        tensor: its name.
        channels: how many it has.
        reduce_axes: its axes that are neither the batch nor the channels; may be empty.
    """

    tensor: str
    channels: int
    reduce_axes: tuple[int, ...]

    @staticmethod
    def of(site: Site) -> Measured:
        """What is measured of a layer."""
        return Measured(site.tensor, site.channels, reduce_axes(site))


def probe_suffix(model: onnx.ModelProto, measured: Sequence[Measured]) -> bytes:
    """Serialise the extension of `model`.

    Its outputs are `probe_mean` and `probe_mean_square`, float32 [N, P], the channels of all measured tensors
    end to end.
    """
    graph = onnx.GraphProto()
    parts: dict[str, list[str]] = {output: [] for output in PROBE_OUTPUTS}
    # Pooled values keep their axes of length 1 until all are together: one reordering for all of them.
    stacked = all(_poolable(entry) for entry in measured) and len({e.reduce_axes for e in measured}) == 1
    for index, entry in enumerate(measured):
        square = f"probe/{index}/square"
        graph.node.append(helper.make_node("Mul", [entry.tensor] * 2, [square], name=square))
        for output, source in zip(PROBE_OUTPUTS, (entry.tensor, square), strict=True):
            result = f"probe/{index}/{output}"
            _mean(graph, source, result, entry, opset(model), flat=not stacked)
            parts[output].append(result)
    channels = sum(entry.channels for entry in measured)
    for output, inputs in parts.items():
        joined = f"probe/{output}" if stacked else output
        graph.node.append(helper.make_node("Concat", inputs, [joined], name=joined, axis=1))
        if stacked:
            graph.node.append(helper.make_node("Flatten", [joined], [output], name=output, axis=1))
        shape = ["batch", channels]
        graph.output.append(helper.make_tensor_value_info(output, TensorProto.FLOAT, shape))
    suffix: bytes = onnx.ModelProto(graph=graph).SerializeToString(deterministic=True)
    return suffix


def _poolable(entry: Measured) -> bool:
    """True for [N, C, positions...]."""
    return bool(entry.reduce_axes) and entry.reduce_axes[0] == 2


def _mean(
    graph: onnx.GraphProto, source: str, result: str, entry: Measured, version: int, *, flat: bool
) -> None:
    """Add nodes that average `source` over its positions: [N, C], or [N, C, 1...] when not `flat`."""
    if not entry.reduce_axes:  # ReduceMean without axes would average over the batch and the channels too.
        graph.node.append(helper.make_node("Identity", [source], [result], name=result))
    elif _poolable(entry):
        pooled = f"{result}/pooled" if flat else result
        graph.node.append(helper.make_node("GlobalAveragePool", [source], [pooled], name=pooled))
        if flat:
            graph.node.append(helper.make_node("Flatten", [pooled], [result], name=result, axis=1))
    elif version < _AXES_ARE_INPUTS:
        axes = list(entry.reduce_axes)
        graph.node.append(
            helper.make_node("ReduceMean", [source], [result], name=result, axes=axes, keepdims=0)
        )
    else:
        axes_name = f"{result}/axes"
        graph.initializer.append(numpy_helper.from_array(np.array(entry.reduce_axes, np.int64), axes_name))
        graph.node.append(
            helper.make_node("ReduceMean", [source, axes_name], [result], name=result, keepdims=0)
        )
