"""Compile a network of the zoo: its weights, its card and its own fit split give all that is needed."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from edgeadapt.errors import ConfigError
from edgeadapt_models.compile.compiler import Compilation, compile_with_report
from edgeadapt_models.data import load
from edgeadapt_models.train.split import Labelled, split
from edgeadapt_models.zoo import load_pretrained, weights_card

CALIBRATION_IMAGES = 4000
_SAMPLE_SEED = 0


def compile_pretrained(
    name: str, out: Path, *, images: int = CALIBRATION_IMAGES, root: Path | None = None
) -> Compilation:
    """Compile the weights called `name` ("fashion-mnist/resnet8") into the folder `out`.

    Args:
        name: as in `edgeadapt_models.zoo.pretrained_names`.
        out: the bundle's folder.
        images: how many images of the fit split the calibration is measured on (drawn with a fixed seed).
        root: folder that holds the data set; None: where it is usually found.

    Raises:
        ConfigError: unknown name, damaged weights, or a data set that is not there or not the weights' own.
        CompileError: the network cannot become a bundle.
    """
    card = weights_card(name)
    dataset = load(card.recipe.dataset, root=root)
    if dataset.classes != card.classes:
        raise ConfigError(f"data set {dataset.name!r} does not have the classes that {name!r} was trained on")
    sample = draw(split(dataset).fit, images)
    return compile_with_report(
        load_pretrained(name),
        name=name,
        classes=card.classes,
        input_shape=(card.channels, card.height, card.width),
        calibration_images=sample.images,
        calibration_labels=sample.labels,
        out=out,
    )


def draw(source: Labelled, count: int) -> Labelled:
    """`count` of the images (all, if there are fewer), without replacement, the same ones every time."""
    total = len(source.labels)
    chosen = np.random.default_rng(_SAMPLE_SEED).permutation(total)[:count]
    return Labelled(source.images[chosen], source.labels[chosen])
