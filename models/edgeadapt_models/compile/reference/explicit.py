"""The graph with its slots written out: values set by name, folded layers as the nodes they stand for.

It shares the found layers with the compiler and nothing of how values get into files: no offsets, no folding,
no runtime optimisation, and moments are taken by numpy from the tensors themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper, numpy_helper

from edgeadapt.bundle import NormLayer, SlotValues
from edgeadapt.tensors import FloatArray
from edgeadapt_models.compile.analyse.sites import FoldedSite, NormSite, reduce_axes
from edgeadapt_models.compile.graph.edit import constant, fresh, insert_after, names
from edgeadapt_models.compile.graph.inputs import INPUT
from edgeadapt_models.compile.graph.outputs import OUTPUTS
from edgeadapt_models.compile.graph.place import AffinePlan, Named, Plan
from edgeadapt_models.compile.graph.probe import PROBE_OUTPUTS
from edgeadapt_models.compile.graph.run import run_graph
from edgeadapt_models.compile.reference.base import Compare, comparing


@dataclass(frozen=True, slots=True)
class Branched:
    """A graph in which prompts, adapters and the head have their values, as nodes of their own.

    Attributes:
        model: anew each time, to be changed.
        measured: tensors to measure in place of those that norm layers normalise.
    """

    model: onnx.ModelProto
    measured: Mapping[str, str]


Branches: TypeAlias = Callable[[SlotValues], Branched]
"""Makes one for values of any slots; those of norm layers are passed over."""


class ExplicitReference:
    """Knows outputs and moments for any values of any slots."""

    title = "the graph"

    def __init__(
        self,
        branches: Branches,
        found: Sequence[Named],
        plans: Sequence[Plan],
        layers: Sequence[NormLayer],
        base: SlotValues,
    ) -> None:
        """Everything as it was placed; `base` holds every slot of `layers`."""
        self._branches, self._found, self._layers, self._base = branches, tuple(found), tuple(layers), base
        self._affine = {plan.layer: plan for plan in plans if isinstance(plan, AffinePlan)}

    def expect(self, x: FloatArray, values: SlotValues) -> Compare:
        """Of every output; moments are those that the probe measures, of outputs for folded layers."""
        branched = self._branches(values)
        self._write(branched.model, values)
        sources = [entry.site.tensor for entry in self._found]
        tensors = [branched.measured.get(source, source) for source in sources]
        run = run_graph(branched.model, {INPUT: x}, dict.fromkeys([*OUTPUTS, *tensors]))
        expected: dict[str, npt.NDArray[np.float64]] = {name: run[name] for name in OUTPUTS}
        for name, power in zip(PROBE_OUTPUTS, (1, 2), strict=True):
            parts = [
                (run[tensor].astype(np.float64) ** power).mean(axis=reduce_axes(entry.site))
                for entry, tensor in zip(self._found, tensors, strict=True)
            ]
            expected[name] = np.concatenate(parts, axis=1)
        # Behind the layers' own channels there may be those of the signature's copy.
        return comparing(expected)

    def _write(self, model: onnx.ModelProto, values: SlotValues) -> None:
        """Give norm layers their values."""
        graph = model.graph
        held = {tensor.name: tensor for tensor in graph.initializer}
        for entry, layer in zip(self._found, self._layers, strict=True):
            full = {**self._base, **values}
            if isinstance(entry.site, NormSite):
                for _, name in entry.slots:
                    _set(held[name], full[name])
                continue
            gain, shift = _gain_and_shift(layer, full)
            if isinstance(entry.site, FoldedSite):
                _behind(graph, entry.site, entry.name, gain, shift)
            else:
                plan = self._affine[entry.name]
                _set(held[plan.scale], gain)
                _set(held[plan.shift], shift)


def _gain_and_shift(layer: NormLayer, values: SlotValues) -> tuple[FloatArray, FloatArray]:
    """(a, b) of a * x + b, as a layer with running statistics is defined."""
    scale, bias, mean, var = (
        values[name].astype(np.float64) for name in (layer.scale, layer.bias, layer.mean, layer.var)
    )
    gain = scale / np.sqrt(var + layer.epsilon)
    return gain.astype(np.float32), (bias - mean * gain).astype(np.float32)


def _set(tensor: onnx.TensorProto, value: FloatArray) -> None:
    shaped = value.astype(np.float32).reshape(tuple(tensor.dims))
    tensor.CopyFrom(numpy_helper.from_array(shaped, tensor.name))


def _behind(
    graph: onnx.GraphProto, site: FoldedSite, layer: str, gain: FloatArray, shift: FloatArray
) -> None:
    """Multiply and add behind a folded layer's output, which keeps its name."""
    taken = names(graph)
    raw, scaled = fresh(f"{layer}/raw", taken), fresh(f"{layer}/scaled", taken)
    shape = [1] * (site.rank - site.axis)
    shape[0] = site.channels
    factor = constant(graph, fresh(f"{layer}/factor", taken), gain.reshape(shape))
    summand = constant(graph, fresh(f"{layer}/summand", taken), shift.reshape(shape))
    maker = next(node for node in graph.node if site.tensor in node.output)
    maker.output[:] = [raw if name == site.tensor else name for name in maker.output]
    nodes = [
        helper.make_node("Mul", [raw, factor], [scaled], name=scaled),
        helper.make_node("Add", [scaled, summand], [site.tensor], name=f"{layer}/shifted"),
    ]
    insert_after(graph, raw, nodes)
