"""A generation as the device thinks of it: a patch, or none, and the statistics held under it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from edgeadapt.tensors import FloatArray
from edgeadapt_device.core.adapt.domains.bank import BankEntry

Statistics = tuple[FloatArray, FloatArray]
_EMPTY: Mapping[str, FloatArray] = {}


@dataclass(frozen=True, slots=True)
class Running:
    """A patch (None: the base) and the [P] mean and variance held under it."""

    entry: BankEntry | None
    statistics: Statistics

    @property
    def digest(self) -> str:
        """The patch's digest, or "" for the base."""
        return self.entry.patch.digest if self.entry is not None else ""

    @property
    def values(self) -> Mapping[str, FloatArray]:
        """The patch's slot values; none for the base."""
        return self.entry.patch.values if self.entry is not None else _EMPTY
