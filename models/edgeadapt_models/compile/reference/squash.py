"""What a model makes of its logits at the end, as numbers: a reference that returns probabilities is compared
in probabilities, since the compiled model returns the logits before them.

Taking the function out of the graph is in `graph.outputs`.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import onnx

from edgeadapt.tensors import FloatArray
from edgeadapt_models.compile.graph.outputs import SQUASHING

_MOVES = ("Identity", "Flatten", "Reshape", "Squeeze", "Cast")


def squash_of(model: onnx.ModelProto, output: str) -> str:
    """The squashing function that `output` ends in, "" for none."""
    makers = {node.output[0]: node for node in model.graph.node}
    node = makers.get(output)
    while node is not None and node.op_type in _MOVES:
        node = makers.get(node.input[0])
    return node.op_type if node is not None and node.op_type in SQUASHING else ""


def squashed(logits: FloatArray, squash: str) -> npt.NDArray[np.float64]:
    """[N, K] logits after the function `squash`; as they are for ""."""
    values = logits.astype(np.float64)
    if squash == "Sigmoid":
        return np.asarray(1.0 / (1.0 + np.exp(-values)))
    if squash in ("Softmax", "LogSoftmax"):
        shifted = values - values.max(axis=1, keepdims=True)
        log = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
        return np.asarray(np.exp(log) if squash == "Softmax" else log)
    return values
