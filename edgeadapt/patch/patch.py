"""A patch: slot values for one bundle, with the evidence that let it out (bytes: `patch.envelope`)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import msgspec

from edgeadapt.tensors import FloatArray


class Evidence(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One check of the gate: what was measured, the bound it was held against, and the outcome."""

    check: str
    value: float
    bound: float
    passed: bool
    detail: str = ""


class PatchHeader(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is signed besides the tensors.

    `serial` rises within a cohort; a patch without tensors means "back to the base bundle".
    `created_s` and `expires_s` are wall seconds since 1970 UTC. `samples` is how many uploads taught it.
    """

    bundle: str
    cohort: str
    serial: int
    created_s: float
    expires_s: float
    strategy: str
    samples: int
    evidence: tuple[Evidence, ...]


@dataclass(frozen=True, slots=True)
class Patch:
    """A verified patch.

    Attributes:
        header: what it is for and why it was published.
        values: slot name to float32 array in the slot's shape; empty means the base bundle.
        signature: [S] signature vector of the domain it was made for, or empty.
        digest: SHA-256 (hex) of the signed envelope it came in.
        thresholds: scorer's name to [64] float32 knots under this patch; without them the base's hold.
    """

    header: PatchHeader
    values: Mapping[str, FloatArray]
    signature: FloatArray
    digest: str
    thresholds: Mapping[str, FloatArray] = field(default_factory=dict)
