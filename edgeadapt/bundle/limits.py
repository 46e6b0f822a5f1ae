"""What an int8 artifact cannot take of a patch: a sign that turns, and values that its integers cannot hold.

Weights and the ranges of activations are fixed when a model is quantised; a patch moves scales and biases.
After a norm layer with statistics that fit its input, channel c has mean `bias` and standard deviation
|scale|. So a patch is refused when a channel's mean and one standard deviation,

    bias - |scale|   or   bias + |scale|,

leave what the 8-bit tensor behind the layer can hold, and by more than they do at the base. A sixth of a
bell curve is cut off then; measured, less costs no accuracy (`docs/adr`). Statistics are no part of this:
they bring a channel back to where scale and bias want it, so a device's own are never refused.

Pure: a device asks when a patch comes in, a cloud before it publishes one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from edgeadapt.bundle.bundle import Bundle
from edgeadapt.bundle.manifest import Artifact, NormLayer
from edgeadapt.bundle.materialise import SlotValues
from edgeadapt.bundle.writes import FoldNormInt8
from edgeadapt.errors import BundleError
from edgeadapt.tensors import FloatArray

_DEVIATIONS = 1.0
# Differences within this share of the tensor's range are rounding.
_SLACK = 1e-3


def check_values(bundle: Bundle, artifact: Artifact, values: SlotValues) -> None:
    """Raise BundleError, naming layer and channel, when the artifact cannot run a patch as it is meant.

    Args:
        bundle: holds the base values.
        artifact: the one that a device runs; float artifacts take everything.
        values: the patch's slot values, of the slots' shapes.
    """
    for write, layer in _int8_layers(bundle, artifact):
        if layer.scale not in values and layer.bias not in values:
            continue
        scale, bias = _value(bundle, values, layer.scale), _value(bundle, values, layer.bias)
        turned = np.flatnonzero(scale * _signs(write, len(scale)) < 0)
        if turned.size:
            raise BundleError(
                f"{artifact.file}: norm layer {layer.name}: channel {int(turned[0])} would change its sign, "
                f"which is in the int8 weights ({turned.size} of {len(scale)} channels)"
            )
        base = _beyond(write, bundle.slots[layer.scale], bundle.slots[layer.bias])
        excess = _beyond(write, scale, bias) - base
        worst = int(excess.argmax())
        if excess[worst] > _SLACK * ((write.high or 0.0) - (write.low or 0.0)):
            raise BundleError(
                f"{artifact.file}: norm layer {layer.name}: channel {worst} would saturate: "
                f"{bias[worst]:.4g} and a standard deviation of {abs(scale[worst]):.4g} leave {_range(write)}"
            )


def keep_signs(bundle: Bundle, values: SlotValues) -> dict[str, FloatArray]:
    """`values` with 0 in place of every scale whose sign the bundle's int8 artifacts cannot turn.

    The nearest value that they can run. Bundles without an int8 artifact get their values back unchanged.
    """
    kept: dict[str, FloatArray] = {name: np.asarray(value) for name, value in values.items()}
    for artifact in bundle.manifest.artifacts:
        for write, layer in _int8_layers(bundle, artifact):
            scale = kept.get(layer.scale)
            if scale is not None:
                turned = scale * _signs(write, scale.size).reshape(scale.shape) < 0
                kept[layer.scale] = np.where(turned, np.float32(0), scale)
    return kept


def _int8_layers(bundle: Bundle, artifact: Artifact) -> Iterator[tuple[FoldNormInt8, NormLayer]]:
    layers: Mapping[str, NormLayer] = {layer.name: layer for layer in bundle.manifest.norm_layers}
    for write in artifact.writes:
        if isinstance(write, FoldNormInt8):
            yield write, layers[write.layer]


def _value(bundle: Bundle, values: SlotValues, name: str) -> FloatArray:
    return np.asarray(values.get(name, bundle.slots[name])).reshape(-1)


def _signs(write: FoldNormInt8, channels: int) -> FloatArray:
    signs = np.ones(channels, np.float32)
    signs[list(write.negative)] = -1.0
    return signs


def _beyond(write: FoldNormInt8, scale: FloatArray, bias: FloatArray) -> FloatArray:
    """[C] how far each channel reaches beyond what can be held, at least 0."""
    centre, spread = bias.reshape(-1).astype(np.float64), _DEVIATIONS * np.abs(scale.reshape(-1))
    beyond = np.zeros(len(centre))
    if write.high is not None:
        beyond = np.maximum(beyond, centre + spread - write.high)
    if write.low is not None:
        beyond = np.maximum(beyond, write.low - (centre - spread))
    return beyond.astype(np.float32)


def _range(write: FoldNormInt8) -> str:
    if write.low is None:
        return f"what 8 bits hold, up to {write.high:.4g}"
    if write.high is None:
        return f"what 8 bits hold, from {write.low:.4g}"
    return f"what 8 bits hold, {write.low:.4g} to {write.high:.4g}"
