"""All scorers of this package, one file each; importing this registers them."""

from __future__ import annotations

from edgeadapt.scoring.scorers import energy, entropy, gen, margin, max_softmax

__all__ = ["energy", "entropy", "gen", "margin", "max_softmax"]
