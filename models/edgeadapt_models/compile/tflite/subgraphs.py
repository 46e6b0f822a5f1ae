"""Write the two subgraphs: "fast" (logits, embedding) and "probe" (moments of the norm layers, too)."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from edgeadapt_models.compile.tflite.file.program import Constants, Program, Subgraph, Tensor, live
from edgeadapt_models.compile.tflite.lower.context import Context
from edgeadapt_models.compile.tflite.lower.layout import channels_last, identity, stored_shape
from edgeadapt_models.compile.tflite.lower.ledger import Ledger
from edgeadapt_models.compile.tflite.lower.sites import BatchNorms
from edgeadapt_models.compile.tflite.lower.source import Source
from edgeadapt_models.compile.tflite.ops.registry import CONVERTERS

FAST, PROBE = "fast", "probe"


def lower(graphs: Mapping[str, Source], norms: BatchNorms, *, turned: bool) -> tuple[Program, Ledger]:
    """Write a subgraph for each of `graphs`, over the same constants.

    Args:
        graphs: ONNX graphs over the same initializers, by the name of their signature.
        norms: the norm layers with statistics.
        turned: whether an input [1, C, H, W] is taken as [1, H, W, C]; else it is taken as ONNX does.

    Raises:
        CompileError: a graph has an operator that LiteRT lacks; says which, and where.
    """
    constants, ledger = Constants(), Ledger()
    subgraphs = []
    for name, source in graphs.items():
        context = Context(source, Subgraph(name), constants, ledger, norms.folds, norms.affine)
        _inputs(context, turned=turned)
        _operators(context)
        for output in source.graph.output:
            context.subgraph.outputs[output.name] = context.stored(output.name)
        subgraphs.append(live(context.subgraph))
    return Program(tuple(subgraphs), constants.values), ledger


def _inputs(context: Context, *, turned: bool) -> None:
    for value in context.source.graph.input:
        if value.name in context.source.initializers:
            continue
        rank = context.rank(value.name)
        order = channels_last(rank) if turned and rank == 4 else identity(rank)
        shape = stored_shape(context.shape(value.name), order)
        tensor = context.subgraph.add(Tensor(value.name, shape, np.dtype(np.float32)))
        context.subgraph.inputs[value.name] = tensor
        context.define(value.name, tensor, order)


def _operators(context: Context) -> None:
    for node in context.source.graph.node:
        result = node.output[0]
        if result in context.source.trace.constants or result in context.done:
            continue
        converter = CONVERTERS.get(node.op_type)
        if converter is None:
            raise context.fail(node, "it has no counterpart")
        converter(context, node)
