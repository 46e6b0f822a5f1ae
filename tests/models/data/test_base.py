"""A Dataset that exists is consistent."""

import numpy as np
import pytest

from edgeadapt.errors import ConfigError
from edgeadapt_models.data import Dataset
from tests.models.data.conftest import make_images

IMAGES = make_images(4, 8, 8, 3)
LABELS = np.array([0, 1, 0, 1])


def test_a_consistent_set_gives_its_image_shape() -> None:
    assert Dataset("x", ("a", "b"), IMAGES, LABELS, IMAGES, LABELS).image_shape == (8, 8, 3)


def test_label_beyond_the_classes_is_refused() -> None:
    with pytest.raises(ConfigError, match="test split: labels run from 0 to 2"):
        Dataset("x", ("a", "b"), IMAGES, LABELS, IMAGES, np.array([0, 1, 2, 0]))


def test_float_images_are_refused() -> None:
    with pytest.raises(ConfigError, match="must be uint8"):
        Dataset("x", ("a", "b"), IMAGES / 255, LABELS, IMAGES, LABELS)  # type: ignore[arg-type]


def test_splits_of_two_sizes_are_refused() -> None:
    with pytest.raises(ConfigError, match="test images are"):
        Dataset("x", ("a", "b"), IMAGES, LABELS, make_images(4, 9, 9, 3), LABELS)


@pytest.mark.parametrize("labels", [LABELS[:2], LABELS.astype(np.int32)])
def test_labels_of_another_length_or_type_are_refused(labels: np.ndarray) -> None:
    with pytest.raises(ConfigError, match="labels must be int64"):
        Dataset("x", ("a", "b"), IMAGES, labels, IMAGES, LABELS)


def test_an_empty_split_is_refused() -> None:
    with pytest.raises(ConfigError, match="train split is empty"):
        Dataset("x", ("a", "b"), IMAGES[:0], LABELS[:0], IMAGES, LABELS)
