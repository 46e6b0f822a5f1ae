"""Scores of single frames: what a model's outputs say about whether a frame is like the source.

`softmax` holds what everything else needs: probabilities and entropy. `base` is the contract of a scorer
and the registry of all of them; `scorers` has one file for each; `conformal` turns scores into p-values.
numpy only; nothing here reads a frame, and nothing decides what becomes of one.
"""

from __future__ import annotations

from edgeadapt.scoring.base import SCORERS, Head, Outputs, Scorer, ScorerKind, Source
from edgeadapt.scoring.softmax import (
    RedundancyFilter,
    entropy,
    entropy_bounds,
    softmax,
    softmax_and_entropy,
)

__all__ = [
    "SCORERS",
    "Head",
    "Outputs",
    "RedundancyFilter",
    "Scorer",
    "ScorerKind",
    "Source",
    "entropy",
    "entropy_bounds",
    "softmax",
    "softmax_and_entropy",
]
