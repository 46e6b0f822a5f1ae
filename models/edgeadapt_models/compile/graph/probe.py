"""The probe suffix: bytes that, put behind a model, make it also return the moments of its norm inputs.

Protobuf merges concatenated messages, so a ModelProto that holds only extra nodes and outputs extends the
graph before it without moving a byte: the write recipes of the fast graph hold for both. The nodes compute,
per frame and channel, the mean of x and of x*x over all positions. Pooling over frames is in
`edgeadapt.normstats`.
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
    for index, (node, site) in enumerate(zip(norm_nodes(model), sites, strict=True)):
        square = f"probe/{index}/square"
        graph.node.append(helper.make_node("Mul", [node.input[0]] * 2, [square], name=square))
        for output, source in zip(PROBE_OUTPUTS, (node.input[0], square), strict=True):
            result = f"probe/{index}/{output}"
            graph.node.append(_reduce(source, result, site.reduce_axes))
            parts[output].append(result)
    channels = sum(site.channels for site in sites)
    for output, inputs in parts.items():
        graph.node.append(helper.make_node("Concat", inputs, [output], name=output, axis=1))
        shape = ["batch", channels]
        graph.output.append(helper.make_tensor_value_info(output, TensorProto.FLOAT, shape))
    suffix: bytes = onnx.ModelProto(graph=graph).SerializeToString(deterministic=True)
    return suffix


def _reduce(source: str, result: str, axes: tuple[int, ...]) -> onnx.NodeProto:
    if not axes:  # ReduceMean without axes would average over the batch and the channels too.
        return helper.make_node("Identity", [source], [result], name=result)
    return helper.make_node("ReduceMean", [source], [result], name=result, axes=list(axes), keepdims=0)
