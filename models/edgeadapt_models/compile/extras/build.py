"""Build what is asked for into a graph; the order in which this is done is what makes the kinds compose.

Folded adapters first (they change no node), then what puts nodes into the graph, then the prompt, then the
copy of its first layers for the signature, last the head. Nothing that is written may lie before the first
norm layer.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

import onnx

from edgeadapt.errors import CompileError
from edgeadapt_models.compile.analyse.head import Head
from edgeadapt_models.compile.extras.kinds.bottleneck import add_bottlenecks
from edgeadapt_models.compile.extras.kinds.convolution import add_conv_adapters
from edgeadapt_models.compile.extras.kinds.head import add_head_slots
from edgeadapt_models.compile.extras.kinds.low_rank import add_low_rank
from edgeadapt_models.compile.extras.kinds.prompt import add_prompt
from edgeadapt_models.compile.extras.kinds.tokens import add_tokens
from edgeadapt_models.compile.extras.plan import Extras, ProbePart
from edgeadapt_models.compile.extras.request import AdapterRequest, ExtrasRequest
from edgeadapt_models.compile.extras.signature import shielded
from edgeadapt_models.compile.extras.workpiece import Workpiece, ancestors


@dataclass(frozen=True, slots=True)
class Ground:
    """A graph that is ready to be laid out, and what is known of it.

    Attributes:
        model: tidy; not changed.
        shapes: of every tensor that depends on the input, at some batch size.
        norms: the tensors that norm layers normalise, in order of execution.
        written: initializers that norm layers' writes change.
        slot_names: names that are taken.
        head: the linear last step, or None.
        embedding_scale: largest magnitude of the embedding of some source images.
        input_scale: largest magnitude of the input: 1 for images; a prompt may be as large.
    """

    model: onnx.ModelProto
    shapes: Mapping[str, tuple[int, ...]]
    norms: tuple[str, ...]
    written: Collection[str]
    slot_names: Collection[str]
    head: Head | None
    embedding_scale: float
    input_scale: float = 1.0


def add_extras(ground: Ground, request: ExtrasRequest) -> Extras:
    """Build prompts, adapters and head slots into a copy of the graph.

    Raises:
        CompileError: something that was asked for cannot be had from this model; says what it has.
    """
    work = Workpiece(ground.model, ground.shapes, ground.slot_names)
    nodes_before = len(work.model.graph.node)
    done = ancestors(work.view, ground.norms[0]) | ({ground.head.node} if ground.head else frozenset())
    for adapter in request.adapters:
        if adapter.kind == "conv":
            done |= add_conv_adapters(work, adapter, done)
        elif adapter.kind == "lowrank":
            done |= add_low_rank(work, adapter, done)
    probe = _add_nodes(work, request, ground.norms)
    if request.prompt is not None:
        probe = _add_prompt(work, request, ground, probe)
    if request.head:
        if ground.head is None:
            work.notes.append("the last step of this model is not linear: no slots for its head")
        else:
            add_head_slots(work, ground.head, ground.embedding_scale)
    return Extras(
        model=work.model,
        slots=tuple(work.slots),
        base=work.base,
        planned=tuple(work.planned),
        probe=probe,
        added_nodes=len(work.model.graph.node) - nodes_before,
        notes=tuple(work.notes),
    )


def _add_nodes(work: Workpiece, request: ExtrasRequest, norms: tuple[str, ...]) -> ProbePart:
    """Bottlenecks, then tokens; at most one of each."""
    for adapter in _single(request, "bottleneck"):
        add_bottlenecks(work, adapter, norms[0])
    for adapter in _single(request, "tokens"):
        inserted = add_tokens(work, adapter.size, norms)
        return ProbePart(inserted.nodes, inserted.initializers, inserted.measured)
    return ProbePart()


def _single(request: ExtrasRequest, kind: str) -> list[AdapterRequest]:
    found = [adapter for adapter in request.adapters if adapter.kind == kind]
    if len(found) > 1:
        raise CompileError(f"--adapters {kind} is given {len(found)} times; once is enough")
    return found


def _add_prompt(work: Workpiece, request: ExtrasRequest, ground: Ground, probe: ProbePart) -> ProbePart:
    assert request.prompt is not None
    name = work.model.graph.input[0].name
    prompted = add_prompt(work, request.prompt, name, ground.input_scale)
    measured = dict(probe.measured)
    if name in ground.norms:  # A layer that normalises the input itself takes it with the prompt from now on.
        measured[name] = prompted.tensor
    # The first norm layer's input, where learnt tokens are not in it yet.
    first = measured.get(ground.norms[0], ground.norms[0])
    shield = shielded(work, prompted, first, ground.written)
    return replace(
        shield,
        nodes=(*probe.nodes, *shield.nodes),
        measured=measured,
        initializers=(*probe.initializers, *shield.initializers),
    )
