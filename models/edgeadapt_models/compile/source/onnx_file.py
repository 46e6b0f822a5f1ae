"""An ONNX file that someone else exported, as a draft.

Reading is strict: what is no ONNX file, is cut short, or lacks its external data is refused with the reason.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

from edgeadapt.bundle import InputSpec
from edgeadapt.errors import CompileError
from edgeadapt.tensors import FloatArray
from edgeadapt_models.compile.graph.edit import fresh, names, opset
from edgeadapt_models.compile.graph.half import to_single
from edgeadapt_models.compile.graph.inputs import (
    Layout,
    Preprocessing,
    given_input,
    given_shape,
    guess_layout,
)
from edgeadapt_models.compile.graph.outputs import choose_outputs
from edgeadapt_models.compile.graph.run import run_graph, shapes_of
from edgeadapt_models.compile.graph.tidy import check_opset
from edgeadapt_models.compile.reference.file import FileReference, feed
from edgeadapt_models.compile.source.draft import Draft

_MAX_BYTES = 2**31 - 1
"""A protobuf message, and so a bundle's model file, cannot be larger."""


@dataclass(frozen=True, slots=True)
class Chosen:
    """What a person may say of a file.

    Attributes:
        logits: name of the tensor with the logits; "" to find it.
        embedding: name of the tensor with the embedding; "" to find it.
        layout: order of the axes of images; None to guess.
        preprocessing: of images.
    """

    logits: str = ""
    embedding: str = ""
    layout: Layout | None = None
    preprocessing: Preprocessing = field(default_factory=Preprocessing)


def read_onnx(path: Path) -> onnx.ModelProto:
    """Read a file with its external data.

    Raises:
        CompileError: it is no ONNX model, damaged, too large, or its external data is not there.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise CompileError(f"{path} cannot be read: {error}") from error
    try:
        model = onnx.load_from_string(data)
    except (DecodeError, ValueError) as error:
        raise CompileError(f"{path} is no ONNX model, or is cut short: {error}") from error
    if not model.graph.node or not opset(model):
        raise CompileError(f"{path} is no ONNX model, or is cut short: it holds no operators")
    check_opset(model)
    try:
        onnx.external_data_helper.load_external_data_for_model(model, str(path.parent))
    except (OSError, ValueError, onnx.checker.ValidationError) as error:
        raise CompileError(
            f"{path} keeps its weights in other files, and they cannot be read: {error}; put them beside it"
        ) from error
    # Whether the graph is valid is for the runtime to say, which forgives more than onnx.checker does.
    if model.ByteSize() > _MAX_BYTES:
        raise CompileError(f"{path} is larger than 2 GiB with its weights; a bundle's model cannot be")
    return model


def input_of(
    model: onnx.ModelProto, chosen: Chosen, *, image: bool, shape: tuple[int, ...] = ()
) -> tuple[InputSpec, Layout]:
    """What a file takes, with open dimensions filled from `shape`.

    Args:
        model: the file.
        chosen: for the layout.
        image: whether frames are images; else arrays go in as they are.
        shape: of one input, (C, H, W) for images; empty when the file says it.

    Raises:
        CompileError: a dimension is open and `shape` is empty, or they contradict each other.
    """
    given = given_input(model)
    layout = (chosen.layout or guess_layout(given)) if image else "NCHW"
    sizes = given_shape(given, layout)
    if image and len(sizes) != 3:
        raise CompileError(
            f"the model takes {given.described}; images have a batch, channels, height and width. "
            "For series and spectrograms give arrays (.npy) as calibration"
        )
    if shape:
        if len(shape) != len(sizes) or any(a not in (None, b) for a, b in zip(sizes, shape, strict=False)):
            raise CompileError(f"the model takes {given.described} ({layout}), not inputs of shape {shape}")
        sizes = shape
    if None in sizes:
        raise CompileError(f"the model takes {given.described}: give the open sizes as --input-shape")
    settled = tuple(size for size in sizes if size is not None)
    return InputSpec(settled, "image" if image else "array"), layout


def draft_file(
    model: onnx.ModelProto,
    spec: InputSpec,
    layout: Layout,
    x: FloatArray,
    *,
    classes: int,
    chosen: Chosen,
) -> Draft:
    """Make a draft of a file.

    Args:
        model: from `read_onnx`; it is not changed.
        spec, layout: from `input_of`.
        x: float32 [N, *shape]: some source data, not preprocessed.
        classes: K; 0 to take it from the file.
        chosen: what is said of the file.

    Raises:
        CompileError: the file does not run, or its logits cannot be told.
    """
    model = _copy(model)
    # What half precision rounds away is no difference to be found later.
    half = ("half precision became float32",) if to_single(model) else ()
    given = given_input(model)
    run = run_graph(model, {given.name: feed(x[:1], given, layout, chosen.preprocessing)})
    notes = choose_outputs(
        model, shapes_of(run), classes=classes, logits=chosen.logits, embedding=chosen.embedding
    )
    _outputs_to_single(model, run)
    output = model.graph.output[0].name
    reference = FileReference(model, given, layout, chosen.preprocessing, output)
    return Draft(model, spec, reference, layout, chosen.preprocessing, notes=(*half, *notes))


def _outputs_to_single(model: onnx.ModelProto, run: Mapping[str, npt.NDArray[Any]]) -> None:
    """Cast outputs of double precision; raise CompileError for those of integers."""
    graph = model.graph
    for output in graph.output:
        kind = run[output.name].dtype
        if kind == np.float64:
            single = fresh(f"{output.name}/single", names(graph))
            node = onnx.helper.make_node(
                "Cast", [output.name], [single], name=single, to=onnx.TensorProto.FLOAT
            )
            graph.node.append(node)
            output.CopyFrom(onnx.ValueInfoProto(name=single))
        elif kind != np.float32:
            raise CompileError(f"{output.name!r} holds {kind}: name a tensor of floats (--logits)")


def _copy(model: onnx.ModelProto) -> onnx.ModelProto:
    copied = onnx.ModelProto()
    copied.CopyFrom(model)
    return copied


def class_count(draft: Draft, x: FloatArray) -> int:
    """K of a draft, by running it once."""
    given = given_input(draft.model)
    name = draft.model.graph.output[0].name
    found = run_graph(
        draft.model, {given.name: feed(x[:1], given, draft.layout, draft.preprocessing)}, [name]
    )
    return int(found[name].shape[1])
