"""The float artifact as it is read for quantisation: its graph, and which writes touch which constant.

Everything needed is in the artifact itself: a write says where its tensors lie in the file, and a region of
the file is an initializer. So it does not matter whether a norm layer is still a node or folded already, nor
who exported the model.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import numpy_helper

from edgeadapt.bundle import Artifact, NormLayer, Region, SlotValues, Write, materialise
from edgeadapt.bundle.writes import regions
from edgeadapt.errors import CompileError
from edgeadapt_models.compile.graph.wire_walk import initializer_spans

MIN_OPSET = 13
"""First in which DequantizeLinear takes a scale per channel."""


@dataclass(frozen=True)
class FloatArtifact:
    """A float32 ONNX artifact of a bundle, as the bundle will hold it.

    Attributes:
        model: bytes of its file, raw (before its writes have run).
        probe: bytes of its probe suffix.
        artifact: its description.
        layers: the bundle's norm layers.
        base: base value of every slot.
    """

    model: bytes
    probe: bytes
    artifact: Artifact
    layers: tuple[NormLayer, ...]
    base: SlotValues

    def base_model(self) -> onnx.ModelProto:
        """The graph with its base values written in: what can be run."""
        return onnx.load_from_string(materialise(self.model, self.artifact, self.layers, {}, self.base))


class FloatGraph:
    """Indices over the raw graph of a `FloatArtifact`; nothing of it is changed."""

    def __init__(self, source: FloatArtifact) -> None:
        """Raises CompileError when the opset is too old."""
        self.source = source
        self.model = onnx.load_from_string(source.model)
        self.nodes = tuple(self.model.graph.node)
        self.outputs = frozenset(output.name for output in self.model.graph.output)
        self.opset = next(
            entry.version for entry in self.model.opset_import if entry.domain in ("", "ai.onnx")
        )
        if self.opset < MIN_OPSET:
            raise CompileError(
                f"8 bits per channel need opset {MIN_OPSET} or newer, the model has {self.opset}"
            )
        self._initializers = {tensor.name: tensor for tensor in self.model.graph.initializer}
        self._producers = {name: node for node in self.nodes for name in node.output if name}
        self._readers: dict[str, list[onnx.NodeProto]] = {}
        for node in self.nodes:
            for name in set(node.input):
                self._readers.setdefault(name, []).append(node)
        spans = initializer_spans(source.model)
        self._named = {span.offset: name for name, span in spans.items()}
        self._writes: dict[str, list[Write]] = {}
        for write in source.artifact.writes:
            for region in regions(write):
                self._writes.setdefault(self.name_at(region), []).append(write)

    def name_at(self, region: Region) -> str:
        """The initializer that lies at a region of the file."""
        name = self._named.get(region.offset)
        if name is None:
            raise CompileError(f"a write of {self.source.artifact.file} points at no constant of the graph")
        return name

    def writes_on(self, name: str) -> tuple[Write, ...]:
        """The writes that read or change an initializer."""
        return tuple(self._writes.get(name, ()))

    def is_constant(self, name: str) -> bool:
        """True for an initializer."""
        return name in self._initializers

    def constants(self) -> tuple[str, ...]:
        """Names of all initializers."""
        return tuple(self._initializers)

    def constant(self, name: str) -> npt.NDArray[Any] | None:
        """The raw value of an initializer, else None."""
        tensor = self._initializers.get(name)
        return None if tensor is None else np.asarray(numpy_helper.to_array(tensor))

    def initializer(self, name: str) -> onnx.TensorProto:
        """An initializer as it is stored; raises KeyError when it is none."""
        return self._initializers[name]

    def readers(self, tensor: str) -> tuple[onnx.NodeProto, ...]:
        """The nodes that read a tensor."""
        return tuple(self._readers.get(tensor, ()))

    def producer(self, tensor: str) -> onnx.NodeProto | None:
        """The node that makes a tensor, None for inputs and constants."""
        return self._producers.get(tensor)

    def only_reader(self, tensor: str, *operators: str) -> onnx.NodeProto | None:
        """The one node that reads `tensor`, if nobody else does, it is no output and is of `operators`."""
        found = self._readers.get(tensor, [])
        if len(found) == 1 and tensor not in self.outputs and found[0].op_type in operators:
            return found[0]
        return None

    def rank(self, tensor: str) -> int | None:
        """Number of axes, None when it cannot be inferred."""
        return self._ranks.get(tensor)

    @cached_property
    def _ranks(self) -> dict[str, int]:
        graph = onnx.shape_inference.infer_shapes(self.model).graph
        values = [*graph.input, *graph.value_info, *graph.output]
        return {
            value.name: len(value.type.tensor_type.shape.dim)
            for value in values
            if value.type.tensor_type.HasField("shape")
        }


def attribute(node: onnx.NodeProto, name: str, default: Any) -> Any:
    """The value of an attribute, or `default`."""
    for entry in node.attribute:
        if entry.name == name:
            return onnx.helper.get_attribute_value(entry)
    return default
