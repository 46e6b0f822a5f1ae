"""An additive prompt on the input, merged into a constant that the graph adds or subtracts anyway.

Most networks normalise their input: (x - mean) / std, or x * a + b. A prompt p on x is then a constant of
the shape of the input in place of mean or b: x + p - mean = x - (mean - p), and (x + p) * a + b = x * a +
(b + p * a). The graph keeps its nodes. Where nothing is added to the input, one Add is put behind it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper

from edgeadapt.bundle import Region
from edgeadapt.bundle.folds import border_mask
from edgeadapt.bundle.writes import Prompt
from edgeadapt.errors import CompileError
from edgeadapt_models.compile.analyse.view import GraphView, attribute
from edgeadapt_models.compile.extras.plan import Planned
from edgeadapt_models.compile.extras.request import PromptRequest
from edgeadapt_models.compile.extras.workpiece import Workpiece

SLOT = "input_prompt"
_CONSTANT = "input_prompt/constant"


@dataclass(frozen=True, slots=True)
class Prompted:
    """Where a prompt enters.

    Attributes:
        tensor: the first tensor that holds it.
        clean: the node that made this tensor before, to compute it without the prompt; None where `source` is
            already that.
        source: what the tensor is made of.
        constant: the node's constant as it was; "" for none.
        value: its value.
    """

    tensor: str
    clean: onnx.NodeProto | None
    source: str
    value: npt.NDArray[np.float32] | None = None
    constant: str = ""


@dataclass(frozen=True, slots=True)
class _Place:
    """A constant that is added to the input: operand `index` of `node`, whose axes are `axes`."""

    node: onnx.NodeProto
    index: int
    gain: npt.NDArray[np.float64]
    axes: str


def add_prompt(work: Workpiece, request: PromptRequest, name: str, limit: float) -> Prompted:
    """Add the slot and its write.

    Args:
        work: the graph.
        request: which form.
        name: of the graph's input, [N, C, H, W], or [N, C, L] and [N, F] for other arrays.
        limit: bound on every value of the slot.

    Raises:
        CompileError: the form does not fit the input.
    """
    shape = work.view.shape(name)
    if shape is None or not 2 <= len(shape) <= 4:
        raise CompileError(f"a prompt needs an input of two to four axes; {name!r} has the shape {shape}")
    channels, height, width = _as_picture(shape)
    base = np.zeros(_slot_shape(request, channels, height, width), np.float32)
    slot = work.add_slot(SLOT, "input_prompt", name, base, limit)
    place = _find(work.view, name, channels)
    if place is None:
        prompted, constant = _added(work, name, shape)
        gain, axes = np.ones(channels), "NCHW"
    else:
        prompted, constant = _merged(work, place)
        gain, axes = place.gain, place.axes
    at = (height, width, channels) if axes == "NHWC" else (channels, height, width)
    write = Prompt(
        slot,
        Region(0, at),
        request.form,
        tuple(float(g) for g in gain),
        "NHWC" if axes == "NHWC" else "NCHW",
        request.border,
    )
    work.planned.append(Planned(write, {"at": constant}))
    return prompted


def _as_picture(shape: tuple[int, ...]) -> tuple[int, int, int]:
    """(C, H, W): a series [N, C, L] has a height of 1, a row of features [N, F] both of 1."""
    height = shape[2] if len(shape) == 4 else 1
    return shape[1], height, shape[-1] if len(shape) > 2 else 1


def _slot_shape(request: PromptRequest, channels: int, height: int, width: int) -> tuple[int, ...]:
    if request.form == "full":
        return channels, height, width
    if request.form == "low":
        rows, columns = request.grid
        if rows > height or columns > width:
            raise CompileError(
                f"--prompt low:{rows}x{columns} is finer than the input of {height}x{width}: use full"
            )
        return channels, rows, columns
    if 2 * request.border > min(height, width):
        raise CompileError(
            f"--prompt border:{request.border} does not fit an input of {height}x{width}: "
            f"at most {min(height, width) // 2}"
        )
    return channels, int(border_mask(height, width, request.border).sum())


def _find(view: GraphView, tensor: str, channels: int) -> _Place | None:
    """Follow the input through operations per channel to the first constant that is added to it."""
    gain, axes = np.ones(channels), "NCHW"
    while (node := view.only_reader(tensor, "Add", "Div", "Mul", "Sub", "Transpose")) is not None:
        if node.op_type == "Transpose":
            order = attribute(node, "perm", [])
            axes = "".join(axes[axis] for axis in order) if len(order) == len(axes) else ""
            if axes not in ("NCHW", "NHWC"):
                return None
        else:
            found = next(view.constant_operands(node), None)
            value = None if found is None else view.constant(found[1])
            same = view.shape(node.output[0]) == view.shape(tensor)
            if found is None or value is None or value.dtype != np.float32 or not same:
                return None
            index = found[0].index
            if node.op_type in ("Add", "Sub"):
                return _Place(node, index, gain if node.op_type == "Add" else -gain, axes)
            factor = _per_channel(value, axes, len(view.shape(tensor) or ()), channels)
            if factor is None or (node.op_type == "Div" and index == 0):
                return None
            gain = gain * factor if node.op_type == "Mul" else gain / factor
        tensor = node.output[0]
    return None


def _per_channel(
    value: npt.NDArray[np.float32], axes: str, rank: int, channels: int
) -> npt.NDArray[np.float64] | None:
    """[C] factors, or None for a constant that varies along another axis."""
    axis = axes.index("C") if rank == 4 else 1
    dims = (1,) * (rank - value.ndim) + value.shape
    if any(size != 1 for at, size in enumerate(dims) if at != axis) or dims[axis] not in (1, channels):
        return None
    return np.broadcast_to(value.reshape(-1).astype(np.float64), (channels,))


def _merged(work: Workpiece, place: _Place) -> tuple[Prompted, str]:
    node = work.node(place.node.output[0])
    before, old = onnx.NodeProto(), node.input[place.index]
    before.CopyFrom(node)
    value, shape = work.view.constant(old), work.view.shape(node.output[0])
    assert value is not None
    assert shape is not None
    source = node.input[1 - place.index]
    spread = np.broadcast_to(value, (1, *shape[1:]))
    constant = work.replace(node, place.index, _CONSTANT, spread)
    return Prompted(node.output[0], before, source, value, old), constant


def _added(work: Workpiece, name: str, shape: tuple[int, ...]) -> tuple[Prompted, str]:
    constant = work.constant(_CONSTANT, np.zeros((1, *shape[1:]), np.float32))
    result = work.fresh("input_prompt/sum")
    node = helper.make_node("Add", [name, constant], [result], name=result)
    work.put_behind_input(name, result, [node])
    work.notes.append("prompt: nothing is added to this model's input, so one Add was put behind it")
    return Prompted(result, None, name), constant
