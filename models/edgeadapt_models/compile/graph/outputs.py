"""A model's outputs made ours: "logits" [N, K] and "embedding" [N, D], from whatever it returns.

A Softmax, LogSoftmax or Sigmoid at the end is taken off: scores, prototypes and patches all work on logits.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import onnx
from onnx import TensorProto, helper

from edgeadapt.errors import CompileError
from edgeadapt_models.compile.analyse.head import Embedding
from edgeadapt_models.compile.graph.edit import (
    bypass,
    constant,
    drop_unused,
    fresh,
    insert_after,
    names,
    opset,
    rename,
)

LOGITS, EMBEDDING = "logits", "embedding"
OUTPUTS = (LOGITS, EMBEDDING)
SQUASHING = ("Softmax", "LogSoftmax", "Sigmoid")
_MOVES = ("Flatten", "Identity", "Reshape", "Squeeze", "Cast")

Shapes = Mapping[str, Sequence[int]]


def choose_outputs(
    model: onnx.ModelProto, shapes: Shapes, *, classes: int, logits: str = "", embedding: str = ""
) -> tuple[str, ...]:
    """Keep the logits, and the embedding where it is named or returned beside them; in place.

    Args:
        model: as it came.
        shapes: of every tensor, for a batch of at least 1.
        classes: number of class names; 0 when they are not known.
        logits: the tensor to take; "" to find it.
        embedding: likewise; "" for what `analyse` finds.

    Returns:
        Notes for people.

    Raises:
        CompileError: the logits are not among the outputs, or it is not clear which they are.
    """
    given = [output.name for output in model.graph.output]
    for name in filter(None, (logits, embedding)):
        if name not in shapes:
            raise CompileError(f"the model has no tensor {name!r}; its outputs are {_listed(given, shapes)}")
    if not logits and len(given) == 2 and set(given) == set(OUTPUTS):
        logits, embedding = LOGITS, embedding or EMBEDDING
    chosen = logits or _only_logits(model.graph, shapes, classes)
    if embedding == chosen:
        raise CompileError(f"{chosen!r} holds the logits; the embedding is what goes into the last layer")
    left = [name for name in given if name not in (chosen, embedding)]
    # Types stay as they were declared, or open: half precision is dealt with later.
    declared = {output.name: output.SerializeToString() for output in model.graph.output}
    del model.graph.output[:]
    for name in filter(None, (chosen, embedding)):
        kept = declared.get(name)
        model.graph.output.append(
            onnx.ValueInfoProto(name=name) if kept is None else onnx.ValueInfoProto.FromString(kept)
        )
    return (f"outputs left out: {', '.join(left)}",) if left else ()


def _listed(given: Sequence[str], shapes: Shapes) -> str:
    return ", ".join(f"{name} {list(shapes.get(name, ()))}" for name in given)


def _only_logits(graph: onnx.GraphProto, shapes: Shapes, classes: int) -> str:
    given = [str(output.name) for output in graph.output]
    flat = [name for name in given if _classes(shapes.get(name, ())) > 1]
    fitting = [name for name in flat if not classes or _classes(shapes[name]) == classes]
    if len(fitting) == 1:
        return fitting[0]
    listed = _listed(given, shapes)
    last = [name for name in fitting if _before(graph, name).issuperset(set(fitting) - {name})]
    if len(last) == 1:  # the others go into it: an embedding, say
        return last[0]
    if len(fitting) > 1:
        raise CompileError(
            f"the model has several outputs that may be the logits: {listed}; name one (--logits)"
        )
    if len(flat) == 1:
        raise CompileError(
            f"the model has {_classes(shapes[flat[0]])} outputs, but {classes} class names were given"
        )
    numbers = [node for node in graph.node if node.op_type == "ArgMax" and set(node.output) & set(given)]
    if numbers:
        raise CompileError(
            f"the model returns the number of a class ({listed}): name what it takes the largest of, "
            f"--logits {numbers[0].input[0]}"
        )
    if any(_classes(shapes.get(name, ())) == 1 for name in given):
        raise CompileError(
            f"the model returns one number ({listed}); a classifier with two classes needs two logits"
        )
    raise CompileError(
        f"the model returns no logits [N, K]: {listed}. Detection, segmentation and sequence models "
        "cannot be compiled; where a classifier is inside, name the tensor that holds its logits (--logits)"
    )


def _before(graph: onnx.GraphProto, tensor: str) -> set[str]:
    """Every tensor that `tensor` depends on."""
    needed = {tensor}
    for node in reversed(graph.node):
        if needed.intersection(node.output):
            needed.update(node.input)
    return needed - {tensor}


def _classes(shape: Sequence[int]) -> int:
    """K for [N, K] or [N, K, 1, ...]; 0 for anything else."""
    return shape[1] if len(shape) > 1 and all(size == 1 for size in shape[2:]) else 0


def strip_probabilities(graph: onnx.GraphProto) -> tuple[str, ...]:
    """Take a squashing function at the end off; in place; notes for people."""
    makers = {node.output[0]: node for node in graph.node}
    tensor = graph.output[0].name
    while (node := makers.get(tensor)) is not None and node.op_type in _MOVES:
        tensor = node.input[0]
    if node is None or node.op_type not in SQUASHING:
        return ()
    bypass(graph, [node])
    if node.op_type == "Sigmoid":
        return ("Sigmoid at the end taken off: the classes are treated as excluding each other",)
    return (f"{node.op_type} at the end taken off",)


def flatten_logits(graph: onnx.GraphProto, shapes: Shapes) -> None:
    """Make logits [N, K, 1, ...] [N, K]; in place."""
    tensor = graph.output[0].name
    if len(shapes[tensor]) > 2:
        flat = fresh(f"{tensor}/flat", names(graph))
        graph.node.append(helper.make_node("Flatten", [tensor], [flat], name=flat, axis=1))
        graph.output[0].name = flat


def settle_outputs(model: onnx.ModelProto, embedding: Embedding | None) -> None:
    """Name the outputs, adding the embedding where the model does not return it; in place.

    Args:
        model: with the logits as its first output, and the embedding as its second if it has one.
        embedding: where it comes from; None when the model returns it.
    """
    graph = model.graph
    source = graph.output[1].name if embedding is None else _embed(model, embedding)
    _call(graph, graph.output[0].name, LOGITS)
    _call(graph, LOGITS if source == graph.output[0].name else source, EMBEDDING)
    del graph.output[:]
    for name in OUTPUTS:
        graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, None))
    drop_unused(graph)


def declare_outputs(model: onnx.ModelProto, shapes: Shapes) -> int:
    """Write the outputs' shapes into the model, and return D.

    Raises:
        CompileError: they are not [N, K] and [N, D].
    """
    for output in model.graph.output:
        shape = shapes[output.name]
        if len(shape) != 2:
            raise CompileError(
                f"the tensor named as {output.name} is of shape {list(shape)}, and [N, D] is needed: "
                "name one behind the pooling"
            )
        declared = helper.make_tensor_value_info(output.name, TensorProto.FLOAT, ["batch", shape[1]])
        output.CopyFrom(declared)
    return int(shapes[EMBEDDING][1])


def _embed(model: onnx.ModelProto, embedding: Embedding) -> str:
    """Nodes that make the embedding of what goes into the head; its tensor."""
    if embedding.form == "vector":
        return embedding.source
    graph = model.graph
    name = fresh("embedding/pooled", names(graph))
    if embedding.form == "flat":
        node = helper.make_node("Flatten", [embedding.source], [name], name=name, axis=1)
    else:
        node = mean_node(model, embedding.source, name, embedding.axes)
    insert_after(graph, embedding.source, [node])
    return name


def mean_node(model: onnx.ModelProto, source: str, result: str, axes: Sequence[int]) -> onnx.NodeProto:
    """A ReduceMean without keepdims; its axes are an initializer from opset 18 on, which is added."""
    if opset(model) < 18:
        return helper.make_node("ReduceMean", [source], [result], name=result, axes=list(axes), keepdims=0)
    held = constant(model.graph, f"{result}/axes", np.array(axes, np.int64))
    return helper.make_node("ReduceMean", [source, held], [result], name=result, keepdims=0)


def _call(graph: onnx.GraphProto, tensor: str, name: str) -> None:
    """Give a tensor one of our names; a copy of it where it cannot be renamed."""
    if tensor == name:
        return
    taken = names(graph)
    if name in taken:
        rename(graph, {name: fresh(f"{name}/given", taken)})
    if any(tensor in node.output for node in graph.node) and tensor not in OUTPUTS:
        rename(graph, {tensor: name})
    else:
        graph.node.append(helper.make_node("Identity", [tensor], [name], name=name))
