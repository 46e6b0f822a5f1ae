"""Norm layers in every way that exporters write them: the same numbers in, the same function out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from edgeadapt.bundle import NormLayer
from tests.models.compile.foreign.builder import Array, Net

EPSILON = 1e-3
GROUPS = 2


@dataclass(frozen=True)
class Values:
    """Parameters of one layer, [C] each; None where the graph is to have none."""

    scale: Array | None
    bias: Array | None
    mean: Array
    var: Array

    @staticmethod
    def random(channels: int, seed: int) -> Values:
        rng = np.random.default_rng(seed)
        return Values(
            rng.uniform(0.5, 1.5, channels).astype(np.float32),
            rng.normal(0, 0.5, channels).astype(np.float32),
            rng.normal(0, 0.3, channels).astype(np.float32),
            rng.uniform(0.5, 1.5, channels).astype(np.float32),
        )

    @staticmethod
    def of(layer: NormLayer, slots: dict[str, Array]) -> Values:
        """A compiled layer's values."""
        names = (layer.scale, layer.bias, layer.mean, layer.var)
        empty = np.zeros(layer.channels, np.float32)
        return Values(*(slots[name] if name else empty for name in names))


Norm = Callable[[Net, str, Values], str]


def _affine(net: Net, x: str, values: Values, shape: tuple[int, ...]) -> str:
    if values.scale is not None:
        x = net.op("Mul", x, net.const(values.scale.reshape(shape)))
    if values.bias is not None:
        x = net.op("Add", net.const(values.bias.reshape(shape)), x)
    return x


def _held(value: Array | None, like: Array) -> Array:
    return np.ones_like(like) if value is None else value


def batch(net: Net, x: str, v: Values) -> str:
    """BatchNormalization."""
    names = [net.const(_held(value, v.mean)) for value in (v.scale, v.bias, v.mean, v.var)]
    return net.op("BatchNormalization", x, *names, epsilon=EPSILON)


def instance(net: Net, x: str, v: Values) -> str:
    """InstanceNormalization."""
    names = [net.const(_held(value, v.mean)) for value in (v.scale, v.bias)]
    return net.op("InstanceNormalization", x, *names, epsilon=EPSILON)


def instance_written_out(net: Net, x: str, v: Values) -> str:
    """Over positions, with scale and bias behind."""
    return _affine(net, _div(net, x, [2, 3]), v, (-1, 1, 1))


def group_per_channel(net: Net, x: str, v: Values) -> str:
    """GroupNormalization of opset 21."""
    names = [net.const(_held(value, v.mean)) for value in (v.scale, v.bias)]
    return net.op("GroupNormalization", x, *names, num_groups=GROUPS, epsilon=EPSILON)


def group_per_group(net: Net, x: str, v: Values) -> str:
    """GroupNormalization of opset 18, whose scale is per group: what is per channel comes behind."""
    ones, zeros = net.const(np.ones(GROUPS, np.float32)), net.const(np.zeros(GROUPS, np.float32))
    normal = net.op("GroupNormalization", x, ones, zeros, num_groups=GROUPS, epsilon=EPSILON)
    return _affine(net, normal, v, (-1, 1, 1))


def group_by_instance(net: Net, x: str, v: Values) -> str:
    """Reshape, InstanceNormalization, Reshape to the shape that was, as torch writes it."""
    ones, zeros = net.const(np.ones(GROUPS, np.float32)), net.const(np.zeros(GROUPS, np.float32))
    flat = net.op("Reshape", x, net.shape(0, GROUPS, -1))
    normal = net.op("InstanceNormalization", flat, ones, zeros, epsilon=EPSILON)
    return _affine(net, net.op("Reshape", normal, net.op("Shape", x)), v, (-1, 1, 1))


