"""Scale and zero point of every tensor in 8 bits, from a float model and source images.

A patch moves activations away from where the source has them, and integers do not follow: their ranges are
part of the file. So ranges get headroom: a quarter for activations, twice the range for means over positions,
which are narrow on the source and move as a whole. Measured, that costs no accuracy at the base, and patches
that shift channels by some standard deviations then agree with the float model (`docs/adr`).

What is computed from the input alone by constants (centring, scaling) needs no images: the range of an image
model's input is known, and frames of 8 bits stay exact. Also used for other runtimes' 8-bit artifacts.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import onnx

from edgeadapt.tensors import FloatArray
from edgeadapt_models.compile.quantise.qparams import ActivationParams, activation_params
from edgeadapt_models.compile.quantise.ranges import MIN_FRAMES, Method, TensorRange, measure_ranges

MAX_FRAMES = 512
"""As many are looked at, spread over those that are given."""
HEADROOM = 1.25
POOLED_HEADROOM = 2.0

_POINTWISE = ("Sub", "Add", "Mul", "Div", "BatchNormalization", "Identity", "Cast", "Clip")
_POOLS = ("GlobalAveragePool", "ReduceMean")
_VIEWS = ("Flatten", "Reshape", "Squeeze", "Unsqueeze", "Transpose", "Identity")


def calibrated_params(
    model: onnx.ModelProto,
    frames: FloatArray,
    tensors: Sequence[str],
    *,
    limits: tuple[float, float] | None,
    movable: Iterable[str] = (),
    method: Method = "mse",
) -> dict[str, ActivationParams]:
    """Choose how each tensor is held in 8 bits.

    Args:
        model: the float graph with its base values written in.
        frames: float32 [N, ...], of the source domain.
        tensors: names of float tensors of the graph.
        limits: least and greatest value of the input, where they are known (0 and 1 for images).
        movable: constants that a patch may change, such as a prompt: what they move gets headroom.
        method: how ranges are cut, see `ranges`.

    Raises:
        CompileError: too few frames, or a tensor that is not there or not finite; see `ranges`.
    """
    chosen = frames[:: max(1, len(frames) // MAX_FRAMES)][:MAX_FRAMES]
    measured = measure_ranges(model, chosen, tensors, method=method)
    reach = Reach(model.graph, frozenset(movable))
    if limits is not None:
        from_input = [name for name in tensors if reach.is_pointwise(name)]
        ends = np.stack([np.full(frames.shape[1:], end, np.float32) for end in limits])
        ends = np.concatenate([ends] * (MIN_FRAMES // 2))
        measured |= measure_ranges(model, ends, from_input, method="minmax")
    return {
        name: activation_params(reach.widened(name, held, known=limits is not None))
        for name, held in measured.items()
    }


class Reach:
    """What lies between the input and a tensor."""

    def __init__(self, graph: onnx.GraphProto, movable: frozenset[str] = frozenset()) -> None:
        """`movable` are constants that a patch may change."""
        self._producer = {name: node for node in graph.node for name in node.output}
        self._constants: Mapping[str, onnx.TensorProto] = {
            tensor.name: tensor for tensor in graph.initializer
        }
        self._inputs = {value.name for value in graph.input}
        self._movable = movable

    def is_pointwise(self, tensor: str) -> bool:
        """True when every element of the tensor is a monotone function of one element of the input."""
        return self._chain(tensor) is not None

    def _chain(self, tensor: str) -> list[onnx.NodeProto] | None:
        nodes: list[onnx.NodeProto] = []
        while tensor not in self._inputs:
            node = self._producer.get(tensor)
            if node is None or node.op_type not in (*_POINTWISE, *_VIEWS):
                return None
            varying = [name for name in node.input if name and name not in self._constants]
            if len(varying) != 1 or (node.op_type == "Div" and varying[0] != node.input[0]):
                return None
            nodes.append(node)
            tensor = varying[0]
        return nodes

    def widened(self, tensor: str, held: TensorRange, *, known: bool) -> TensorRange:
        """The range with its headroom."""
        chain = self._chain(tensor)
        if chain is not None and known:
            moved = any(name in self._movable for node in chain for name in node.input)
            # Black and white pixels are at the very ends, and a prompt goes either way.
            return _margins(held, HEADROOM) if moved else held
        node = self._producer.get(tensor)
        while node is not None and node.op_type in _VIEWS:
            node = self._producer.get(node.input[0])
        if node is None:
            return _grown(held, HEADROOM)
        if node.op_type == "Clip":
            return self._within(node, _grown(held, HEADROOM))
        if node.op_type in ("Sigmoid", "HardSigmoid", "Softmax"):
            return TensorRange(0.0, 1.0)
        return _grown(held, POOLED_HEADROOM if node.op_type in _POOLS else HEADROOM)

    def _within(self, clip: onnx.NodeProto, held: TensorRange) -> TensorRange:
        bounds = [self._bound(name) for name in (*clip.input[1:3], "", "")][:2]
        low, high = bounds
        return TensorRange(
            held.low if low is None else max(held.low, min(low, 0.0)),
            held.high if high is None else min(held.high, max(high, 0.0)),
        )

    def _bound(self, name: str) -> float | None:
        tensor = self._constants.get(name)
        return None if tensor is None else float(onnx.numpy_helper.to_array(tensor).reshape(()))


def _margins(held: TensorRange, factor: float) -> TensorRange:
    """As wide as `_grown`, with as much below as above."""
    margin = (held.high - held.low) * (factor - 1.0) / 2.0
    return TensorRange(held.low - margin, held.high + margin)


def _grown(held: TensorRange, factor: float) -> TensorRange:
    return TensorRange(held.low * factor, held.high * factor)
