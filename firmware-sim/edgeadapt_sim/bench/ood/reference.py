"""The same scores by somebody else's code on the same features, where the method is the same."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from edgeadapt.scoring import Scorer
from edgeadapt_sim.bench.ood.models import Source
from edgeadapt_sim.bench.ood.plan import Cost


@dataclass(frozen=True, slots=True)
class Compared:
    """With what, and how far apart relative to the largest magnitude."""

    against: str
    difference: float

    def beside(self, cost: Cost) -> Cost:
        """The cost with this in it."""
        return msgspec.structs.replace(cost, against=self.against, difference=self.difference)


def compare(name: str, scorer: Scorer, source: Source) -> Compared | None:
    """None where there is nothing to compare with."""
    return None
