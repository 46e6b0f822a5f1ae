"""All scorers of this package, one file each; importing this registers them."""

from __future__ import annotations

from edgeadapt.scoring.scorers import (
    abet,
    energy,
    entropy,
    fdbd,
    gen,
    hdc,
    margin,
    max_softmax,
    prototype_mixture,
    rmds,
    style,
    vim,
)

__all__ = [
    "abet",
    "energy",
    "entropy",
    "fdbd",
    "gen",
    "hdc",
    "margin",
    "max_softmax",
    "prototype_mixture",
    "rmds",
    "style",
    "vim",
]
