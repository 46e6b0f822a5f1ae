"""Scores of single frames: what a model's outputs say about whether a frame is like the source.

`softmax` holds what everything else needs: probabilities and entropy. `base` is the contract of a scorer
and the registry of all of them; `scorers` has one file for each, and `plugins` finds those of other packages;
`conformal` turns scores into p-values; `suite` is all of it for one bundle. numpy only; nothing here reads a
frame, and nothing decides what becomes of one.
"""

from __future__ import annotations

from edgeadapt.scoring.base import SCORERS, STRANGEST, Head, Outputs, Scorer, ScorerKind, Source
from edgeadapt.scoring.plugins import scorer_kind, scorer_names
from edgeadapt.scoring.softmax import (
    RedundancyFilter,
    entropy,
    entropy_bounds,
    softmax,
    softmax_and_entropy,
)
from edgeadapt.scoring.suite import Suite, Thresholds

__all__ = [
    "SCORERS",
    "STRANGEST",
    "Head",
    "Outputs",
    "RedundancyFilter",
    "Scorer",
    "ScorerKind",
    "Source",
    "Suite",
    "Thresholds",
    "entropy",
    "entropy_bounds",
    "scorer_kind",
    "scorer_names",
    "softmax",
    "softmax_and_entropy",
]
