"""Slots of the manifest: their bounds, and the norm layers that they belong to.

Bounds are generous, since a patch is judged by the cloud's gate; they are there to stop absurd values:

    scale, bias   |x| <= 4 max|base| + 4
    mean          |x| <= 50 (max|base mean| + max sqrt(base var)), and at least 50
    var           0 <= x <= 1e4 max(base var) + 1

A variance of 0 is a channel that is constant on the source data; epsilon keeps the division finite.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from edgeadapt.bundle import NormLayer, Slot
from edgeadapt.bundle.manifest import SlotKind
from edgeadapt.errors import CompileError
from edgeadapt.tensors import FloatArray
from edgeadapt_models.compile.analyse.sites import NormSite
from edgeadapt_models.compile.graph.place import Named

CHANNEL_EPSILON = 1e-5
"""Of folded layers, whose own epsilon went with their norm layer."""


def norm_layers(found: Iterable[Named]) -> tuple[NormLayer, ...]:
    """The manifest's norm layers, in order of execution, with their places in the probe vector."""
    layers: list[NormLayer] = []
    offset = 0
    for entry in found:
        site = entry.site
        names = {kind.removeprefix("norm_"): name for kind, name in entry.slots}
        epsilon = site.epsilon if isinstance(site, NormSite) else CHANNEL_EPSILON
        layers.append(NormLayer(entry.name, site.kind, site.channels, epsilon, offset, **names))
        offset += site.channels
    return tuple(layers)


def make_slots(found: Iterable[Named], values: Mapping[str, FloatArray]) -> tuple[Slot, ...]:
    """One slot per norm tensor, with bounds from the base values.

    Raises:
        CompileError: a base value is NaN or infinite, or a variance is negative.
    """
    slots: list[Slot] = []
    for entry in found:
        spread = max((_spread(values[name]) for kind, name in entry.slots if kind == "norm_var"), default=0.0)
        for kind, name in entry.slots:
            value = values[name]
            if not np.isfinite(value).all():
                raise CompileError(f"{name} holds NaN or infinity: the model is broken or untrained")
            lower, upper = _bounds(kind, value, spread)
            if value.min() < lower:
                raise CompileError(f"{name} holds {value.min()}, below {lower}")
            slots.append(Slot(name, kind, entry.name, (entry.site.channels,), lower, upper))
    return tuple(slots)


def _spread(variance: FloatArray) -> float:
    return float(np.sqrt(max(float(variance.max()), 0.0)))


def _bounds(kind: SlotKind, value: FloatArray, spread: float) -> tuple[float, float]:
    largest = float(np.abs(value).max())
    if kind == "norm_var":
        return 0.0, 1e4 * largest + 1.0
    limit = max(50.0 * (largest + spread), 50.0) if kind == "norm_mean" else 4.0 * largest + 4.0
    return -limit, limit
