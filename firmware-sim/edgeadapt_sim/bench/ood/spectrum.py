"""Full-spectrum figures: clean frames and all corruptions at once, for scorers and combinations of p-values.

Known are clean and corrupted frames of known classes, unknown the near and far ones under the same
corruptions (Zhang et al. 2023, OpenOOD v1.5). Each domain counts alike. Scores of several domains are pooled
as they are, which a device does when it has one threshold; p-values are pooled by each domain's own knots.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from edgeadapt.scoring import conformal
from edgeadapt.tensors import FloatArray
from edgeadapt_sim.bench.ood.metrics import auroc, below, fpr95
from edgeadapt_sim.bench.ood.plan import ALPHAS, Spectrum

GROUPS = ("known", "near", "far")
SCORES = "scores"
_MOST = 3
_COMBINED = {"base": "base", "patched": "known"}
"""States in which combinations are looked at, and by which knots: there are hundreds of them."""


@dataclass(slots=True)
class Pool:
    """Values of one model in one state: (kind of values, scorer) -> group -> one array per domain."""

    network: str
    seed: int
    state: str
    values: dict[tuple[str, str], dict[str, list[FloatArray]]] = field(default_factory=dict)

    def add(self, kind: str, scorer: str, groups: Sequence[FloatArray]) -> None:
        """Values of a domain's known, near and far frames."""
        held = self.values.setdefault((kind, scorer), {group: [] for group in GROUPS})
        for group, values in zip(GROUPS, groups, strict=True):
            held[group].append(values)

    def spectra(self, combined: Sequence[str]) -> Iterator[Spectrum]:
        """Figures of every scorer, and of every pair and triple of `combined`."""
        joined = {key: [np.concatenate(held[g]) for g in GROUPS] for key, held in self.values.items()}
        for (kind, scorer), groups in joined.items():
            yield self._figures(kind, scorer, groups)
        kind = _COMBINED.get(self.state, "")
        there = [name for name in combined if (kind, name) in joined]
        for count in range(2, _MOST + 1):
            for names in itertools.combinations(there, count):
                parts = [joined[kind, name] for name in names]
                groups = [conformal.cauchy([part[g] for part in parts]) for g in range(len(GROUPS))]
                yield self._figures(kind, "+".join(names), groups)

    def _figures(self, kind: str, name: str, groups: Sequence[FloatArray]) -> Spectrum:
        known, near, far = groups
        unknown = np.concatenate([near, far])
        caught = () if kind == SCORES else tuple(_shares(groups, alpha) for alpha in ALPHAS)
        return Spectrum(
            self.network,
            self.seed,
            self.state,
            name,
            kind,
            auroc(known, unknown),
            auroc(known, near),
            auroc(known, far),
            fpr95(known, unknown),
            caught,
        )


def _shares(groups: Sequence[FloatArray], alpha: float) -> tuple[float, float, float]:
    known, near, far = (below(values, alpha) for values in groups)
    return known, near, far
