"""Slot values by content.

The cloud issues a patch again before it expires: a new envelope, with another serial and digest, around
the same values. To a device that is no new patch: what proved itself, or did harm, are the values.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from edgeadapt.digest import sha256_hex
from edgeadapt.tensors import FloatArray


def values_name(values: Mapping[str, FloatArray]) -> str:
    """A name that only equal values share; it is no patch's digest.

    >>> one, same = {"a": np.ones(2, np.float32)}, {"a": np.ones(2, np.float32)}
    >>> values_name(one) == values_name(same), values_name(one) == values_name({})
    (True, False)
    """
    parts = [
        f"{name} {value.shape} ".encode() + np.ascontiguousarray(value, dtype="<f4").tobytes()
        for name, value in sorted(values.items())
    ]
    return f"values:{sha256_hex(b''.join(parts))}"
