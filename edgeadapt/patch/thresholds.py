"""The thresholds that travel with a patch: knots per scorer, as bytes and back.

A patch moves the embedding, so what is usual under the base may be strange under it, and the reverse: a
nominal 5 % of known frames called strange became 14 to 46 % when thresholds were not made anew. Knots are
those of `edgeadapt.scoring.conformal`: [64] float32, ascending. Scorers that a device does not know are for
other versions and are left aside there; it judges with the base's knots what has none here.

Not here: how knots are made (the cloud), and how a device uses them.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from edgeadapt.errors import Refusal, TrustError, WireError
from edgeadapt.scoring.conformal import KNOTS
from edgeadapt.tensors import FloatArray, decode_tensors, encode_tensors

MOST_SCORERS = 32
MAX_THRESHOLD_BYTES = 16 << 10
_LONGEST_NAME = 64

Thresholds = Mapping[str, FloatArray]


def pack_thresholds(thresholds: Thresholds) -> bytes:
    """As they travel, b"" for none; raises TrustError on what no device would take."""
    check_thresholds(thresholds)
    return encode_tensors(thresholds) if thresholds else b""


def unpack_thresholds(data: bytes) -> Thresholds:
    """The inverse; raises TrustError."""
    if not data:
        return {}
    try:
        thresholds = decode_tensors(data, max_bytes=MAX_THRESHOLD_BYTES)
    except WireError as error:
        raise TrustError(Refusal.MALFORMED, f"thresholds: {error}") from error
    check_thresholds(thresholds)
    return thresholds


def check_thresholds(thresholds: Thresholds) -> None:
    """Raise TrustError unless there are few, and each is [64] finite ascending float32."""
    if len(thresholds) > MOST_SCORERS:
        raise TrustError(
            Refusal.TOO_LARGE, f"thresholds of {len(thresholds)} scorers, more than {MOST_SCORERS}"
        )
    for name, knots in thresholds.items():
        if not 0 < len(name) <= _LONGEST_NAME:
            raise TrustError(Refusal.MALFORMED, f"thresholds: {len(name)} characters are no scorer's name")
        if knots.dtype != np.float32:
            raise TrustError(Refusal.WRONG_DTYPE, f"thresholds of {name!r} are {knots.dtype}, not float32")
        if knots.shape != (KNOTS,):
            raise TrustError(Refusal.WRONG_SHAPE, f"thresholds of {name!r} are {knots.shape}, not ({KNOTS},)")
        if not np.isfinite(knots).all():
            raise TrustError(Refusal.NOT_FINITE, f"thresholds of {name!r} hold NaN or Inf")
        if (knots[1:] < knots[:-1]).any():
            raise TrustError(Refusal.OUT_OF_BOUNDS, f"thresholds of {name!r} do not ascend")
