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
    """A constant that is added to the input: operand `index` of `node`; `axes` as in `_Walk`."""

    node: onnx.NodeProto
    index: int
    gain: npt.NDArray[np.float64]
    axes: str


def add_prompt(
    work: Workpiece, request: PromptRequest, name: str, *, limit: float, channels_last: bool
) -> Prompted:
    """Add the slot and its write.

    Args:
        work: the graph.
        request: which form.
        name: of the graph's input, [N, C, H, W], [N, H, W, C], or [N, C, L] and [N, F] for other arrays.
        limit: bound on every value of the slot.
        channels_last: whether the channels are the input's last axis.

    Raises:
        CompileError: the form does not fit the input.
    """
    shape = work.view.shape(name)
    if shape is None or not 2 <= len(shape) <= 4:
        raise CompileError(f"a prompt needs an input of two to four axes; {name!r} has the shape {shape}")
    axes = ("NHWC" if channels_last else "NCHW") if len(shape) == 4 else "NCHW"
    sizes = dict(zip(axes, (*shape, 1)[: len(shape)] if len(shape) == 4 else _filled(shape), strict=True))
    channels, height, width = sizes["C"], sizes["H"], sizes["W"]
    place = (
        _find(work.view, name, axes, channels)
        if len(shape) == 4
        else _find(work.view, name, "NCHW", channels)
    )
    base = np.zeros(_slot_shape(request, channels, height, width), np.float32)
    slot = work.add_slot(SLOT, "input_prompt", name, base, limit)
    if place is None:
        prompted, constant, gain, axes = _added(work, name, shape, channels, axes)
    else:
        prompted, constant, gain, axes = _merged(work, place)
    at = tuple(sizes[axis] for axis in axes[1:])
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


def _filled(shape: tuple[int, ...]) -> tuple[int, ...]:
    """A series [N, C, L] as [N, C, 1, L], a row of features [N, F] as [N, F, 1, 1]."""
    return (*shape[:2], 1, *shape[2:]) if len(shape) == 3 else (*shape, 1, 1)


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


def _find(view: GraphView, tensor: str, axes: str, channels: int) -> _Place | None:
    """Follow the input through operations per channel to the first constant that is added to it."""
    gain = np.ones(channels)
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


def _merged(work: Workpiece, place: _Place) -> tuple[Prompted, str, npt.NDArray[np.float64], str]:
    node = work.node(place.node.output[0])
    before, old = onnx.NodeProto(), node.input[place.index]
    before.CopyFrom(node)
    value, shape = work.view.constant(old), work.view.shape(node.output[0])
    assert value is not None
    assert shape is not None
    source = node.input[1 - place.index]
    spread = np.broadcast_to(value, (1, *shape[1:]))
    constant = work.replace(node, place.index, _CONSTANT, spread)
    return Prompted(node.output[0], before, source, value, old), constant, place.gain, place.axes


def _added(
    work: Workpiece, name: str, shape: tuple[int, ...], channels: int, axes: str
) -> tuple[Prompted, str, npt.NDArray[np.float64], str]:
    constant = work.constant(_CONSTANT, np.zeros((1, *shape[1:]), np.float32))
    result = work.fresh("input_prompt/sum")
    node = helper.make_node("Add", [name, constant], [result], name=result)
    work.put_behind_input(name, result, [node])
    work.notes.append("prompt: nothing is added to this model's input, so one Add was put behind it")
    return Prompted(result, None, name), constant, np.ones(channels), axes
