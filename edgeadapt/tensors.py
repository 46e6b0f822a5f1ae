"""Named float tensors to bytes and back (safetensors), strictly and within limits.

Decoding raises WireError on anything but a well-formed container; it does not judge the values.
safetensors does not notice a flipped bit in its data, so whatever travels also carries a SHA-256.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import load, save

from edgeadapt.errors import WireError

FloatArray = npt.NDArray[np.float32]
Tensors = Mapping[str, npt.NDArray[Any]]


def encode_tensors(tensors: Tensors) -> bytes:
    """Serialise named arrays in sorted order, so that equal content is equal bytes."""
    return save({name: np.ascontiguousarray(tensors[name]) for name in sorted(tensors)})


def decode_tensors(data: bytes, *, max_bytes: int = 64 << 20) -> dict[str, npt.NDArray[Any]]:
    """Parse a safetensors container.

    Raises:
        WireError: too large, truncated or malformed.
    """
    if len(data) > max_bytes:
        raise WireError(f"tensors take {len(data)} bytes, more than the {max_bytes} allowed")
    try:
        return dict(load(data))
    except (SafetensorError, ValueError, KeyError, TypeError, OverflowError, AttributeError) as error:
        raise WireError(f"not a safetensors container: {error}") from error
