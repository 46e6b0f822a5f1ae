"""Normalisation that an exporter wrote out in elementary operators.

    mean = ReduceMean(x)            d = Sub(x, mean)
    var  = ReduceMean(d * d)        d * d is Pow(d, 2) or Mul(d, d)
    s    = Add(var, epsilon)        then one of
        Div(d, Sqrt(s))   Mul(d, Reciprocal(Sqrt(s)))   Mul(d, Div(1, Sqrt(s)))   Mul(d, Pow(s, -0.5))

In each, the constant scale may come behind, or be multiplied into the reciprocal first, and TensorFlow's form
never computes d a second time: m = r * scale; Add(Mul(x, m), Sub(bias, Mul(mean, m))). Which kind of layer it
is follows from the axes of the mean: see `operators`.
"""

from __future__ import annotations

from dataclasses import dataclass

import onnx

from edgeadapt_models.compile.analyse.affine import affine_behind, bias_behind, vector
from edgeadapt_models.compile.analyse.sites import Value
from edgeadapt_models.compile.analyse.view import GraphView, attribute, channel_axis

_SHAPING = ("Expand", "Reshape", "Unsqueeze")
"""What torch's newer exporter puts behind a mean that keeps its axes."""


@dataclass(frozen=True, slots=True)
class Core:
    """A tensor and its normalised form, with what scales and shifts it.

    Attributes:
        tensor: what is normalised.
        axes: axes of the mean, sorted, not negative.
        epsilon: added to the variance.
        node: the node that ends the normalisation (its first output).
        normal: the normalised tensor, before scale and bias; "" where the scale is multiplied in first.
        axis: channel axis of scale and bias; None when there is neither.
        scale, bias: or None.
    """

    tensor: str
    axes: tuple[int, ...]
    epsilon: float
    node: str
    normal: str
    axis: int | None
    scale: Value | None
    bias: Value | None


def find_cores(view: GraphView) -> list[Core]:
    """Every normalisation in elementary operators, in order of execution."""
    cores: list[Core] = []
    for node in view.nodes:
        core = _core(view, node) if node.op_type == "ReduceMean" else None
        if core is not None:
            cores.append(core)
    return cores


def mean_axes(view: GraphView, node: onnx.NodeProto) -> tuple[int, ...] | None:
    """Axes of a ReduceMean, sorted and not negative; None when they are not constant."""
    shape = view.shape(node.input[0])
    axes = attribute(node, "axes")
    if axes is None and len(node.input) > 1:
        held = view.constant(node.input[1])
        axes = None if held is None else held.reshape(-1).tolist()
    if shape is None or not axes:
        return None
    return tuple(sorted(int(axis) % len(shape) for axis in axes))


def _core(view: GraphView, variance: onnx.NodeProto) -> Core | None:
    """The normalisation whose variance `variance` computes."""
    axes = mean_axes(view, variance)
    difference = _squared(view, variance.input[0])
    if axes is None or difference is None:
        return None
    sub = view.made_by(difference, "Sub")
    if sub is None or _mean_of(view, sub.input[1], sub.input[0]) != axes:
        return None
    kept = _with_axes(view, variance.output[0], _kept(view.shape(sub.input[0]) or (), axes))
    added = None if kept is None else _plus_epsilon(view, kept)
    if added is None:
        return None
    summed, epsilon = added
    return _Search(view, sub.input[0], axes, epsilon).from_sum(summed)


def _kept(shape: tuple[int, ...], axes: tuple[int, ...]) -> tuple[int, ...]:
    """Shape of a mean over `axes` that keeps them."""
    return tuple(1 if axis in axes else size for axis, size in enumerate(shape))


def _mean_of(view: GraphView, tensor: str, source: str) -> tuple[int, ...] | None:
    """Axes of the mean of `source` that `tensor` is, shaped as if it had kept them; else None."""
    shape, end = view.shape(tensor), tensor
    while (node := view.made_by(end, *_SHAPING)) is not None:
        end = node.input[0]
    mean = view.made_by(end, "ReduceMean")
    axes = None if mean is None or mean.input[0] != source else mean_axes(view, mean)
    return axes if axes is not None and shape == _kept(view.shape(source) or (), axes) else None


def _with_axes(view: GraphView, tensor: str, wanted: tuple[int, ...]) -> str | None:
    """`tensor`, or what it becomes when axes of length 1 are put in until it has the shape `wanted`."""
    while True:
        readers = [node for node in view.readers(tensor) if node.op_type != "Shape"]
        if len(readers) != 1 or readers[0].op_type not in _SHAPING or readers[0].input[0] != tensor:
            return tensor if view.shape(tensor) == wanted else None
        tensor = readers[0].output[0]


