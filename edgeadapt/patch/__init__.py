"""Patches: signed slot values, and the checks a device makes before it believes one."""

from edgeadapt.patch.envelope import (
    MAX_PATCH_BYTES,
    TrustedKeys,
    check_fit,
    check_fresh,
    key_id,
    open_envelope,
    seal,
)
from edgeadapt.patch.patch import Evidence, Patch, PatchHeader
from edgeadapt.patch.thresholds import Thresholds

__all__ = [
    "MAX_PATCH_BYTES",
    "Evidence",
    "Patch",
    "PatchHeader",
    "Thresholds",
    "TrustedKeys",
    "check_fit",
    "check_fresh",
    "key_id",
    "open_envelope",
    "seal",
]
