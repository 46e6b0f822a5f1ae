"""Where extras join the compiler: what they need to know of a graph, and what they leave to be measured."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx

from edgeadapt.bundle import InputSpec
from edgeadapt.tensors import FloatArray
from edgeadapt_models.compile.analyse.head import Head
from edgeadapt_models.compile.analyse.sites import reduce_axes
from edgeadapt_models.compile.extras.build import Ground
from edgeadapt_models.compile.extras.plan import ProbePart
from edgeadapt_models.compile.graph.inputs import INPUT
from edgeadapt_models.compile.graph.outputs import EMBEDDING
from edgeadapt_models.compile.graph.place import AffinePlan, FoldPlan, Named, Plan
from edgeadapt_models.compile.graph.probe import Measured
from edgeadapt_models.compile.graph.run import run_graph, shapes_of


def ground_of(
    model: onnx.ModelProto,
    layers: Sequence[Named],
    plans: Sequence[Plan],
    head: Head | None,
    spec: InputSpec,
    x: FloatArray,
) -> Ground:
    """What extras need to know of a graph whose norm layers have been placed.

    Args:
        model: the graph; not changed.
        layers: its norm layers.
        plans: what is written for them.
        head: the classifier head.
        spec: the input.
        x: float32 [N, *shape]: some source data, a few frames.
    """
    shapes = shapes_of(run_graph(model, {INPUT: x[:2]}))  # every tensor is held at once: of two frames
    embedding = run_graph(model, {INPUT: x}, [EMBEDDING])[EMBEDDING]
    written: set[str] = set()
    for plan in plans:
        if isinstance(plan, FoldPlan):
            written |= {plan.weight, plan.bias}
        elif isinstance(plan, AffinePlan):
            written |= {plan.scale, plan.shift}
        else:
            written.add(plan.slot)
    return Ground(
        model=model,
        shapes=shapes,
        norms=tuple(layer.site.tensor for layer in layers),
        written=frozenset(written),
        slot_names=frozenset(name for layer in layers for _, name in layer.slots),
        head=head,
        embedding_scale=float(np.abs(embedding).max()),
        input_scale=1.0 if spec.kind == "image" else float(np.abs(x).max(initial=1.0)),
    )


def measured_tensors(layers: Sequence[Named], probe: ProbePart) -> tuple[Measured, ...]:
    """What the probe measures: every norm layer, then the signature's copy where there is one."""
    tensors = [
        Measured(
            probe.measured.get(layer.site.tensor, layer.site.tensor),
            layer.site.channels,
            reduce_axes(layer.site),
        )
        for layer in layers
    ]
    if probe.signature:
        first = layers[0].site
        tensors.append(Measured(probe.signature, first.channels, reduce_axes(first)))
    return tuple(tensors)
