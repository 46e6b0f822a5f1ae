"""What extras come to: slots, their base values, and writes that name tensors until a file is laid out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import msgspec
import onnx

from edgeadapt.bundle import Region, Slot, Write
from edgeadapt.tensors import FloatArray
from edgeadapt_models.compile.graph.wire_walk import initializer_spans


@dataclass(frozen=True, slots=True)
class Planned:
    """A write on initializers of an ONNX graph.

    Attributes:
        write: complete but for the offsets of its regions, which count bytes from the start of their tensor.
        tensors: which initializer each region lies in, by the region's field of the write.
    """

    write: Write
    tensors: Mapping[str, str]

    def placed(self, offset_of: Callable[[str], int]) -> Write:
        """The write for a file in which the initializer `name` begins at byte `offset_of(name)`."""
        regions: dict[str, Region] = {}
        for name, tensor in self.tensors.items():
            region: Region = getattr(self.write, name)
            regions[name] = msgspec.structs.replace(region, offset=region.offset + offset_of(tensor))
        return msgspec.structs.replace(self.write, **regions)


@dataclass(frozen=True, slots=True)
class ProbePart:
    """What the probe graph has besides the moments of the norm layers; goes into the suffix.

    Attributes:
        nodes: in order of execution; they read the graph and each other.
        initializers: constants of theirs.
        measured: tensors to measure in place of those that norm layers normalise.
        signature: a copy of what the first norm layer normalises that no slot reaches; "" when that is so of
            the original.
    """

    nodes: tuple[onnx.NodeProto, ...] = ()
    initializers: tuple[onnx.TensorProto, ...] = ()
    measured: Mapping[str, str] = field(default_factory=dict)
    signature: str = ""

    def suffix(self) -> bytes:
        """The nodes as a message to put behind the model, in front of those that measure."""
        graph = onnx.GraphProto()
        graph.node.extend(self.nodes)
        graph.initializer.extend(self.initializers)
        data: bytes = onnx.ModelProto(graph=graph).SerializeToString(deterministic=True)
        return data if self.nodes else b""


@dataclass(frozen=True, slots=True)
class Extras:
    """A graph with further slots.

    Attributes:
        model: the changed graph.
        slots: in the order in which they were asked for.
        base: the base value of every slot.
        planned: their writes; they come before those of the norm layers, which scale what adapters add.
        probe: for the probe's suffix.
        added_nodes: how many nodes of the fast graph are new; 0 when everything folds.
        notes: for people.
    """

    model: onnx.ModelProto
    slots: tuple[Slot, ...]
    base: Mapping[str, FloatArray]
    planned: tuple[Planned, ...]
    probe: ProbePart
    added_nodes: int
    notes: tuple[str, ...]

    def writes(self, data: bytes) -> tuple[Write, ...]:
        """The writes for the model's bytes."""
        spans = initializer_spans(data)
        return tuple(planned.placed(lambda name: spans[name].offset) for planned in self.planned)
