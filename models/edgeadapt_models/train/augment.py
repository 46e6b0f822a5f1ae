"""Augmentations on whole batches, by name.

Invariants: each takes float32 images [N, C, H, W] in [0, 1] and a generator, and returns images of the same
shape, type and range; the same generator state gives the same result; none of them is one of the fifteen
test corruptions (no noise, blur, weather, contrast, brightness, elastic, pixelate or JPEG step).
This file has the standard ones; the robust ones register themselves from `augment_robust`.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from edgeadapt.registry import Registry

Augmentation = Callable[[Tensor, torch.Generator], Tensor]

AUGMENTATIONS: Registry[Augmentation] = Registry("augmentation")

MAX_SHIFT = 2
"""Largest shift of an image, pixels, in each direction."""


@AUGMENTATIONS.register("flip")
def flip(images: Tensor, generator: torch.Generator) -> Tensor:
    """Mirror a random half of the images left to right."""
    chosen = torch.rand(len(images), generator=generator) < 0.5
    return torch.where(chosen.view(-1, 1, 1, 1), images.flip(3), images)


@AUGMENTATIONS.register("shift")
def shift(images: Tensor, generator: torch.Generator) -> Tensor:
    """Move each image by up to `MAX_SHIFT` pixels each way, black where nothing was."""
    count, channels, height, width = images.shape
    padded = functional.pad(images, (MAX_SHIFT,) * 4)
    top, left = torch.randint(0, 2 * MAX_SHIFT + 1, (2, count, 1), generator=generator)
    rows = (top + torch.arange(height)).view(count, 1, height, 1)
    columns = (left + torch.arange(width)).view(count, 1, 1, width)
    sample = torch.arange(count).view(-1, 1, 1, 1)
    channel = torch.arange(channels).view(1, -1, 1, 1)
    return padded[sample, channel, rows, columns]


def augment(images: Tensor, names: tuple[str, ...], generator: torch.Generator) -> Tensor:
    """Apply the named augmentations in order.

    Raises:
        ConfigError: a name is unknown.
    """
    for name in names:
        images = AUGMENTATIONS.get(name)(images, generator)
    return images
