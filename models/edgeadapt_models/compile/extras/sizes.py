"""What a patch weighs, by kind of slot, against what may travel.

A patch need not name every slot: the sizes say what a strategy can afford to teach. The bound is that of
the signed envelope (`edgeadapt.patch.MAX_PATCH_BYTES`), which is also below what devices accept as an MQTT
message; a broker may set a lower one of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from edgeadapt.bundle import Slot
from edgeadapt.bundle.manifest import SlotKind
from edgeadapt.patch import MAX_PATCH_BYTES
from edgeadapt.tensors import encode_tensors

GROUPS: dict[str, tuple[SlotKind, ...]] = {
    "norm layers": ("norm_scale", "norm_bias", "norm_mean", "norm_var"),
    "head": ("head_weight", "head_bias"),
    "embedding shift": ("embedding_shift",),
    "input prompt": ("input_prompt",),
    "convolution adapters": ("conv_adapter",),
    "low-rank adapters": ("low_rank_down", "low_rank_up"),
    "tokens and bottlenecks": ("extra",),
}
# Header, evidence of the gate, signature vector and Ed25519 signature: generous.
_ENVELOPE_BYTES = 4096


@dataclass(frozen=True, slots=True)
class PatchSize:
    """Slots of one group.

    Attributes:
        group: a key of `GROUPS`, or "all".
        slots: how many.
        values: numbers in them.
        patch_bytes: of an envelope that carries all of them.
    """

    group: str
    slots: int
    values: int
    patch_bytes: int

    @property
    def travels(self) -> bool:
        """Whether one envelope may carry them all."""
        return self.patch_bytes <= MAX_PATCH_BYTES


def patch_sizes(slots: Sequence[Slot]) -> tuple[PatchSize, ...]:
    """One entry for each group that there is, and one for all of them."""
    groups = [(name, [slot for slot in slots if slot.kind in kinds]) for name, kinds in GROUPS.items()]
    return tuple(_size(name, found) for name, found in [*groups, ("all", list(slots))] if found)


def size_warnings(slots: Sequence[Slot]) -> tuple[str, ...]:
    """A line for each group that one envelope cannot carry whole."""
    return tuple(
        f"a patch of every slot of {size.group} takes {size.patch_bytes:,} bytes, more than the "
        f"{MAX_PATCH_BYTES:,} that a device accepts: teach a part of them"
        for size in patch_sizes(slots)
        if not size.travels and size.group != "all"
    )


def _size(group: str, slots: Sequence[Slot]) -> PatchSize:
    tensors = {slot.name: np.zeros(slot.shape, np.float32) for slot in slots}
    return PatchSize(
        group,
        len(slots),
        sum(tensor.size for tensor in tensors.values()),
        len(encode_tensors(tensors)) + _ENVELOPE_BYTES,
    )
