"""The norm layers of an ONNX graph as LiteRT will have them: folded, as two constants, or as they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from edgeadapt_models.compile.tflite.lower.context import Fold, Source
from edgeadapt_models.compile.tflite.lower.weights import bias_behind

_CARRIERS = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})


@dataclass(frozen=True, slots=True)
class Place:
    """One norm layer at its place in the ONNX graph.

    Attributes:
        layer: its name in the manifest.
        operator: "batch" for a BatchNormalization node; "folded" for a convolution or matrix whose norm was
            folded away before it came here; "other" for what stays as it is.
        source: the value that it normalises; for a "folded" one what the convolution returns.
        channel_axis: logical axis of the channels of `source`.
        result: the value that a BatchNormalization node returns; else not used.
    """

    layer: str
    operator: Literal["batch", "folded", "other"]
    source: str
    channel_axis: int
    result: str = ""


@dataclass(frozen=True, slots=True)
class Measured:
    """What the probe measures of a layer: a value, and whether that is the layer's input or its output."""

    value: str
    place: Literal["input", "output"]


def find_folds(source: Source, places: Sequence[Place]) -> dict[str, Fold]:
    """The BatchNorms that go into the operator before them, by the value that this operator computes.

    One does when that operator has weights of its own and nothing else reads what it returns.
    """
    return {
        place.source: Fold(place.layer, place.result)
        for place in places
        if place.operator == "batch" and source.readers[place.source] == 1 and _carried(source, place.source)
    }


def measured(place: Place, folds: Mapping[str, Fold]) -> Measured:
    """Where a norm is folded no value of the graph is its input any more, so its output is measured."""
    if place.source in folds:
        return Measured(place.result, "output")
    return Measured(place.source, "output" if place.operator == "folded" else "input")


def _carried(source: Source, name: str) -> bool:
    """Whether a convolution or a matrix product with weights of its own computes the value."""
    node = source.producers.get(name)
    if node is not None and node.op_type == "Add":
        for other in node.input:
            product = source.producers.get(other)
            if product is not None and product.op_type == "MatMul":
                return bias_behind(source, product)[1] == name and source.is_initial(product.input[1])
    return node is not None and node.op_type in _CARRIERS and source.is_initial(node.input[1])
