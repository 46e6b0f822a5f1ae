"""A data set without some of its classes: what a model learns that is then shown what it never saw.

The images left out are the nearest unknown there is: same source, same camera, same resolution. Labels of
the classes that stay are renumbered in order, so the result is a data set like any other.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from edgeadapt.errors import ConfigError
from edgeadapt_models.data.base import Dataset


def without(dataset: Dataset, names: Sequence[str]) -> Dataset:
    """The data set without the classes called ``names``; the order of images and classes stays.

    Raises:
        ConfigError: a name is not a class of the data set, or fewer than two classes would stay.
    """
    held_out = class_numbers(dataset, names)
    if not len(held_out):
        return dataset
    stays = np.setdiff1d(np.arange(len(dataset.classes)), held_out)
    if len(stays) < 2:
        raise ConfigError(
            f"data set {dataset.name!r} without {', '.join(names)}: fewer than two classes stay"
        )
    train, test = (np.isin(labels, stays) for labels in (dataset.train_labels, dataset.test_labels))
    return Dataset(
        dataset.name,
        tuple(dataset.classes[number] for number in stays),
        dataset.train_images[train],
        np.searchsorted(stays, dataset.train_labels[train]).astype(np.int64),
        dataset.test_images[test],
        np.searchsorted(stays, dataset.test_labels[test]).astype(np.int64),
    )


def class_numbers(dataset: Dataset, names: Sequence[str]) -> NDArray[np.int64]:
    """The numbers of classes by name, ascending int64; raises ConfigError on a name that is none."""
    unknown = sorted(set(names) - set(dataset.classes))
    if unknown:
        raise ConfigError(
            f"data set {dataset.name!r} has no class {unknown[0]!r}; it has: {', '.join(dataset.classes)}"
        )
    return np.array(sorted({dataset.classes.index(name) for name in names}), dtype=np.int64)
