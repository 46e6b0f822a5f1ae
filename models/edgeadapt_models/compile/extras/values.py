"""Values of further slots than norm layers', to check with."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgeadapt.bundle import Slot, SlotValues
from edgeadapt.tensors import FloatArray

_SHARE = 0.02


def disturbed(
    slots: Sequence[Slot], base: SlotValues, seed: int, share: float = _SHARE
) -> dict[str, FloatArray]:
    """Random values of every slot that is none of a norm layer, near the base and within bounds.

    Gates of tokens, which are shut at their lower bound, are opened: nothing else would show what is behind.

    Args:
        slots: the bundle's slots.
        base: base value of each.
        seed: of the values.
        share: standard deviation of what is added.
    """
    rng = np.random.default_rng(seed)
    values: dict[str, FloatArray] = {}
    for slot in slots:
        if slot.kind.startswith("norm_"):
            continue
        moved = base[slot.name] + share * rng.standard_normal(slot.shape)
        if slot.kind == "extra" and (base[slot.name] <= slot.lower).all():
            moved = np.full(slot.shape, slot.upper)
        values[slot.name] = np.clip(moved, slot.lower, slot.upper).astype(np.float32)
    return values
