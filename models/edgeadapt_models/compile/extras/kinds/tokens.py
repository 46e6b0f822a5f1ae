"""Learnt tokens beside those of the image (VPT-shallow: Jia et al., ECCV 2022, arXiv 2203.12119).

Tokens take part in every softmax, so zeros are not nothing: exp(0) has its share of the attention.
Therefore each token has a gate besides its values: a number that is added to the logits of all attention
*to* it. At the base it is -10,000, exp of which is exactly 0 in float32, so the tokens of the image see
what they saw before; a patch that uses a token sets its gate to 0. The tokens come last and are cut off
before the last norm layer, so that whoever reads the class token or the mean over tokens reads the same
ones.

The graph gets one Pad and one Add at the start, one Add in each attention, one Slice at the end (and two
nodes on constants, which a runtime computes once). All of that, and the longer sequence, costs time even at
the base. Norm layers between are measured on the tokens of the image alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper

from edgeadapt.bundle import Copy, Region
from edgeadapt.errors import CompileError
from edgeadapt_models.compile.analyse.view import GraphView
from edgeadapt_models.compile.extras.plan import Planned
from edgeadapt_models.compile.extras.workpiece import Workpiece, ancestors, descendants

SHUT = -10_000.0
_LIMIT = 10.0
_SHAPING = ("Expand", "Reshape")


@dataclass(frozen=True, slots=True)
class Inserted:
    """Tensors as they are without the learnt tokens.

    Attributes:
        measured: for each norm layer's input between, the tensor to measure instead.
        nodes: nodes that make them, for the probe.
        initializers: their constants.
    """

    measured: dict[str, str]
    nodes: tuple[onnx.NodeProto, ...]
    initializers: tuple[onnx.TensorProto, ...]


def add_tokens(work: Workpiece, count: int, norms: tuple[str, ...]) -> Inserted:
    """Add `count` tokens at the first norm layer of a pre-norm transformer.

    Args:
        work: the graph.
        count: how many.
        norms: tensors that norm layers normalise, in order of execution.

    Raises:
        CompileError: the graph is not of that form; says what is missing.
    """
    first, last, attention = _places(work.view, norms)
    shape = work.view.shape(first)
    assert shape is not None
    before, width = shape[1], shape[2]
    inner = descendants(work.view, first)
    _lengthen(work, inner & ancestors(work.view, last), before, count)
    between = [name for name in norms if name != last and (name == first or _made_in(work.view, name, inner))]
    plain = _insert(work, first, count, before, width)
    gates = _gates(work, count, before)
    for logits in attention:
        made = work.fresh(f"{logits}/gated")
        dims = (*(work.view.shape(logits) or ())[:2], before + count, before + count)
        work.put_behind(logits, made, [helper.make_node("Add", [logits, gates], [made], name=made)], dims)
    ends = [
        work.constant(f"tokens/{part}", np.array([value], np.int64))
        for part, value in (("start", 0), ("end", before), ("axis", 1))
    ]
    made = work.fresh("tokens/cut")
    work.put_behind(last, made, [helper.make_node("Slice", [last, *ends], [made], name=made)], shape)
    return _measured(work, first, plain, between, ends)


def _places(view: GraphView, norms: tuple[str, ...]) -> tuple[str, str, list[str]]:
    """(input of the first norm layer, input of the last one, logits of every attention between)."""
    tokens = [name for name in norms if len(view.shape(name) or ()) == 3]
    if len(tokens) < 2 or tokens[0] != norms[0]:
        raise CompileError(
            "--adapters tokens needs a transformer whose norm layers, from the first on, see tokens [N, T, D]"
        )
    first, last = tokens[0], tokens[-1]
    count = (view.shape(first) or ())[1]
    between = descendants(view, first) & ancestors(view, last)
    attention: list[str] = []
    for node in view.nodes:
        shape = view.shape(node.output[0])
        if node.op_type != "Softmax" or node.output[0] not in between or shape is None:
            continue
        if (
            len(shape) != 4
            or shape[2:] != (count, count)
            or view.only_reader(node.input[0], "Softmax") is None
        ):
            raise CompileError(
                f"--adapters tokens needs attention of [N, heads, T, T]; {node.name or node.output[0]} "
                f"has the shape {shape} for {count} tokens"
            )
        attention.append(node.input[0])
    if not attention:
        raise CompileError(
            "--adapters tokens needs attention with a Softmax between the norm layers; none was found"
        )
    return first, last, attention


def _lengthen(work: Workpiece, between: frozenset[str], before: int, count: int) -> None:
    """Numbers of tokens that an exporter wrote into the shapes between grow.

    They stand in the target of a reshape, or are a factor of a part of it.
    """
    pending = [(name, 1) for name in between if work.node(name).op_type in _SHAPING]
    seen: set[tuple[str, int]] = set()
    while pending:
        place = pending.pop()
        if place in seen:
            continue
        seen.add(place)
        node, index = work.node(place[0]), place[1]
        tensor = node.input[index]
        held = work.view.constant(tensor)
        if held is not None and held.dtype == np.int64 and (held == before).any():
            longer = np.where(held == before, before + count, held)
            work.replace(node, index, f"{tensor}/longer", longer)
        maker = work.view.producer.get(tensor)
        if held is None and maker is not None:
            pending += [(maker.output[0], i) for i in _parts(maker)]


def _parts(node: onnx.NodeProto) -> range:
    """Inputs of a node in the arithmetic of shapes that hold sizes."""
    if node.op_type in ("Concat", "Mul"):
        return range(len(node.input))
    return range(1 if node.op_type in ("Cast", "Reshape", "Squeeze", "Unsqueeze") else 0)


def _made_in(view: GraphView, tensor: str, nodes: frozenset[str]) -> bool:
    node = view.producer.get(tensor)
    return node is not None and node.output[0] in nodes


def _insert(work: Workpiece, first: str, count: int, before: int, width: int) -> str:
    """Put the tokens behind those of the image; returns the name of the tensor without them."""
    values = _padded(work, "value", np.zeros((1, count, width), np.float32), (0, before, 0, 0, 0, 0), _LIMIT)
    room = work.constant("tokens/room", np.array([0, 0, 0, 0, count, 0], np.int64))
    longer, total = work.fresh("tokens/longer"), work.fresh("tokens/sum")
    nodes = [
        helper.make_node("Pad", [first, room], [longer], name=longer),
        helper.make_node("Add", [longer, values], [total], name=total),
    ]
    batch = (work.view.shape(first) or (1,))[0]
    return work.put_behind(first, total, nodes, (batch, before + count, width))


def _gates(work: Workpiece, count: int, before: int) -> str:
    """What is added to the logits of an attention: 0 for the tokens of the image, a slot for each other."""
    shut = np.full((1, 1, 1, count), SHUT, np.float32)
    return _padded(work, "gate", shut, (0, 0, 0, before, 0, 0, 0, 0), -SHUT, 0.0)


def _padded(
    work: Workpiece,
    part: str,
    base: npt.NDArray[np.float32],
    pads: tuple[int, ...],
    limit: float,
    upper: float | None = None,
) -> str:
    """A slot of its own with zeros in front of it; a runtime joins them once, when it loads the model."""
    held = work.constant(f"tokens/{part}", base)
    value = base.reshape(base.shape[1:] if base.ndim == 3 else -1)
    slot = work.add_slot(f"tokens.{part}", "extra", "tokens", value, limit, upper)
    work.planned.append(Planned(Copy(slot, Region(0, value.shape)), {"at": held}))
    amount = work.constant(f"tokens/{part}/pads", np.array(pads, np.int64))
    name = work.fresh(f"tokens/{part}/padded")
    work.put_in_front([helper.make_node("Pad", [held, amount], [name], name=name)])
    return name


def _measured(work: Workpiece, first: str, plain: str, between: list[str], ends: list[str]) -> Inserted:
    measured, nodes = {first: plain}, []
    for tensor in between:
        if tensor != first:
            measured[tensor] = work.fresh(f"{tensor}/image")
            nodes.append(
                helper.make_node("Slice", [tensor, *ends], [measured[tensor]], name=measured[tensor])
            )
    return Inserted(measured, tuple(nodes), ())
