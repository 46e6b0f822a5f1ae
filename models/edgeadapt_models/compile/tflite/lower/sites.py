"""BatchNorms that LiteRT folds into the operator before them, and those that become two constants."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import onnx

from edgeadapt.bundle import NormLayer
from edgeadapt_models.compile.tflite.lower.ledger import Fold
from edgeadapt_models.compile.tflite.lower.source import Source
from edgeadapt_models.compile.tflite.lower.weights import bias_behind

_CARRIERS = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})


@dataclass(frozen=True, slots=True)
class BatchNorms:
    """The BatchNormalization nodes of a graph whose slots may change.

    Attributes:
        folds: those that go into the operator before them, by the value that this operator computes.
        affine: layer names of the others, by the value that they return.
    """

    folds: Mapping[str, Fold]
    affine: Mapping[str, str]

    def folded(self, layer: str) -> bool:
        """Whether a layer is gone, so that only its output can be measured."""
        return any(fold.layer == layer for fold in self.folds.values())


def find_batch_norms(
    source: Source, layers: Sequence[NormLayer], initializers: Mapping[str, str]
) -> BatchNorms:
    """Sort the layers of kind "batch".

    A layer is folded when the operator before it has weights of its own and nothing else reads what that
    operator returns.

    Args:
        source: the fast graph.
        layers: the norm layers.
        initializers: name of the initializer that a slot is copied to, by slot.
    """
    folds: dict[str, Fold] = {}
    affine: dict[str, str] = {}
    scales = {initializers.get(layer.scale): layer.name for layer in layers if layer.kind == "batch"}
    for node in source.graph.node:
        layer = scales.get(node.input[1]) if node.op_type == "BatchNormalization" else None
        if layer is None:
            continue
        if source.readers[node.input[0]] == 1 and _carried(source, node.input[0]):
            folds[node.input[0]] = Fold(layer, node.output[0])
        else:
            affine[node.output[0]] = layer
    return BatchNorms(folds, affine)


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
