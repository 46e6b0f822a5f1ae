"""A model as its source gives it, before anything is searched for or changed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import onnx

from edgeadapt.bundle import InputSpec
from edgeadapt.tensors import FloatArray
from edgeadapt_models.compile.graph.inputs import Layout, Preprocessing
from edgeadapt_models.compile.reference.base import Reference


@dataclass(frozen=True, slots=True)
class Owners:
    """Which parameter of a torch module a constant of its graph is.

    Attributes:
        names: a constant's float32 bytes, to the parameter's name; only those that tell parameters apart.
        values: the parameters' true values, float32 of one axis: a graph may hold stand-ins that differ from
            each other where the true values do not.
    """

    names: Mapping[bytes, str]
    values: Mapping[str, FloatArray]

    def owner(self, value: FloatArray) -> str:
        """The parameter's name, "" when it is not known."""
        return self.names.get(value.tobytes(), "")


@dataclass(frozen=True, slots=True)
class Draft:
    """A model on its way to a bundle.

    Attributes:
        model: its graph, with one input; its first output holds the logits or what was made of them, and a
            second one, if there is one, the embedding.
        spec: what it is to take.
        reference: what it is compared with in the end.
        layout: order of the axes of its own input.
        preprocessing: what is to be done to an image before it.
        owners: for the graph of a torch module; its slots are named after the module's parameters.
        notes: for people.
    """

    model: onnx.ModelProto
    spec: InputSpec
    reference: Reference
    layout: Layout = "NCHW"
    preprocessing: Preprocessing = field(default_factory=Preprocessing)
    owners: Owners | None = None
    notes: tuple[str, ...] = ()
