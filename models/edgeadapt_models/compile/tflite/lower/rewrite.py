"""A graph in which what exporters wrote out in pieces is one node again."""

from __future__ import annotations

import onnx
from onnx import helper

from edgeadapt_models.compile.graph.edit import drop_unused
from edgeadapt_models.compile.tflite.lower.gelu import Gelu, find_gelus
from edgeadapt_models.compile.tflite.lower.groups import Grouped, find_groups
from edgeadapt_models.compile.tflite.lower.source import Source


def rewritten(source: Source) -> Source:
    """The same graph with every GELU and GroupNorm as one node; what they were made of is gone if unread."""
    whole = {gelu.result: _gelu(gelu) for gelu in find_gelus(source)}
    whole |= {found.result: _group(found) for found in find_groups(source)}
    graph = onnx.GraphProto()
    graph.CopyFrom(source.graph)
    for node in graph.node:
        if node.output[0] in whole:
            name = node.name
            node.CopyFrom(whole[node.output[0]])
            node.name = name
    drop_unused(graph)
    return Source.of(graph, source.trace)


def _gelu(found: Gelu) -> onnx.NodeProto:
    approximate = "tanh" if found.approximate else "none"
    return helper.make_node("Gelu", [found.x], [found.result], approximate=approximate)


def _group(found: Grouped) -> onnx.NodeProto:
    return helper.make_node(
        "GroupNormalization",
        [found.x, found.scale, found.bias],
        [found.result],
        epsilon=found.epsilon,
        num_groups=found.groups,
    )
