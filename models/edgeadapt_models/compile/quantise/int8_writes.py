"""Writes of the int8 artifact, from those of the float one.

A write names bytes of the float file; the same initializer lies elsewhere in the int8 file, or has become
integers with a scale, and then a norm layer's four slots have one write together.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from edgeadapt.bundle import Copy, Region, Write
from edgeadapt.bundle.writes import FoldNorm, FoldNormInt8
from edgeadapt_models.compile.graph.wire_walk import initializer_spans
from edgeadapt_models.compile.quantise.graph import FloatGraph
from edgeadapt_models.compile.quantise.kernels import Kernel
from edgeadapt_models.compile.quantise.places import bounded
from edgeadapt_models.compile.quantise.qdq import Int8Graph


def int8_writes(
    graph: FloatGraph, kernels: Mapping[str, Kernel], int8: Int8Graph, data: bytes
) -> tuple[Write, ...]:
    """One `FoldNormInt8` for each norm layer that is in a kernel; all other writes where their tensor is now.

    Args:
        graph: the float graph.
        kernels: what became int8.
        int8: the int8 graph.
        data: the same, serialised.
    """
    spans = {name: span.offset for name, span in initializer_spans(data).items()}
    folded = {kernel.layer.name: kernel.layer for kernel in kernels.values() if kernel.layer is not None}
    slots = {name for layer in folded.values() for name in (layer.scale, layer.bias, layer.mean, layer.var)}
    kept = [
        _moved(graph, write, spans)
        for write in graph.source.artifact.writes
        if not (isinstance(write, Copy) and write.slot in slots)
        and not (isinstance(write, FoldNorm) and write.layer in folded)
    ]
    folds = (_fold(graph, kernel, int8, spans) for kernel in kernels.values())
    return (*kept, *(fold for fold in folds if fold is not None))


def _fold(
    graph: FloatGraph, kernel: Kernel, int8: Int8Graph, spans: Mapping[str, int]
) -> FoldNormInt8 | None:
    if kernel.layer is None:
        return None
    name, channels = kernel.node.output[0], (kernel.channels,)
    low, high = _limits(graph, kernel, int8)
    return FoldNormInt8(
        kernel.layer.name,
        weight_scale=Region(spans[f"{name}/scale"], channels),
        bias=Region(spans[f"{name}/bias"], channels, "int32"),
        input_scale=int8.params[kernel.input].scale,
        negative=int8.negative[name],
        bias_scale=Region(spans[f"{name}/bias_scale"], channels),
        low=low,
        high=high,
    )


def _limits(graph: FloatGraph, kernel: Kernel, int8: Int8Graph) -> tuple[float | None, float | None]:
    """The ends that a kernel's result must not leave; see `FoldNormInt8`."""
    tensor = bounded(graph, kernel.result)
    held = int8.params.get(tensor)
    if kernel.operator != "Conv" or held is None:
        return None, None
    low, high = activation_bounds(graph, tensor) if tensor != kernel.result else (None, None)
    return (
        None if low is not None and held.low <= low + held.scale else held.low,
        None if high is not None and held.high >= high - held.scale else held.high,
    )


def activation_bounds(graph: FloatGraph, tensor: str) -> tuple[float | None, float | None]:
    """Least and greatest value that the ReLU or clip which makes `tensor` lets through."""
    node = graph.producer(tensor)
    if node is None or node.op_type not in ("Relu", "Clip"):
        return None, None
    if node.op_type == "Relu":
        return 0.0, None
    values = [graph.constant(name) if name else None for name in (*node.input[1:3], "", "")]
    low, high = (None if value is None else float(value.reshape(())) for value in values[:2])
    return low, high


def _moved(graph: FloatGraph, write: Write, spans: Mapping[str, int]) -> Write:
    """The write with its regions where the same initializers are in the new file."""
    changes = {
        field: msgspec.structs.replace(value, offset=spans[graph.name_at(value)])
        for field in write.__struct_fields__
        if isinstance(value := getattr(write, field), Region)
    }
    return msgspec.structs.replace(write, **changes)
