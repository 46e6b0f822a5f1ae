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


@AUGMENTATIONS.register("flip")
def flip(images: Tensor, generator: torch.Generator) -> Tensor:
    """Mirror a random half of the images left to right."""
    chosen = torch.rand(len(images), generator=generator) < 0.5
    return torch.where(chosen.view(-1, 1, 1, 1), images.flip(3), images)


def _move(images: Tensor, reach: int, generator: torch.Generator) -> Tensor:
    """Move each image by up to ``reach`` pixels each way, black where nothing was."""
    count, channels, height, width = images.shape
    padded = functional.pad(images, (reach,) * 4)
    top, left = torch.randint(0, 2 * reach + 1, (2, count, 1), generator=generator)
    rows = (top + torch.arange(height)).view(count, 1, height, 1)
    columns = (left + torch.arange(width)).view(count, 1, 1, width)
    sample = torch.arange(count).view(-1, 1, 1, 1)
    channel = torch.arange(channels).view(1, -1, 1, 1)
    return padded[sample, channel, rows, columns]


@AUGMENTATIONS.register("shift")
def shift(images: Tensor, generator: torch.Generator) -> Tensor:
    """Shift by up to 2 pixels: enough for centred objects such as those of Fashion-MNIST."""
    return _move(images, 2, generator)


@AUGMENTATIONS.register("shift-4")
def shift_4(images: Tensor, generator: torch.Generator) -> Tensor:
    """Shift by up to 4 pixels, the usual amount on CIFAR-10 (He et al. 2016, arXiv 1512.03385)."""
    return _move(images, 4, generator)


def augment(images: Tensor, names: tuple[str, ...], generator: torch.Generator) -> Tensor:
    """Apply the named augmentations in order.

    Raises:
        ConfigError: a name is unknown.
    """
    for name in names:
        images = AUGMENTATIONS.get(name)(images, generator)
    return images
