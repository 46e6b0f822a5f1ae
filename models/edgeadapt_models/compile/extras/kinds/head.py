"""Slots of the classifier head: its weights, its bias, and a shift of the embedding that goes into it.

They cost nothing (the values lie in the file as they are), so every model with a linear last step gets
them. The shift is for models without running statistics: a device may move its embeddings back to where the
source's were (FOA: Niu et al., ICML 2024), and as the head is linear that is a change of its bias.
"""

from __future__ import annotations

from math import prod

import numpy as np
import numpy.typing as npt
import onnx

from edgeadapt.bundle import Copy, Region
from edgeadapt.bundle.writes import HeadShift
from edgeadapt_models.compile.analyse.head import Head
from edgeadapt_models.compile.extras.plan import Planned
from edgeadapt_models.compile.extras.select import layer_name
from edgeadapt_models.compile.extras.workpiece import Workpiece, descendants

SHIFT = "embedding_shift"
_RATIO = 4.0
_FLOOR = 4.0


def add_head_slots(work: Workpiece, head: Head, embedding_scale: float) -> None:
    """Declare head_weight [K, D], head_bias [K] and embedding_shift [D].

    Args:
        work: the graph.
        head: as found.
        embedding_scale: largest magnitude of the embedding of some source images.
    """
    node = work.node(head.node)
    weight = work.own(node, 1)
    matrix = work.view.constant(weight)
    assert matrix is not None
    stored = (matrix.shape[0], prod(matrix.shape[1:]))
    classes, width = stored[::-1] if head.transposed else stored
    bias = _bias(work, node, head, classes)
    vector = work.view.constant(bias)
    assert vector is not None
    flat = matrix.reshape(stored)
    # Torch's own name where there is one, so that the torch network has the slot by the same name.
    stem = layer_name(work.view, node) if head.weight.endswith(".weight") else "head"
    weight_slot = work.add_slot(
        f"{stem}.weight", "head_weight", "head", flat.T if head.transposed else flat, _limit(matrix)
    )
    bias_slot = work.add_slot(f"{stem}.bias", "head_bias", "head", vector.reshape(-1), _limit(vector))
    shift = np.zeros(width, np.float32)
    shift_slot = work.add_slot(SHIFT, "embedding_shift", "head", shift, _RATIO * embedding_scale + _FLOOR)
    matrix_at, vector_at = Region(0, stored), Region(0, (classes,))
    moved = HeadShift(shift_slot, matrix_at, vector_at, head.transposed)
    work.planned += [
        Planned(Copy(weight_slot, matrix_at, head.transposed), {"at": weight}),
        Planned(Copy(bias_slot, vector_at), {"at": bias}),
        Planned(moved, {"weight": weight, "bias": bias}),
    ]


def _limit(value: npt.NDArray[np.float32]) -> float:
    return _RATIO * float(np.abs(value).max()) + _FLOOR


def _bias(work: Workpiece, node: onnx.NodeProto, head: Head, classes: int) -> str:
    """Name of an initializer of one value per class that is added to the logits; made where there is none."""
    if not head.bias:
        zeros = work.constant(f"{head.node}/bias", np.zeros(classes, np.float32))
        if node.op_type == "MatMul":
            node.op_type = "Gemm"
        del node.input[2:]
        node.input.append(zeros)
        return zeros
    after = descendants(work.view, node.output[0])
    sums = (n for n in work.model.graph.node if n.output[0] in after and n.op_type == "Add")
    holder = node if head.bias in node.input else next(n for n in sums if head.bias in n.input)
    index = list(holder.input).index(head.bias)
    name = work.own(holder, index)
    value = work.view.constant(name)
    assert value is not None
    if value.size == classes:
        return name
    return work.replace(holder, index, f"{head.node}/bias", np.broadcast_to(value.reshape(-1), (classes,)))