def _squared(view: GraphView, tensor: str) -> str | None:
    """d, when `tensor` is d * d."""
    node = view.made_by(tensor, "Pow", "Mul")
    if node is None:
        return None
    if node.op_type == "Pow":
        return node.input[0] if view.scalar(node.input[1]) == 2.0 else None
    return node.input[0] if node.input[0] == node.input[1] else None


def _plus_epsilon(view: GraphView, variance: str) -> tuple[str, float] | None:
    node = view.only_reader(variance, "Add")
    if node is None:
        return None
    for _, constant, _other in view.constant_operands(node):
        value = view.scalar(constant)
        if value is not None and 0 <= value < 1:
            return node.output[0], value
    return None


@dataclass(frozen=True, slots=True)
class _Search:
    """From var + epsilon to the normalised tensor."""

    view: GraphView
    tensor: str
    axes: tuple[int, ...]
    epsilon: float

    def from_sum(self, summed: str) -> Core | None:
        power = self.view.only_reader(summed, "Pow")
        if power is not None and self.view.scalar(power.input[1]) == -0.5:
            return self._from_reciprocal(power.output[0])
        root = self.view.only_reader(summed, "Sqrt")
        if root is None:
            return None
        for node in self.view.readers(root.output[0]):
            if node.op_type == "Div" and node.input[1] == root.output[0] and self._is_centred(node.input[0]):
                return self._plain(node.output[0])
            inverse = node.op_type == "Reciprocal" or (
                node.op_type == "Div" and self.view.scalar(node.input[0]) == 1.0
            )
            if inverse:
                return self._from_reciprocal(node.output[0])
        return None

    def _is_centred(self, tensor: str) -> bool:
        node = self.view.made_by(tensor, "Sub")
        return node is not None and node.input[0] == self.tensor and self._is_mean(node.input[1])

    def _is_mean(self, tensor: str) -> bool:
        """The mean, or a copy: `x.mean()` beside `x.var()` takes it twice."""
        return _mean_of(self.view, tensor, self.tensor) == self.axes

    def _plain(self, normal: str) -> Core:
        behind = affine_behind(self.view, normal)
        return Core(
            self.tensor, self.axes, self.epsilon, normal, normal, behind.axis, behind.scale, behind.bias
        )

    def _from_reciprocal(self, inverse: str) -> Core | None:
        """`inverse` is 1 / sqrt(var + epsilon): multiplied with d, or with the scale first."""
        for node in self.view.readers(inverse):
            if node.op_type != "Mul":
                continue
            other = node.input[1] if node.input[0] == inverse else node.input[0]
            if self._is_centred(other):
                return self._plain(node.output[0])
            if self.view.is_constant(other):
                return self._scaled_first(node, other)
        return None

    def _scaled_first(self, product: onnx.NodeProto, constant: str) -> Core | None:
        """`product` is scale / sqrt(var + epsilon)."""
        scale = vector(self.view, product, list(product.input).index(constant), "norm_scale")
        shape = self.view.shape(self.tensor)
        axis = None if scale is None or shape is None else channel_axis(scale.shape, len(shape))
        if scale is None or shape is None or axis is None or scale.value.size != shape[axis]:
            return None
        for node in self.view.readers(product.output[0]):
            other = node.input[1] if node.input[0] == product.output[0] else node.input[0]
            if node.op_type != "Mul":
                continue
            if self._is_centred(other):
                bias = bias_behind(self.view, node.output[0], axis)
                return Core(self.tensor, self.axes, self.epsilon, node.output[0], "", axis, scale, bias)
            if self._is_mean(other):
                return self._tensorflow(product.output[0], node.output[0], axis, scale)
        return None

    def _tensorflow(self, factor: str, shift: str, axis: int, scale: Value) -> Core | None:
        """`shift` is mean * factor: bias - shift is added to x * factor."""
        node = self.view.only_reader(shift, "Sub")
        bias = None if node is None or node.input[1] != shift else vector(self.view, node, 0, "norm_bias")
        end = None if node is None else self.view.only_reader(node.output[0], "Add")
        if node is None or bias is None or end is None or bias.value.size != scale.value.size:
            return None
        other = end.input[1] if end.input[0] == node.output[0] else end.input[0]
        product = self.view.made_by(other, "Mul")
        if product is None or set(product.input) != {self.tensor, factor}:
            return None
        return Core(self.tensor, self.axes, self.epsilon, end.output[0], "", axis, scale, bias)
