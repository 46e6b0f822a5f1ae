"""What a patch weighs is what its envelope weighs; what is too large is said."""

from __future__ import annotations

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from edgeadapt.bundle import Slot
from edgeadapt.errors import Refusal, TrustError
from edgeadapt.patch import MAX_PATCH_BYTES, Evidence, PatchHeader, TrustedKeys, open_envelope, seal
from edgeadapt_models.compile.extras.sizes import patch_sizes, size_warnings

KEY = Ed25519PrivateKey.from_private_bytes(bytes(32))


def slot(name: str, kind: str, *shape: int) -> Slot:
    return Slot(name, kind, name, shape, -1.0, 1.0)  # type: ignore[arg-type]


def envelope(slots: list[Slot]) -> bytes:
    checks = tuple(Evidence(f"check-{i}", 0.5, 0.5, True, "a detail of some words") for i in range(8))
    header = PatchHeader("0" * 64, "cohort", 7, 1e9, 2e9, "anchored", 500, checks)
    values = {entry.name: np.zeros(entry.shape, np.float32) for entry in slots}
    return seal(header, values, np.zeros(64, np.float32), KEY)


def test_a_full_prompt_for_224_pixels_travels() -> None:
    slots = [slot("p", "input_prompt", 3, 224, 224), slot("s", "norm_scale", 32)]
    prompt = next(size for size in patch_sizes(slots) if size.group == "input prompt")
    actual = len(envelope(slots[:1]))
    assert prompt.values == 3 * 224 * 224
    assert actual <= prompt.patch_bytes <= actual + 4096
    assert prompt.travels
    assert not size_warnings(slots)


def test_what_devices_would_refuse_is_said() -> None:
    """The head of a MobileNetV2 for a thousand classes, with its 1,280 values each."""
    slots = [slot("head.weight", "head_weight", 1000, 1280), slot("head.bias", "head_bias", 1000)]
    (warning,) = size_warnings(slots)
    assert "head" in warning
    assert f"{MAX_PATCH_BYTES:,}" in warning
    with pytest.raises(TrustError) as refused:
        open_envelope(envelope(slots), TrustedKeys([KEY.public_key().public_bytes_raw()]))
    assert refused.value.refusal is Refusal.TOO_LARGE


def test_groups_add_up() -> None:
    slots = [
        slot("a", "norm_scale", 4),
        slot("b", "norm_bias", 4),
        slot("c", "conv_adapter", 4, 4),
        slot("d", "low_rank_up", 4, 1),
        slot("e", "extra", 3),
    ]
    *groups, everything = patch_sizes(slots)
    assert [size.group for size in groups] == [
        "norm layers",
        "convolution adapters",
        "low-rank adapters",
        "tokens and bottlenecks",
    ]
    assert everything.group == "all"
    assert everything.values == sum(size.values for size in groups) == 31
