"""Classes that are left out."""

from __future__ import annotations

import numpy as np
import pytest

from edgeadapt.errors import ConfigError
from edgeadapt_models.data import Dataset
from edgeadapt_models.data.known import class_numbers, without

LABELS = np.array([0, 1, 2, 3, 2, 1], dtype=np.int64)
IMAGES = np.arange(6, dtype=np.uint8)[:, None, None, None] * np.ones((1, 8, 8, 1), dtype=np.uint8)
SET = Dataset("four", ("a", "b", "c", "d"), IMAGES, LABELS, IMAGES[::-1], LABELS[::-1].copy())


def test_images_of_other_classes_stay_and_their_labels_mean_the_same() -> None:
    known = without(SET, ("c", "a"))
    assert known.classes == ("b", "d")
    for images, labels, whole_images, whole_labels in (
        (known.train_images, known.train_labels, SET.train_images, SET.train_labels),
        (known.test_images, known.test_labels, SET.test_images, SET.test_labels),
    ):
        stays = np.isin(whole_labels, (1, 3))
        np.testing.assert_array_equal(images, whole_images[stays])
        names = [known.classes[label] for label in labels]
        assert names == [SET.classes[label] for label in whole_labels[stays]]


def test_nothing_left_out_is_the_set_itself() -> None:
    assert without(SET, ()) is SET


def test_what_cannot_be_left_out_is_named() -> None:
    with pytest.raises(ConfigError, match=r"no class 'e'; it has: a, b, c, d"):
        class_numbers(SET, ("a", "e"))
    with pytest.raises(ConfigError, match="fewer than two classes stay"):
        without(SET, ("a", "b", "c"))
