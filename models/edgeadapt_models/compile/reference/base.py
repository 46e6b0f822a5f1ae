"""The port: something that knows what a model ought to return.

Differences are the largest absolute difference over the largest magnitude (at least 1) of what is expected:
NaN where either is not finite, infinity where the shapes differ.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from edgeadapt.bundle import SlotValues
from edgeadapt.tensors import FloatArray
from edgeadapt_models.compile.graph.outputs import LOGITS
from edgeadapt_models.compile.reference.squash import squashed

Compare: TypeAlias = Callable[[Mapping[str, FloatArray]], dict[str, float]]
"""How far outputs ("logits", "embedding", and a probe graph's moments) are from what they ought to be;
by name, of those that the reference knows."""


class Reference(Protocol):
    """A model that does not depend on the compiler's own steps."""

    @property
    def title(self) -> str:
        """For people, such as "torch"."""
        ...

    def expect(self, x: FloatArray, values: SlotValues) -> Compare | None:
        """Run the reference, and return what outputs are to be compared with.

        Args:
            x: float32 [N, *shape], as bundles take it.
            values: slot values that were written over the base; empty for the base.

        Returns:
            None when it knows nothing for these values.

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


def comparing(expected: Mapping[str, npt.NDArray[Any]], squash: str = "") -> Compare:
    """Compare outputs with arrays of the same names; an output may have more columns behind.

    Args:
        expected: by name.
        squash: what the expected "logits" are of the logits, as in `reference.squash`.
    """

    def compare(actual: Mapping[str, FloatArray]) -> dict[str, float]:
        given: dict[str, npt.NDArray[Any]] = dict(actual)
        given[LOGITS] = squashed(actual[LOGITS], squash)
        return {
            name: relative_difference(value, given[name][:, : value.shape[1]])
            for name, value in expected.items()
            if name in given
        }

    return compare
