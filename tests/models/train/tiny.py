"""A small dataset of bars in three directions, and a recipe that learns it in a second."""

from __future__ import annotations

import io
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from edgeadapt_models.data import Dataset
from edgeadapt_models.train import recipes
from edgeadapt_models.train.recipe import Recipe

HOLDOUT = 40
NAME = "tiny-bars"
RECIPE = Recipe(
    name=f"{NAME}/resnet8", dataset=NAME, network="resnet8", epochs=2, batch=32, learning_rate=0.05, seed=3
)


def bars(count: int, seed: int) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Images uint8 [count, 12, 12, 1] of a bright bar on noise, and its direction as class."""
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, 3, count)
    images = generator.integers(0, 60, (count, 12, 12, 1), dtype=np.uint8)
    for image, label, place in zip(images, labels, generator.integers(3, 9, count), strict=True):
        if label == 0:
            image[place] = 220
        elif label == 1:
            image[:, place] = 220
        else:
            image[range(12), range(12)] = 220
    return images, labels


def dataset(train: int = 232, test: int = 96) -> Dataset:
    """The dataset; the train images beyond the holdout fill six batches."""
    return Dataset(NAME, ("level", "upright", "diagonal"), *bars(train, 1), *bars(test, 2))


def jpeg_copies(folder: Path) -> None:
    """Write the bars as a miniature of CIFAR-10's JPEG copies; 128 pictures to learn from."""
    for name, count, seed in (("train", 5128, 1), ("test", 96, 2)):
        images, labels = bars(64, seed)
        pictures = [_jpeg(image.repeat(3, axis=2)) for image in images]
        copies = [pictures[index % 64] for index in range(count)]
        np.savez(
            folder / f"{name}.npz",
            jpeg=np.frombuffer(b"".join(copies), dtype=np.uint8),
            offsets=np.cumsum([0, *map(len, copies)]),
            labels=np.resize(labels, count),
        )


def _jpeg(pixels: NDArray[np.uint8]) -> bytes:
    """One picture, enlarged to 32x32."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).resize((32, 32)).save(buffer, "jpeg")
    return buffer.getvalue()


def make_known() -> Recipe:
    """Register the recipe for those miniatures, once per process."""
    recipe = msgspec.structs.replace(RECIPE, name="tiny-copies/resnet8", dataset="cifar10")
    if recipe.name not in recipes.names():
        recipes.add(recipe)
    return recipe
