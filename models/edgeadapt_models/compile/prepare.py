"""From a draft to a graph in which everything that can be adapted is known, whatever the model's source.

Steps, each in a file of its own: our input (`graph.inputs`), constants and clutter (`graph.tidy`), an open
batch axis (`graph.batch`), our outputs (`graph.outputs`), and the search (`analyse`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import onnx

from edgeadapt.errors import CompileError
from edgeadapt.tensors import FloatArray
from edgeadapt_models.compile.analyse.findings import Findings, FoldedLayers, analyse, find_embedding
from edgeadapt_models.compile.analyse.naming import name_layers, stem
from edgeadapt_models.compile.analyse.sites import NormSite, Site, Unusable
from edgeadapt_models.compile.graph.batch import check_batch, open_batch
from edgeadapt_models.compile.graph.edit import fresh
from edgeadapt_models.compile.graph.inputs import INPUT, given_input, settle_input
from edgeadapt_models.compile.graph.outputs import (
    LOGITS,
    declare_outputs,
    flatten_logits,
    settle_outputs,
    strip_probabilities,
)
from edgeadapt_models.compile.graph.place import Named
from edgeadapt_models.compile.graph.run import run_graph, shapes_of
from edgeadapt_models.compile.graph.tidy import tidy
from edgeadapt_models.compile.source.draft import Draft, Owners
from edgeadapt_models.compile.source.modules import settle_owners

_PROBABILITY_TOLERANCE = 1e-3


@dataclass(frozen=True, slots=True)
class Prepared:
    """A graph that is ready to have its slots placed.

    Attributes:
        model: tidy, with our input and outputs.
        shapes: of every tensor that depends on the input, for a batch of two.
        layers: what can be adapted, in order of execution, with names.
        findings: the same with the head and with what was passed over.
        embedding_dim: D.
        notes: for people.
    """

    model: onnx.ModelProto
    shapes: Mapping[str, tuple[int, ...]]
    layers: tuple[Named, ...]
    findings: Findings
    embedding_dim: int
    notes: tuple[str, ...]


def prepare(draft: Draft, x: FloatArray, *, classes: int, folded: FoldedLayers = "auto") -> Prepared:
    """Make a draft ready; it is not changed.

    Args:
        draft: the model.
        x: float32 [N, *shape], N >= 2: some source data.
        classes: K.
        folded: which layers without a norm layer of their own to use.

    Raises:
        CompileError: the model cannot become a bundle; says what was found and what to do.
    """
    model = onnx.ModelProto()
    model.CopyFrom(draft.model)
    given = given_input(model)
    notes = [*draft.notes, *settle_input(model, given, draft.spec, draft.layout, draft.preprocessing)]
    notes += tidy(model)
    pair = x[:2]
    if given.dims[0] is not None or not _takes_batches(model, pair):
        _open_batch(model, pair)
        notes.append("the batch axis was fixed and is open now")
    notes += strip_probabilities(model.graph)
    notes += _settle_outputs(model, pair)
    shapes = _shapes(model, pair)
    embedding_dim = declare_outputs(model, shapes)
    findings = analyse(model, shapes, logits=LOGITS, folded=folded)
    layers, passed_over = _name(model.graph, findings.sites, draft.owners)
    if draft.owners is not None:
        settle_owners(model, draft.owners)
    check_batch(model, pair)
    _check_logits(model, x, shapes, classes)
    if not layers:
        reasons = "; ".join(f"{entry.operator} ({entry.node}): {entry.reason}" for entry in passed_over)
        raise CompileError(f"no layer of this model can be adapted: {reasons}")
    sites = tuple(layer.site for layer in layers)
    findings = Findings(sites, (*findings.unusable, *passed_over), findings.head)
    return Prepared(model, shapes, layers, findings, embedding_dim, tuple(notes))


def _shapes(model: onnx.ModelProto, x: FloatArray) -> dict[str, tuple[int, ...]]:
    return shapes_of(run_graph(model, {INPUT: x}))


def _takes_batches(model: onnx.ModelProto, pair: FloatArray) -> bool:
    """False for a model that says so and has its example's batch of 1 written inside."""
    try:
        run_graph(model, {INPUT: pair}, [output.name for output in model.graph.output])
    except CompileError:
        return False
    return True


def _open_batch(model: onnx.ModelProto, pair: FloatArray) -> None:
    open_batch(model, _shapes(model, pair[:1]))
    check_batch(model, pair)


def _settle_outputs(model: onnx.ModelProto, pair: FloatArray) -> tuple[str, ...]:
    """Logits and embedding under our names; notes for people."""
    shapes = _shapes(model, pair)
    flatten_logits(model.graph, shapes)
    if len(model.graph.output) > 1:
        settle_outputs(model, None)
        return ()
    shapes = _shapes(model, pair)
    embedding, notes = find_embedding(model, shapes, model.graph.output[0].name)
    settle_outputs(model, embedding)
    return notes


def _check_logits(
    model: onnx.ModelProto, x: FloatArray, shapes: Mapping[str, tuple[int, ...]], classes: int
) -> None:
    if shapes[LOGITS][1] != classes:
        raise CompileError(f"the model has {shapes[LOGITS][1]} outputs, but {classes} class names were given")
    logits = run_graph(model, {INPUT: x}, [LOGITS])[LOGITS]
    sums = np.abs(logits.sum(axis=1) - 1.0)
    if np.isfinite(logits).all() and logits.min() >= 0.0 and sums.max() < _PROBABILITY_TOLERANCE:
        raise CompileError(
            "the model returns probabilities (they are positive and sum to 1), and how it makes them is not "
            "recognised: give the tensor before they are made as --logits, or export the model without its "
            "softmax"
        )


def _name(
    graph: onnx.GraphProto, sites: tuple[Site, ...], owners: Owners | None
) -> tuple[tuple[Named, ...], tuple[Unusable, ...]]:
    """The layers with their names, and what a torch module has no parameters for."""
    found = name_layers(graph, sites)
    layers: list[Named] = []
    passed_over: list[Unusable] = []
    for site, (name, slots) in zip(sites, found, strict=True):
        if owners is not None and isinstance(site, NormSite):
            entry = _owned(site, owners, layers)
            if isinstance(entry, Unusable):
                passed_over.append(entry)
            else:
                layers.append(entry)
            continue
        values = site.values if isinstance(site, NormSite) else ()
        base = {slot: value.value for (_, slot), value in zip(slots, values, strict=False)}
        layers.append(Named(name, site, slots, base))
    return tuple(layers), tuple(passed_over)


def _owned(site: NormSite, owners: Owners, before: list[Named]) -> Named | Unusable:
    """A layer with the names and values of the module's parameters."""
    names = tuple(owners.owner(value.value) for value in site.values)
    if not all(names):
        reason = "its values are no parameters of the module that belong to it alone"
        return Unusable(site.node, site.operator, f"{reason}: use a norm module, not its functional form")
    name = fresh(stem(names) or "norm", {layer.name for layer in before})
    if any(slot in names for layer in before for _, slot in layer.slots):
        raise CompileError(
            f"norm layer {stem(names)!r} runs more than once per forward pass; each place needs a layer and "
            "statistics of its own: give it a copy for each, or compile an exported program or ONNX file of "
            "the model, in which its places are parted"
        )
    slots = tuple((value.kind, slot) for value, slot in zip(site.values, names, strict=True))
    return Named(name, site, slots, {slot: owners.values[slot] for slot in names})
