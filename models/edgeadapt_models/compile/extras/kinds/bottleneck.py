"""A bottleneck behind a block: x + up(relu(down(x))). It does not fold: it makes a graph of its own.

Houlsby et al., ICML 2019 (arXiv 1902.00751). `up` starts at zero, so the base is the base model. Feature
maps [N, C, ...] get 1x1 convolutions, tokens [N, T, D] matrices. A block ends at the sum with its residual
path, or at the activation behind that.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper

from edgeadapt.bundle import Copy, Region
from edgeadapt_models.compile.analyse.view import GraphView
from edgeadapt_models.compile.extras.kinds.low_rank import seeded
from edgeadapt_models.compile.extras.plan import Planned
from edgeadapt_models.compile.extras.request import AdapterRequest
from edgeadapt_models.compile.extras.select import Candidate, choose
from edgeadapt_models.compile.extras.workpiece import Workpiece, ancestors, descendants

_LIMIT = 4.0
_ACTIVATIONS = ("Relu", "Clip", "HardSwish", "LeakyRelu", "Elu")
_CARRIERS = ("Conv", "MatMul", "Gemm")
_STEPS = 8


def add_bottlenecks(work: Workpiece, request: AdapterRequest, first: str) -> None:
    """Add an adapter behind every block that is asked for.

    Args:
        work: the graph.
        request: which blocks (numbered in order: "block0"...), and the width of the bottleneck.
        first: the tensor that the first norm layer normalises; only what comes after it may change.

    Raises:
        CompileError: there is no such block.
    """
    for block in choose(_blocks(work.view, first), request.where, "block with a residual path"):
        names = _constants(work, block, request.size)
        nodes, result = _nodes(work, block, names)
        work.put_behind(block.output, result, nodes, block.shape)


def _constants(work: Workpiece, block: Candidate, size: int) -> dict[str, str]:
    """Declare the block's slots; part to initializer."""
    names: dict[str, str] = {}
    for part, value in _parts(block, size).items():
        # MatMul takes [in, out] where a slot is [out, in]; a convolution's kernel has further axes of 1.
        turned = block.channels_last and value.ndim == 2
        ones = [1] * (0 if block.channels_last or value.ndim == 1 else len(block.shape) - 2)
        stored = value.T if turned else value.reshape(*value.shape, *ones)
        names[part] = work.constant(f"{block.name}/{part}", stored)
        slot = work.add_slot(f"{block.name}.{part}", "extra", block.name, value, _LIMIT)
        region = Region(0, value.shape[::-1] if turned else value.shape)
        work.planned.append(Planned(Copy(slot, region, turned), {"at": names[part]}))
    return names


def _parts(block: Candidate, size: int) -> dict[str, npt.NDArray[np.float32]]:
    channels = block.shape[-1] if block.channels_last else block.shape[1]
    return {
        "down.weight": seeded(f"{block.name}.down", (size, channels)),
        "down.bias": np.zeros(size, np.float32),
        "up.weight": np.zeros((channels, size), np.float32),
    }


def _nodes(work: Workpiece, block: Candidate, names: dict[str, str]) -> tuple[list[onnx.NodeProto], str]:
    made = {part: work.fresh(f"{block.name}/{part}") for part in ("down", "biased", "relu", "up", "sum")}
    down, bias, up = names["down.weight"], names["down.bias"], names["up.weight"]
    if block.channels_last:
        first = [
            helper.make_node("MatMul", [block.output, down], [made["down"]], made["down"]),
            helper.make_node("Add", [made["down"], bias], [made["biased"]], made["biased"]),
        ]
        second = helper.make_node("MatMul", [made["relu"], up], [made["up"]], made["up"])
    else:
        first = [helper.make_node("Conv", [block.output, down, bias], [made["biased"]], made["biased"])]
        second = helper.make_node("Conv", [made["relu"], up], [made["up"]], made["up"])
    relu = helper.make_node("Relu", [made["biased"]], [made["relu"]], made["relu"])
    total = helper.make_node("Add", [block.output, made["up"]], [made["sum"]], made["sum"])
    return [*first, relu, second, total], made["sum"]


def _blocks(view: GraphView, first: str) -> list[Candidate]:
    """Where a residual path joins: a sum of a tensor and of something computed from it."""
    found: list[Candidate] = []
    for node in view.nodes:
        shape = view.shape(node.output[0])
        if (
            node.op_type != "Add"
            or shape is None
            or len(shape) < 3
            or not _residual(view, node, shape, first)
        ):
            continue
        end = view.only_reader(node.output[0], *_ACTIVATIONS)
        output = node.output[0] if end is None else end.output[0]
        last = any(_carrier(view, name) == "MatMul" for name in node.input)
        found.append(Candidate(f"block{len(found)}", output, shape, channels_last=last))
    return found


def _residual(view: GraphView, node: onnx.NodeProto, shape: tuple[int, ...], first: str) -> bool:
    left, right = node.input
    if view.shape(left) != shape or view.shape(right) != shape:
        return False
    if view.is_constant(left) or view.is_constant(right):
        return False
    behind = descendants(view, first)
    if not behind.intersection((left, right)):
        return False
    common = ancestors(view, left) & ancestors(view, right)
    return bool(common) or left in ancestors(view, right) or right in ancestors(view, left)


def _carrier(view: GraphView, tensor: str) -> str:
    """The operator whose weights made a tensor's channels; "" behind a Transpose or where it is not clear."""
    for _ in range(_STEPS):
        node = view.producer.get(tensor)
        if node is None or node.op_type in _CARRIERS:
            return "" if node is None else node.op_type
        moving = [name for name in node.input if name and not view.is_constant(name)]
        if len(moving) != 1 or node.op_type == "Transpose":
            return ""
        tensor = moving[0]
    return ""
