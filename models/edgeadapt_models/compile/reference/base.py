"""The port: something that knows what a model ought to return.

Differences are the largest absolute difference over the largest magnitude (at least 1) of what is expected:
NaN where either is not finite, infinity where the shapes differ.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from edgeadapt.bundle import SlotValues
from edgeadapt.tensors import FloatArray


class Reference(Protocol):
    """A model that does not depend on the compiler's own steps."""

    @property
    def title(self) -> str:
        """For people, such as "torch"."""
        ...

    def differences(
        self, actual: Mapping[str, FloatArray], x: FloatArray, values: SlotValues
    ) -> dict[str, float]:
        """How far outputs are from what they ought to be, by output.

        Args:
            actual: "logits", "embedding" and, of a probe graph, the moments.
            x: float32 [N, *shape], as bundles take it.
            values: slot values that were written over the base; empty for the base.

        Returns:
            Of those outputs that this reference knows for these values; empty when it knows none.

        Raises:
            CompileError: the reference does not run.
        """
        ...


def relative_difference(expected: npt.NDArray[Any], actual: npt.NDArray[Any]) -> float:
    """See the module's docstring."""
    if expected.shape != actual.shape:
        return float("inf")
    if not (np.isfinite(expected).all() and np.isfinite(actual).all()):
        return float("nan")
    gap = np.abs(expected.astype(np.float64) - actual).max(initial=0.0)
    return float(gap / max(1.0, float(np.abs(expected).max(initial=0.0))))
