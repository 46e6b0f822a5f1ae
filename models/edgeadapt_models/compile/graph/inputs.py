"""A model's input, whatever its exporter called it, made ours: "input", float32, images as NCHW in [0, 1].

Nodes are put in front where the model wants something else: other axes, 0..255, integers, a mean and a
standard deviation. A model that takes NHWC and begins by turning it to NCHW loses that Transpose.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
import onnx
from onnx import TensorProto, helper

from edgeadapt.bundle import InputSpec
from edgeadapt.errors import CompileError
from edgeadapt_models.compile.graph.edit import constant, fresh, names, redirect, rename

INPUT = "input"
Layout: TypeAlias = Literal["NCHW", "NHWC"]
_TO_NHWC, _TO_NCHW = [0, 2, 3, 1], [0, 3, 1, 2]
_FLOATS = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.DOUBLE)


@dataclass(frozen=True, slots=True)
class Preprocessing:
    """What a model wants done to an image in [0, 1] before it: (scale * x - mean) / std per channel.

    Attributes:
        mean: empty for 0, or one per channel.
        std: empty for 1, or one per channel.
        scale: 255 for a model that takes 0..255.

    Raises:
        CompileError: a factor is 0 or not finite, or mean and std differ in length.
    """

    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    scale: float = 1.0

    def __post_init__(self) -> None:
        numbers = (*self.mean, *self.std, self.scale)
        if not np.isfinite(numbers).all() or 0.0 in self.std or self.scale == 0.0:
            raise CompileError(f"mean, std and scale must be finite, std and scale not 0: {self}")

    def factors(self, channels: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """(gain, offset) per channel: the model is given gain * x + offset; raises CompileError."""
        for name, values in (("mean", self.mean), ("std", self.std)):
            if values and len(values) != channels:
                raise CompileError(f"{name} has {len(values)} values, the input has {channels} channels")
        mean, std = self.mean or (0.0,) * channels, self.std or (1.0,) * channels
        gain = tuple(self.scale / deviation for deviation in std)
        return gain, tuple(-m / deviation for m, deviation in zip(mean, std, strict=True))


@dataclass(frozen=True, slots=True)
class GivenInput:
    """The one input of a file.

    Attributes:
        name: as in the file.
        kind: its element type, a value of TensorProto.DataType.
        dims: its dimensions, None for each that is open.
    """

    name: str
    kind: int
    dims: tuple[int | None, ...]

    @property
    def described(self) -> str:
        """For people: "float [N, 3, ?, ?]"."""
        sizes = ["N", *("?" if size is None else str(size) for size in self.dims[1:])]
        return f"{TensorProto.DataType.Name(self.kind).lower()} [{', '.join(sizes)}]"


def given_input(model: onnx.ModelProto) -> GivenInput:
    """The input of a model; raises CompileError unless there is exactly one, a tensor of numbers."""
    constants = {tensor.name for tensor in model.graph.initializer}
    found = [value for value in model.graph.input if value.name not in constants]
    if len(found) != 1:
        listed = ", ".join(repr(value.name) for value in found) or "none"
        raise CompileError(f"the model must have one input, this one has: {listed}")
    kind = found[0].type.tensor_type
    if kind.elem_type not in (*_FLOATS, TensorProto.UINT8) or not kind.HasField("shape"):
        name = TensorProto.DataType.Name(kind.elem_type).lower()
        shape = "" if kind.HasField("shape") else " of unknown shape"
        raise CompileError(
            f"input {found[0].name!r} is {name}{shape}; it must be float or uint8, of a known shape"
        )
    dims = tuple(int(d.dim_value) if d.dim_value > 0 else None for d in kind.shape.dim)
    if dims and dims[0] not in (None, 1):
        raise CompileError(
            f"the model takes batches of {dims[0]} only: export it with a dynamic one, or for one input"
        )
    if len(dims) < 2:
        raise CompileError(f"input {found[0].name!r} has the shape {list(dims)}: a batch axis is missing")
    return GivenInput(found[0].name, int(kind.elem_type), dims)


def guess_layout(given: GivenInput) -> Layout:
    """NHWC for four axes of which only the last looks like channels."""
    if len(given.dims) == 4 and given.dims[3] in (1, 3, 4) and given.dims[1] not in (1, 3):
        return "NHWC"
    return "NCHW"


def given_shape(given: GivenInput, layout: Layout) -> tuple[int | None, ...]:
    """One input's shape as we order it: (C, H, W) for images."""
    sizes = given.dims[1:]
    return (sizes[2], sizes[0], sizes[1]) if layout == "NHWC" and len(sizes) == 3 else sizes


