"""The probe suffix: bytes that, put behind a model, make it also return the moments of its norm inputs.

Protobuf merges concatenated messages, so a ModelProto that holds only extra nodes and outputs extends the
graph before it without moving a byte: the write recipes of the fast graph hold for both. The nodes compute,
per frame and channel, the mean of x and of x*x over all positions. Pooling over frames is in
`edgeadapt.normstats`.

Where the channels are the second axis the mean is a GlobalAveragePool and not a ReduceMean: ONNX Runtime
keeps activations in blocks of channels and has kernels for that layout for pools and products, so nothing is
put back in order just to be measured (probe over fast: ResNet-18 1.04 against 1.09, ResNet-8 1.20 against
1.33, MobileNetV2 2.0 against 2.6).
"""

from __future__ import annotations

import onnx
from onnx import TensorProto, helper

from edgeadapt_models.compile.graph.export import norm_nodes
from edgeadapt_models.compile.graph.norms import NormSite

PROBE_OUTPUTS = ("probe_mean", "probe_mean_square")


def probe_suffix(model: onnx.ModelProto, sites: tuple[NormSite, ...]) -> bytes:
    """Serialise the extension of `model`.

    Its outputs are `probe_mean` and `probe_mean_square`, float32 [N, P], the channels of all layers end to
    end in order of execution.
    """
    graph = onnx.GraphProto()
    parts: dict[str, list[str]] = {output: [] for output in PROBE_OUTPUTS}
    # Pooled values keep their axes of length 1 until all are together: one reordering for all of them.
    stacked = all(_poolable(site) for site in sites) and len({site.reduce_axes for site in sites}) == 1
    for index, (node, site) in enumerate(zip(norm_nodes(model), sites, strict=True)):
        square = f"probe/{index}/square"
        graph.node.append(helper.make_node("Mul", [node.input[0]] * 2, [square], name=square))
        for output, source in zip(PROBE_OUTPUTS, (node.input[0], square), strict=True):
            result = f"probe/{index}/{output}"
            graph.node.extend(_mean(source, result, site, flat=not stacked))
            parts[output].append(result)
    channels = sum(site.channels for site in sites)
    for output, inputs in parts.items():
        joined = f"probe/{output}" if stacked else output
        graph.node.append(helper.make_node("Concat", inputs, [joined], name=joined, axis=1))
        if stacked:
            graph.node.append(helper.make_node("Flatten", [joined], [output], name=output, axis=1))
        shape = ["batch", channels]
        graph.output.append(helper.make_tensor_value_info(output, TensorProto.FLOAT, shape))
    suffix: bytes = onnx.ModelProto(graph=graph).SerializeToString(deterministic=True)
    return suffix


def _poolable(site: NormSite) -> bool:
    """True for [N, C, positions...]."""
    return bool(site.reduce_axes) and site.reduce_axes[0] == 2


def _mean(source: str, result: str, site: NormSite, *, flat: bool) -> list[onnx.NodeProto]:
    """Nodes that average `source` over its positions: [N, C], or [N, C, 1...] when not `flat`."""
    if not site.reduce_axes:  # ReduceMean without axes would average over the batch and the channels too.
        return [helper.make_node("Identity", [source], [result], name=result)]
    if not _poolable(site):
        axes = list(site.reduce_axes)
        return [helper.make_node("ReduceMean", [source], [result], name=result, axes=axes, keepdims=0)]
    pooled = f"{result}/pooled" if flat else result
    nodes = [helper.make_node("GlobalAveragePool", [source], [pooled], name=pooled)]
    if flat:
        nodes.append(helper.make_node("Flatten", [pooled], [result], name=result, axis=1))
    return nodes
