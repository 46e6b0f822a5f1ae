"""AugMix (Hendrycks et al. 2020, arXiv 1912.02781) on batches: mixed chains of simple image operations.

Operations: autocontrast, equalize, posterize, solarize, and the affine ones (rotate, shear, translate, zoom).
The operations that resemble test corruptions (contrast, brightness, sharpness, noise, blur) are left out, as
in the paper. The invariants are those of `augment`.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from edgeadapt_models.train.augment import AUGMENTATIONS, Augmentation

CHAINS = 2
"""Chains that are mixed; three in the paper, two here for speed."""

MAX_DEPTH = 2
"""Operations in a chain, at most."""


def autocontrast(images: Tensor, generator: torch.Generator) -> Tensor:
    """Stretch every channel of every image to the full range."""
    low, high = images.amin((2, 3), keepdim=True), images.amax((2, 3), keepdim=True)
    return (images - low) / (high - low + 1e-3)


def equalize(images: Tensor, generator: torch.Generator) -> Tensor:
    """Make the histogram of every channel flat: each value becomes its rank among the pixels."""
    levels = (images * 255.0).round().long().flatten(2)
    histogram = torch.zeros(*levels.shape[:2], 256).scatter_add_(2, levels, torch.ones(levels.shape))
    cumulative = histogram.cumsum(2) / levels.shape[2]
    return cumulative.gather(2, levels).view_as(images)


def posterize(images: Tensor, generator: torch.Generator) -> Tensor:
    """Keep 2 to 5 bits of every value."""
    levels = 2.0 ** torch.randint(2, 6, (len(images), 1, 1, 1), generator=generator)
    return (images * levels).floor().clamp_max(levels - 1) / (levels - 1)


def solarize(images: Tensor, generator: torch.Generator) -> Tensor:
    """Invert the values above a random threshold."""
    threshold = torch.rand(len(images), 1, 1, 1, generator=generator) * 0.75 + 0.25
    return torch.where(images >= threshold, 1.0 - images, images)


def affine(images: Tensor, generator: torch.Generator) -> Tensor:
    """Rotate (up to 30 degrees), shear (0.3), translate (a third) or zoom (0.7 to 1.3); one of them each."""
    count = len(images)
    kind = torch.randint(0, 6, (count,), generator=generator)
    amount = torch.rand(count, generator=generator) * 2 - 1
    zero, one = torch.zeros(count), torch.ones(count)
    angle = torch.where(kind == 0, amount * 0.52, zero)
    zoom = torch.where(kind == 1, one + amount * 0.3, one)
    shear_x = torch.where(kind == 2, amount * 0.3, zero)
    shear_y = torch.where(kind == 3, amount * 0.3, zero)
    move_x = torch.where(kind == 4, amount * 0.33, zero)
    move_y = torch.where(kind == 5, amount * 0.33, zero)
    first = torch.stack([zoom * angle.cos(), shear_x - angle.sin(), move_x], 1)
    second = torch.stack([shear_y + angle.sin(), zoom * angle.cos(), move_y], 1)
    grid = functional.affine_grid(torch.stack([first, second], 1), list(images.shape), align_corners=False)
    return functional.grid_sample(images, grid, mode="bilinear", padding_mode="zeros", align_corners=False)


OPERATIONS: tuple[Augmentation, ...] = (autocontrast, equalize, posterize, solarize, affine, affine, affine)
"""The affine operation stands for three of the seven picks."""


def apply_each(images: Tensor, picks: Tensor, generator: torch.Generator) -> Tensor:
    """Give every image the operation picked for it (int64 [N]; the number of operations means none)."""
    result = images.clone()
    for index, operation in enumerate(OPERATIONS):
        chosen = (picks == index).nonzero().flatten()
        if len(chosen):
            result[chosen] = operation(images[chosen], generator)
    return result


def _chain(images: Tensor, generator: torch.Generator) -> Tensor:
    """One to `MAX_DEPTH` random operations on every image."""
    depth = torch.randint(1, MAX_DEPTH + 1, (len(images),), generator=generator)
    for step in range(MAX_DEPTH):
        picks = torch.randint(0, len(OPERATIONS), (len(images),), generator=generator)
        images = apply_each(images, picks.where(depth > step, torch.tensor(len(OPERATIONS))), generator)
    return images


@AUGMENTATIONS.register("augmix")
def augmix(images: Tensor, generator: torch.Generator) -> Tensor:
    """Mix chains of operations with Dirichlet(1) weights, and the mixture with the image by Beta(1, 1)."""
    weights = torch.rand(CHAINS, len(images), 1, 1, 1, generator=generator).clamp_min_(1e-6).log().neg()
    weights = weights / weights.sum(0)
    mixture = sum_chains(images, weights, generator, _chain)
    share = torch.rand(len(images), 1, 1, 1, generator=generator)
    return torch.lerp(images, mixture, share).clamp(0.0, 1.0)


def sum_chains(
    images: Tensor,
    weights: Tensor,
    generator: torch.Generator,
    chain: Callable[[Tensor, torch.Generator], Tensor],
) -> Tensor:
    """Weighted sum of independent runs of ``chain``; weights float32 [chains, N, 1, 1, 1]."""
    total = torch.zeros_like(images)
    for weight in weights:
        total = total + weight * chain(images, generator)
    return total
