"""The norm layers of an ONNX graph as LiteRT will have them: folded, as two constants, or as they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import onnx

from edgeadapt_models.compile.tflite.lower.context import Fold, Source
from edgeadapt_models.compile.tflite.lower.weights import bias_behind

_CARRIERS = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})


@dataclass(frozen=True, slots=True)
class Place:
    """One norm layer at its place in the ONNX graph.

    Attributes:
        layer: its name in the manifest.
        operator: "batch" for a BatchNormalization node; "other" for what stays as it is.
        source: the value that it normalises.
        result: the value that a BatchNormalization node returns; else not used.
        measured: what the ONNX probe measures of it.
    """

    layer: str
    operator: Literal["batch", "other"]
    source: str
    result: str = ""
    measured: Literal["input", "output"] = "input"


def find_folds(source: Source, places: Sequence[Place]) -> dict[str, Fold]:
    """The BatchNorms that go into the operator before them, by the value that this operator computes.

    One does when that operator has weights of its own and nothing else reads what it returns.

    Args:
        source: the fast graph.
        places: the norm layers.
    """
    return {
        place.source: Fold(place.layer, place.result)
        for place in places
        if place.operator == "batch" and source.readers[place.source] == 1 and _carried(source, place.source)
    }


def measured(place: Place, folds: Mapping[str, Fold]) -> Literal["input", "output"]:
    """Where a norm is folded no value of the graph is its input any more, so its output is measured."""
    return "output" if place.source in folds else place.measured


def measure_results(graph: onnx.GraphProto, first: int, folds: Mapping[str, Fold]) -> None:
    """Make the probe's nodes (from number `first` on) read what folded layers return, not what they take."""
    for node in graph.node[first:]:
        node.input[:] = [folds[name].result if name in folds else name for name in node.input]


def _carried(source: Source, name: str) -> bool:
    """Whether a convolution or a matrix product with weights of its own computes the value."""
    node = source.producers.get(name)
    if node is not None and node.op_type == "Add":
        for other in node.input:
            product = source.producers.get(other)
            if product is not None and product.op_type == "MatMul":
                return bias_behind(source, product)[1] == name and source.is_initial(product.input[1])
    return node is not None and node.op_type in _CARRIERS and source.is_initial(node.input[1])
