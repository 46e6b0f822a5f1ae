"""Small made-up pictures and data sets: smooth shapes, so that blur and warp change them."""

import numpy as np
import pytest
from numpy.typing import NDArray

from edgeadapt_models.data import Dataset


def make_images(count: int, height: int, width: int, channels: int, seed: int = 0) -> NDArray[np.uint8]:
    """Bright striped discs anywhere on a dark striped ground, uint8 ``[count, height, width, channels]``."""
    rng = np.random.default_rng(seed)
    row, column = np.mgrid[:height, :width]
    centre = rng.uniform(0.2, 0.8, (count, 2, 1, 1)) * np.array([height, width])[:, None, None]
    radius = rng.uniform(0.2, 0.35, (count, 1, 1)) * min(height, width)
    inside = (row - centre[:, 0]) ** 2 + (column - centre[:, 1]) ** 2 < radius**2
    stripes = 0.6 + 0.4 * np.sin(column * rng.uniform(0.5, 1.2, (count, 1, 1)) + row * 0.3)
    grey = 0.1 + 0.15 * stripes + 0.55 * inside * stripes
    tint = rng.uniform(0.6, 1.0, (count, 1, 1, channels))
    return np.asarray(np.rint(grey[..., None] * tint * 255), dtype=np.uint8)


@pytest.fixture(scope="session")
def toy() -> Dataset:
    """Four classes; 120 test pictures, 30 of each class; the test image's corner pixel is its index."""
    test_images = make_images(120, 28, 28, 1, seed=1)
    test_images[:, 0, 0, 0] = np.arange(120)
    labels = np.tile(np.arange(4), 30).astype(np.int64)
    return Dataset("toy", ("a", "b", "c", "d"), make_images(8, 28, 28, 1), labels[:8], test_images, labels)
