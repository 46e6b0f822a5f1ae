"""All that can be adapted in a graph: the one question that compiling asks of any model.

The graph must be tidy (`graph.tidy`: constants are initializers, no subgraphs) and its outputs known. Layers
come in order of execution. Which folded layers count is a choice: "auto" takes them only where no norm layer
was found, since a model with norm layers has better places, and every layer costs probe time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import onnx

from edgeadapt.errors import CompileError
from edgeadapt_models.compile.analyse.channels import find_channels
from edgeadapt_models.compile.analyse.head import Embedding, Head, find_head, last_product
from edgeadapt_models.compile.analyse.operators import find_norms
from edgeadapt_models.compile.analyse.sites import Site, Unusable
from edgeadapt_models.compile.analyse.view import GraphView

FoldedLayers: TypeAlias = Literal["auto", "always", "never"]
Shapes: TypeAlias = Mapping[str, Sequence[int]]


@dataclass(frozen=True, slots=True)
class Findings:
    """What a graph holds.

    Attributes:
        sites: usable layers in order of execution; at least one.
        unusable: what was passed over, with reasons.
        head: the classifier head; None when the last step is not linear.
    """

    sites: tuple[Site, ...]
    unusable: tuple[Unusable, ...]
    head: Head | None


def analyse(
    model: onnx.ModelProto, shapes: Shapes, *, logits: str, folded: FoldedLayers = "auto"
) -> Findings:
    """Search a graph.

    Args:
        model: a tidy graph.
        shapes: of every tensor that depends on the input, at some batch size.
        logits: the output [N, K].
        folded: which layers without a norm layer of their own to use.

    Raises:
        CompileError: nothing can be adapted; says what is there.
    """
    view = GraphView(model.graph, shapes)
    head = find_head(view, logits)
    norms = list(find_norms(view))
    sites: list[Site] = [entry for entry in norms if not isinstance(entry, Unusable)]
    unusable = [entry for entry in norms if isinstance(entry, Unusable)]
    if folded == "always" or (folded == "auto" and not sites):
        normalised = {site.tensor for site in sites}
        for entry in find_channels(view, normalised, "" if head is None else head.node):
            if isinstance(entry, Unusable):
                unusable.append(entry)
            else:
                sites.append(entry)
    if not sites:
        raise CompileError(_nothing(model, unusable))
    places = {node.output[0]: index for index, node in enumerate(view.nodes)}
    sites.sort(key=lambda site: places[site.node])
    return Findings(tuple(sites), tuple(unusable), head)


def find_embedding(model: onnx.ModelProto, shapes: Shapes, logits: str) -> tuple[Embedding, tuple[str, ...]]:
    """Where the embedding of a model that returns only logits comes from, with notes for people.

    Raises:
        CompileError: nothing with weights lies before the logits.
    """
    view = GraphView(model.graph, shapes)
    head = find_head(view, logits)
    if head is not None:
        shape = view.shape(head.source) or ()
        return Embedding(head.source, head.form, tuple(range(2, len(shape)))), ()
    last = last_product(view, logits)
    if last is None:
        raise CompileError(
            "no embedding: nothing with weights lies before the logits; name a tensor (--embedding); "
            f"found: {describe(model)}"
        )
    note = f"the last step is not linear: the embedding is the input of the last product ({last.source})"
    return last, (note,)


def describe(model: onnx.ModelProto) -> str:
    """The operators of a graph with their counts: "Conv x3, Gemm x1"."""
    counts: dict[str, int] = {}
    for node in model.graph.node:
        counts[node.op_type] = counts.get(node.op_type, 0) + 1
    return ", ".join(f"{name} x{count}" for name, count in sorted(counts.items())) or "nothing"


def _nothing(model: onnx.ModelProto, unusable: Sequence[Unusable]) -> str:
    reasons = "".join(f"; {entry.operator} ({entry.node}): {entry.reason}" for entry in unusable)
    return (
        "no norm layer and no convolution of this model can be adapted (the classifier head is left to the "
        f"cloud){reasons}; found: {describe(model)}"
    )
