"""Write the two subgraphs: "fast" (logits, embedding) and "probe" (moments of the norm layers, too)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from edgeadapt_models.compile.graph.probe import PROBE_OUTPUTS
from edgeadapt_models.compile.tflite.file.program import Constants, Program, Subgraph, Tensor, live
from edgeadapt_models.compile.tflite.lower.context import Context, Fold, Ledger, Op, Source
from edgeadapt_models.compile.tflite.lower.layout import channels_last, identity, stored_shape
from edgeadapt_models.compile.tflite.lower.sites import Place, find_folds, measured
from edgeadapt_models.compile.tflite.ops.reduce import reduced
from edgeadapt_models.compile.tflite.ops.registry import CONVERTERS
from edgeadapt_models.compile.tflite.ops.shape import concatenate

FAST, PROBE = "fast", "probe"


def lower(source: Source, places: Sequence[Place], *, image: bool) -> tuple[Program, Ledger]:
    """Write both subgraphs over the same constants.

    Args:
        source: the ONNX graph; its first two outputs are logits and embedding.
        places: the norm layers, in order of execution.
        image: whether the input is taken as [1, H, W, C] rather than in ONNX's order.

    Raises:
        CompileError: the graph has an operator that LiteRT lacks; says which, and where.
    """
    constants, ledger = Constants(), Ledger()
    folds = find_folds(source, places)
    affine = {
        place.result: place.layer
        for place in places
        if place.operator == "batch" and place.source not in folds
    }
    subgraphs = []
    for name in (FAST, PROBE):
        watched = {measured(place, folds).value for place in places} if name == PROBE else set()
        context = Context(
            source, Subgraph(name), constants, ledger, folds, affine, watched=frozenset(watched)
        )
        _inputs(context, image=image)
        _operators(context)
        _outputs(context)
        if name == PROBE and places:
            _moments(context, places, folds)
        subgraphs.append(live(context.subgraph))
    return Program(tuple(subgraphs), constants.values), ledger


def _inputs(context: Context, *, image: bool) -> None:
    for value in context.source.graph.input:
        if value.name in context.source.initializers:
            continue
        rank = context.rank(value.name)
        order = channels_last(rank) if image and rank == 4 else identity(rank)
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


def _outputs(context: Context) -> None:
    for output in context.source.graph.output:
        context.subgraph.outputs[output.name] = context.stored(output.name)


def _moments(context: Context, places: Sequence[Place], folds: dict[str, Fold]) -> None:
    """Mean and mean square of each layer's measured value over its pixels, end to end in [1, P]."""
    parts: list[tuple[int, int]] = [
        _layer_moments(context, place, measured(place, folds).value) for place in places
    ]
    for output, tensors in zip(PROBE_OUTPUTS, zip(*parts, strict=True), strict=True):
        width = sum(context.subgraph.tensors[tensor].shape[1] for tensor in tensors)
        context.subgraph.outputs[output] = concatenate(context, tensors, 1, (1, width))


def _layer_moments(context: Context, place: Place, name: str) -> tuple[int, int]:
    order = context.order(name)
    x = context.stored(name, order)
    shape = context.subgraph.tensors[x].shape
    square = context.emit(Op.MUL, [x, x], shape, schema.MulOptionsT())
    axes = [axis for axis in range(1, context.rank(name)) if axis != place.channel_axis]
    means = []
    for tensor in (x, square):
        if axes:
            tensor, _ = reduced(context, tensor, order, Op.MEAN, axes, keep=False)
        means.append(context.reshape(tensor, (1, context.shape(name)[place.channel_axis])))
    return means[0], means[1]