def group_written_out(net: Net, x: str, v: Values) -> str:
    """Five axes, as TensorFlow add-ons write it."""
    channels = len(v.mean)
    apart = net.op("Reshape", x, net.shape(0, GROUPS, channels // GROUPS, 7, 7))
    normal = _div(net, apart, [2, 3, 4])
    return _affine(net, net.op("Reshape", normal, net.shape(0, channels, 7, 7)), v, (1, -1, 1, 1))


def group_of_all(net: Net, x: str, v: Values) -> str:
    """Over channels and positions at once."""
    return _affine(net, _div(net, x, [1, 2, 3]), v, (-1, 1, 1))


def _last(net: Net, x: str, inside: Callable[[str], str]) -> str:
    turned = net.op("Transpose", x, perm=[0, 2, 3, 1])
    return net.op("Transpose", inside(turned), perm=[0, 3, 1, 2])


def layer(net: Net, x: str, v: Values) -> str:
    """LayerNormalization; a bias that is not there is left out."""
    names = [net.const(_held(v.scale, v.mean))]
    if v.bias is not None:
        names.append(net.const(v.bias))
    return _last(net, x, lambda y: net.op("LayerNormalization", y, *names, axis=-1, epsilon=EPSILON))


def _centred(net: Net, x: str, axes: list[int], *, power: bool = True) -> tuple[str, str, str]:
    """(mean, difference, variance + epsilon)."""
    mean = net.mean(x, axes)
    difference = net.op("Sub", x, mean)
    if power:
        square = net.op("Pow", difference, net.const(np.array(2.0, np.float32)))
    else:
        square = net.op("Mul", difference, difference)
    variance = net.mean(square, axes)
    return mean, difference, net.op("Add", variance, net.const(np.array(EPSILON, np.float32)))


def _div(net: Net, x: str, axes: list[int]) -> str:
    _, difference, summed = _centred(net, x, axes)
    return net.op("Div", difference, net.op("Sqrt", summed))


def layer_div(net: Net, x: str, v: Values) -> str:
    """As torch wrote it before opset 17."""
    return _last(net, x, lambda y: _affine(net, _div(net, y, [-1]), v, (-1,)))


def layer_reciprocal(net: Net, x: str, v: Values) -> str:
    """Mul by the Reciprocal of the root; the square is a Mul; the Sub is there twice."""

    def inside(y: str) -> str:
        mean, _, summed = _centred(net, y, [3], power=False)
        inverse = net.op("Reciprocal", net.op("Sqrt", summed))
        return _affine(net, net.op("Mul", inverse, net.op("Sub", y, mean)), v, (1, 1, 1, -1))

    return _last(net, x, inside)


def layer_mean_and_variance(net: Net, x: str, v: Values) -> str:
    """x.mean() beside x.var(), which takes the mean once more; torch's older exporter."""

    def inside(y: str) -> str:
        _, _, summed = _centred(net, y, [3], power=False)
        difference = net.op("Sub", y, net.mean(y, [3]))
        return _affine(net, net.op("Div", difference, net.op("Sqrt", summed)), v, (-1,))

    return _last(net, x, inside)


def layer_axes_put_back(net: Net, x: str, v: Values) -> str:
    """The same of torch's newer exporter: the variance loses its axis and gets it back."""
    mean = net.mean(x, [1])
    difference = net.op("Sub", x, mean)
    lost = net.mean(net.op("Mul", difference, difference), [1], keepdims=0)
    size = net.op("Slice", net.op("Shape", lost), *(net.const(_integers(n)) for n in (0, 1)))
    kept = net.op("Reshape", lost, net.op("Concat", size, net.const(_integers(1, 7, 7)), axis=0))
    wide = net.op("Expand", kept, net.op("Concat", size, net.const(_integers(1, 7, 7)), axis=0))
    root = net.op("Sqrt", net.op("Add", wide, net.const(np.array(EPSILON, np.float32))))
    return _affine(net, net.op("Div", difference, root), v, (-1, 1, 1))


def _integers(*values: int) -> Array:
    return np.array(values, np.int64)


def layer_power(net: Net, x: str, v: Values) -> str:
    """Pow by -0.5."""

    def inside(y: str) -> str:
        _, difference, summed = _centred(net, y, [-1])
        inverse = net.op("Pow", summed, net.const(np.array(-0.5, np.float32)))
        return _affine(net, net.op("Mul", difference, inverse), v, (-1,))

    return _last(net, x, inside)


def layer_one_over(net: Net, x: str, v: Values) -> str:
    """Mul by 1 / root."""

    def inside(y: str) -> str:
        _, difference, summed = _centred(net, y, [-1])
        inverse = net.op("Div", net.const(np.array(1.0, np.float32)), net.op("Sqrt", summed))
        return _affine(net, net.op("Mul", difference, inverse), v, (-1,))

    return _last(net, x, inside)


def layer_scale_first(net: Net, x: str, v: Values) -> str:
    """The scale is multiplied into the reciprocal."""

    def inside(y: str) -> str:
        _, difference, summed = _centred(net, y, [-1])
        inverse = net.op("Reciprocal", net.op("Sqrt", summed))
        factor = net.op("Mul", inverse, net.const(_held(v.scale, v.mean)))
        return net.op("Add", net.op("Mul", difference, factor), net.const(_held(v.bias, v.mean)))

    return _last(net, x, inside)


def layer_tensorflow(net: Net, x: str, v: Values) -> str:
    """x * m + (bias - mean * m), as tf.nn.batch_normalization computes it."""

    def inside(y: str) -> str:
        mean, _, summed = _centred(net, y, [-1], power=False)
        inverse = net.op("Reciprocal", net.op("Sqrt", summed))
        factor = net.op("Mul", inverse, net.const(_held(v.scale, v.mean)))
        shift = net.op("Sub", net.const(_held(v.bias, v.mean)), net.op("Mul", mean, factor))
        return net.op("Add", net.op("Mul", y, factor), shift)

    return _last(net, x, inside)


def layer_channels_first(net: Net, x: str, v: Values) -> str:
    """Over the second axis, without a Transpose."""
    return _affine(net, _div(net, x, [1]), v, (-1, 1, 1))


def frozen(net: Net, x: str, v: Values) -> str:
    """A constant scale and shift per channel."""
    gain = _held(v.scale, v.mean) / np.sqrt(v.var + EPSILON)
    shift = _held(v.bias, v.mean) - v.mean * gain
    scaled = net.op("Mul", x, net.const(gain.reshape(-1, 1, 1)))
    return net.op("Add", scaled, net.const(shift.reshape(-1, 1, 1)))


def nothing(net: Net, x: str, v: Values) -> str:
    """No norm layer."""
    return x
