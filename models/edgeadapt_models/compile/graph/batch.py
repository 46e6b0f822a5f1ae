"""A model whose batch axis is fixed to 1 made one that takes any batch.

Exporters that were given one example write 1 into reshapes, and concatenate constants (a class token) that
have a batch of their own. Both are found by shape and rewritten: shapes for a batch of another size tell
which axis of what is reshaped the batch is, or is part of, and the numbers behind it where it goes to. (In
torch's own attention it becomes the second axis, and shares one with the heads.) Whether that was enough is
checked by running the model on a batch and on each of its inputs alone. The input's own axis is opened in
`inputs`.
"""

from __future__ import annotations

import math
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
_WIDE = 7
"""A batch that no axis is seven times as long for by chance."""
_SMALL_BYTES = 1024
"""Constants that may be shapes."""


def open_batch(model: onnx.ModelProto, shapes: Mapping[str, Sequence[int]]) -> None:
    """Rewrite reshapes and concatenations in place.

    Args:
        model: tidy.
        shapes: of every tensor for a batch of one.
    """
    graph = model.graph
    constants = {tensor.name: tensor for tensor in graph.initializer}
    for node in list(graph.node):
        if node.op_type == "Concat":
            _concat(graph, node, constants, shapes)
    reshapes = [node for node in graph.node if node.op_type == "Reshape" and node.input[1] in constants]
    while reshapes:
        wide = _wide_shapes(model)
        while reshapes:
            node = reshapes.pop(0)
            if _reshape(graph, node, constants[node.input[1]], shapes, wide):
                break  # what comes behind it has another shape now


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
                    f"output {name!r} depends on what else is in the batch: export the model in eval mode, "
                    "with a dynamic batch axis"
                )


def _close(a: npt.NDArray[np.float32], b: npt.NDArray[np.float32]) -> bool:
    if a.shape != b.shape or not (np.isfinite(a).all() and np.isfinite(b).all()):
        return a.shape == b.shape  # what is not finite is refused where the data is known
    scale = max(1.0, float(np.abs(b).max(initial=0.0)))
    return bool(np.abs(a - b).max(initial=0.0) <= _TOLERANCE * scale)


def _wide_shapes(model: onnx.ModelProto) -> dict[str, tuple[int, ...]]:
    """Shapes for a batch of `_WIDE`, as far as they can be inferred from what is rewritten already."""
    outline = onnx.ModelProto(ir_version=model.ir_version, opset_import=model.opset_import)
    graph = outline.graph
    graph.name = "outline"
    graph.input.extend(model.graph.input)
    graph.input[0].type.tensor_type.shape.dim[0].dim_value = _WIDE
    for tensor in model.graph.initializer:
        if len(tensor.raw_data) > _SMALL_BYTES:
            graph.input.append(helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims))
        else:
            graph.initializer.append(tensor)
    graph.node.extend(model.graph.node)
    graph.output.extend(onnx.ValueInfoProto(name=output.name) for output in model.graph.output)
    try:
        inferred = onnx.shape_inference.infer_shapes(outline, data_prop=True).graph
    except (onnx.shape_inference.InferenceError, ValueError, RuntimeError):
        return {}
    return {
        value.name: tuple(int(d.dim_value) for d in value.type.tensor_type.shape.dim)
        for value in (*inferred.value_info, *inferred.input)
        if all(d.HasField("dim_value") for d in value.type.tensor_type.shape.dim)
    }


def _reshape(
    graph: onnx.GraphProto,
    node: onnx.NodeProto,
    target: onnx.TensorProto,
    shapes: Mapping[str, Sequence[int]],
    wide: Mapping[str, Sequence[int]],
) -> bool:
    """Make the axis that the batch goes to "as many as there are"; False where it is, or nothing is known."""
    before, after = shapes.get(node.input[0]), shapes.get(node.output[0])
    if before is None or after is None:
        return False
    grown = wide.get(node.input[0])
    if grown is None or len(grown) != len(before):  # not known: most likely it is where it was
        axes = [0] if before[:1] == (1,) and after[:1] == (1,) else []
    else:
        axes = [axis for axis, size in enumerate(before) if grown[axis] == size * _WIDE]
    to = _batch_axis(before, axes[0], after) if len(axes) == 1 else None
    wanted = numpy_helper.to_array(target)
    if to is None or wanted[to] == -1 or (wanted[to] == 0 and to == axes[0]):
        return False
    for entry in node.attribute:
        if entry.name == "allowzero":
            entry.i = 0
    changed = np.array(after, np.int64)
    changed[to] = -1
    node.input[1] = constant(graph, fresh(f"{target.name}/batch", names(graph)), changed)
    return True


def _batch_axis(before: Sequence[int], axis: int, after: Sequence[int]) -> int | None:
    """Which axis of `after` the batch is, or is a factor of, when it is at `axis` of `before`.

    Both are shapes for a batch of one. A reshape keeps the order of all numbers, so there are as many of them
    behind the batch in both. The batch goes to an axis of 1 there, else to the one that begins there, unless
    that is the last: features of different inputs are never put together.
    """
    behind = [math.prod(after[place + 1 :]) for place in range(len(after))]
    inside = math.prod(before[axis + 1 :])
    outside = inside * before[axis]
    for count in (inside, outside):
        for place, size in enumerate(after):
            if size == 1 and behind[place] == count:
                return place
    for place, size in enumerate(after):
        if behind[place] * size == outside:
            return max(place - 1, 0) if place == len(after) - 1 else place
    return None


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
