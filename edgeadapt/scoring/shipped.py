"""Tensors of scorers: made small to travel, and checked when they arrive."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from edgeadapt.errors import WireError
from edgeadapt.scoring.rows import Array

_ROUNDING = 1e-3
_MOST = float(np.finfo(np.float32).max)
_TYPES = (np.dtype(np.float16), np.dtype(np.float32))


def half(value: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """`value` as float16; as float32 where rounding would cost more than 1e-3 of its largest magnitude."""
    wide = np.minimum(np.maximum(np.asarray(value, dtype=np.float64), -_MOST), _MOST)
    top = float(np.abs(wide).max(initial=0.0))
    if top < float(np.finfo(np.float16).max):
        narrow = wide.astype(np.float16)
        if np.abs(narrow.astype(np.float64) - wide).max(initial=0.0) <= _ROUNDING * top:
            return narrow
    return wide.astype(np.float32)


def full(value: npt.NDArray[Any] | float) -> npt.NDArray[np.float32]:
    """`value` as float32 [...]; a number as [1]."""
    return np.atleast_1d(np.asarray(value, dtype=np.float64)).astype(np.float32)


def arrived(scorer: str, tensors: Mapping[str, npt.NDArray[Any]], **axes: str) -> tuple[Array, ...]:
    """Tensors in the order of `axes`, as float64.

    Args:
        scorer: its name, for the error.
        tensors: what came.
        axes: of each tensor one letter an axis, such as ``means="KD"``; the same letter is the same size, and
            "1" is one.

    Raises:
        WireError: a name is missing or unknown, or a shape or type is not so.
    """
    if set(tensors) != set(axes):
        found = ", ".join(sorted(tensors)) or "nothing"
        raise WireError(f"scorer {scorer!r} needs {', '.join(sorted(axes))}, got {found}")
    sizes = {"1": 1}
    for name, letters in axes.items():
        value = tensors[name]
        fits = value.dtype in _TYPES and value.ndim == len(letters) and value.size > 0
        if not fits or any(sizes.setdefault(a, n) != n for a, n in zip(letters, value.shape, strict=True)):
            raise WireError(
                f"scorer {scorer!r}: {name} must be float16 or float32 [{', '.join(letters)}], "
                f"got {value.dtype} {value.shape}"
            )
    return tuple(np.ascontiguousarray(tensors[name], dtype=np.float64) for name in axes)