def settle_input(
    model: onnx.ModelProto, given: GivenInput, spec: InputSpec, layout: Layout, wanted: Preprocessing
) -> tuple[str, ...]:
    """Make the model take what `spec` says; in place.

    Returns:
        Notes for people.

    Raises:
        CompileError: the shapes do not fit.
    """
    expected = given_shape(given, layout)
    if len(expected) != len(spec.shape) or any(
        have is not None and have != want for have, want in zip(expected, spec.shape, strict=False)
    ):
        raise CompileError(f"the model takes {given.described} ({layout}), not inputs of shape {spec.shape}")
    graph, notes = model.graph, []
    rename(graph, {INPUT: fresh(f"{INPUT}/given", names(graph))} if given.name != INPUT else {})
    rename(graph, {given.name: INPUT})
    _declare(graph, spec)
    inner, nodes = INPUT, []
    if spec.kind == "image":
        nodes += _arithmetic(graph, spec, given, wanted)
    elif wanted != Preprocessing() or given.kind == TensorProto.UINT8:
        raise CompileError("mean, std, scale and integer inputs are for images; arrays go in as they are")
    if given.kind in (TensorProto.UINT8, TensorProto.DOUBLE):
        nodes.append(helper.make_node("Cast", [""], [""], to=given.kind))
        notes.append(f"the input is cast to {TensorProto.DataType.Name(given.kind).lower()}")
    if layout == "NHWC" and len(spec.shape) == 3:
        nodes.append(helper.make_node("Transpose", [""], [""], perm=_TO_NHWC))
        kept = "its own Transpose is gone" if _turns(graph) else "a Transpose stands in front"
        notes.append(f"the model takes NHWC: {kept}")
    _chain(graph, inner, nodes)
    _cancel_transposes(graph)
    return tuple(notes)


def _declare(graph: onnx.GraphProto, spec: InputSpec) -> None:
    del graph.input[:]
    shape = ["batch", *spec.shape]
    graph.input.append(helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, shape))


def _arithmetic(
    graph: onnx.GraphProto, spec: InputSpec, given: GivenInput, wanted: Preprocessing
) -> list[onnx.NodeProto]:
    integers = given.kind == TensorProto.UINT8
    chosen = Preprocessing(scale=255.0) if integers and wanted == Preprocessing() else wanted
    gain, offset = chosen.factors(spec.channels)
    taken = names(graph)
    nodes: list[onnx.NodeProto] = []
    for operator, name, values, neutral in (("Mul", "gain", gain, 1.0), ("Add", "offset", offset, 0.0)):
        if any(value != neutral for value in values):
            array = np.array(values, np.float32).reshape(1, -1, 1, 1)
            held = constant(graph, fresh(f"{INPUT}/{name}", taken), array)
            nodes.append(helper.make_node(operator, ["", held], [""]))
    if integers:
        nodes.append(helper.make_node("Round", [""], [""]))
    return nodes


def _chain(graph: onnx.GraphProto, source: str, nodes: list[onnx.NodeProto]) -> None:
    """Put nodes between the input and whoever reads it."""
    taken = names(graph)
    tensors = [fresh(f"{INPUT}/{node.op_type.lower()}", taken) for node in nodes]
    if tensors:
        redirect(graph, {source: tensors[-1]})
    for index, (node, tensor) in enumerate(zip(nodes, tensors, strict=True)):
        node.input[0] = source if index == 0 else tensors[index - 1]
        node.output[0] = node.name = tensor
        graph.node.insert(index, node)


def _turns(graph: onnx.GraphProto) -> bool:
    """Whether every reader of the input turns it to NCHW first."""
    readers = [node for node in graph.node if INPUT in node.input]
    return bool(readers) and all(_permutation(node) == _TO_NCHW for node in readers)


def _cancel_transposes(graph: onnx.GraphProto) -> None:
    """NHWC and straight back: whoever reads the second Transpose reads what went into the first."""
    made = {node.output[0]: node for node in graph.node if _permutation(node) == _TO_NHWC}
    table = {
        node.output[0]: made[node.input[0]].input[0]
        for node in graph.node
        if _permutation(node) == _TO_NCHW and node.input[0] in made
    }
    redirect(graph, table)


def _permutation(node: onnx.NodeProto) -> list[int]:
    if node.op_type != "Transpose":
        return []
    return next((list(entry.ints) for entry in node.attribute if entry.name == "perm"), [])
