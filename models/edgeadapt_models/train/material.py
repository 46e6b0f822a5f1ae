"""What a recipe learns from: its data set, without the classes that it holds out."""

from __future__ import annotations

from pathlib import Path

from edgeadapt_models.data import Dataset, load
from edgeadapt_models.data.known import without
from edgeadapt_models.train.recipe import Recipe


def material(recipe: Recipe, *, root: Path | None = None) -> Dataset:
    """Load it; ``root`` as in `edgeadapt_models.data.load`.

    Raises:
        ConfigError: the data set is not there, or has no class that is held out.
        TransportError: it had to be downloaded and could not be.
    """
    return without(load(recipe.dataset, root=root), recipe.held_out)
