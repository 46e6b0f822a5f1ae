"""A model whose batch axis is fixed to 1 made one that takes any batch.

Exporters that were given one example write 1 into reshapes, and concatenate constants (a class token) that
have a batch of their own. Both are found by shape and rewritten; whether that was enough is checked by
running the model on a batch and on each of its inputs alone. The input's own axis is opened in `inputs`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper, numpy_helper

from edgeadapt.errors import CompileError
from edgeadapt.tensors import FloatArray
from edgeadapt_models.compile.graph.edit import constant, fresh, names
from edgeadapt_models.compile.graph.inputs import INPUT
from edgeadapt_models.compile.graph.run import run_graph

_TOLERANCE = 1e-4


def open_batch(model: onnx.ModelProto, shapes: Mapping[str, Sequence[int]]) -> None:
    """Rewrite reshapes and concatenations in place.

    Args:
        model: tidy.
        shapes: of every tensor for a batch of one.
    """
    graph = model.graph
    constants = {tensor.name: tensor for tensor in graph.initializer}
    for node in list(graph.node):
        if node.op_type == "Reshape" and node.input[1] in constants:
            _reshape(graph, node, constants[node.input[1]], shapes)
        elif node.op_type == "Concat":
            _concat(graph, node, constants, shapes)


def check_batch(model: onnx.ModelProto, x: FloatArray) -> None:
    """Raise CompileError unless a batch gives what its inputs give alone.

    Args:
        model: with the input settled.
        x: float32 [N, ...] with N >= 2.
    """
    wanted = [output.name for output in model.graph.output]
    try:
        together = run_graph(model, {INPUT: x}, wanted)
    except CompileError as error:
        raise CompileError(
            "the model runs on one input and not on a batch: export it with a dynamic batch axis (torch: "
            f"dynamic_axes or dynamic_shapes; TensorFlow: a shape of None). {error}"
        ) from error
    for index in range(len(x)):
        alone = run_graph(model, {INPUT: x[index : index + 1]}, wanted)
        for name in wanted:
            if not _close(together[name][index : index + 1], alone[name]):
                raise CompileError(
                    f"{name} of an input depend on what else is in the batch: export the model in eval mode, "
                    "with a dynamic batch axis"
                )


def _close(a: npt.NDArray[np.float32], b: npt.NDArray[np.float32]) -> bool:
    if a.shape != b.shape or not (np.isfinite(a).all() and np.isfinite(b).all()):
        return a.shape == b.shape  # what is not finite is refused where the data is known
    scale = max(1.0, float(np.abs(b).max(initial=0.0)))
    return bool(np.abs(a - b).max(initial=0.0) <= _TOLERANCE * scale)


def _reshape(
    graph: onnx.GraphProto,
    node: onnx.NodeProto,
    target: onnx.TensorProto,
    shapes: Mapping[str, Sequence[int]],
) -> None:
    """A leading 1 becomes 0: "as many as the input has"."""
    before = shapes.get(node.input[0])
    wanted = numpy_helper.to_array(target)
    if before is None or not wanted.size or wanted[0] != 1 or before[0] != 1 or 0 in wanted:
        return
    for entry in node.attribute:
        if entry.name == "allowzero":
            entry.i = 0
    changed = wanted.copy()
    changed[0] = 0
    node.input[1] = constant(graph, fresh(f"{target.name}/batch", names(graph)), changed)


def _concat(
    graph: onnx.GraphProto,
    node: onnx.NodeProto,
    constants: Mapping[str, onnx.TensorProto],
    shapes: Mapping[str, Sequence[int]],
) -> None:
    """Constants with a batch of 1 beside tensors of any batch are repeated as often."""
    tensors = [name for name in node.input if name not in constants and name in shapes]
    axis = next(entry.i for entry in node.attribute if entry.name == "axis")
    held = [name for name in node.input if name in constants and constants[name].dims[:1] == [1]]
    if not tensors or not held or axis == 0 or -axis == len(shapes[tensors[0]]):
        return
    taken = names(graph)
    size, count, rest, target = (
        fresh(f"{node.output[0]}/{part}", taken) for part in ("shape", "batch", "rest", "target")
    )
    ones = np.ones(len(shapes[tensors[0]]) - 1, np.int64)
    start, end, axes = (
        constant(graph, fresh(f"{count}/{part}", taken), np.array([number], np.int64))
        for part, number in (("start", 0), ("end", 1), ("axes", 0))
    )
    nodes = [
        helper.make_node("Shape", [tensors[0]], [size], name=size),
        helper.make_node("Slice", [size, start, end, axes], [count], name=count),
        helper.make_node("Concat", [count, constant(graph, rest, ones)], [target], name=target, axis=0),
    ]
    for name in held:
        wide = fresh(f"{name}/batch", taken)
        nodes.append(helper.make_node("Expand", [name, target], [wide], name=wide))
        node.input[:] = [wide if given == name else given for given in node.input]
    at = list(graph.node).index(node)
    for offset, extra in enumerate(nodes):
        graph.node.insert(at + offset, extra)
