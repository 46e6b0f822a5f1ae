"""Which training images are learned from and which are kept back.

Invariant: the last `HOLDOUT` training images are never trained on, by any recipe. The cloud's gate and the
bundle's calibration rely on that. The test split is not touched here at all.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgeadapt.errors import ConfigError
from edgeadapt_models.data import Dataset

HOLDOUT = 5000
"""Images at the end of the training split that no recipe may learn from."""


@dataclass(frozen=True, slots=True)
class Labelled:
    """Images uint8 [N, H, W, C] with their labels int64 [N]."""

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Split:
    """The two parts of a training split."""

    fit: Labelled
    holdout: Labelled


def split(dataset: Dataset, *, holdout: int = HOLDOUT) -> Split:
    """Part the training images; ``holdout`` is smaller than the default only for tiny datasets in tests.

    Raises:
        ConfigError: nothing would be left to learn from.
    """
    count = len(dataset.train_labels)
    if not 0 < holdout < count:
        raise ConfigError(
            f"dataset {dataset.name!r} has {count} training images; {holdout} cannot be kept back from it"
        )
    images, labels = dataset.train_images, dataset.train_labels
    return Split(
        fit=Labelled(images[:-holdout], labels[:-holdout]),
        holdout=Labelled(images[-holdout:], labels[-holdout:]),
    )
