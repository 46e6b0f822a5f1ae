"""Augmentations that make the teachers robust: spectra, filters, fields and patches (registered by name).

The invariants are those of `augment`. Each has its source in its docstring; all are written for batches.
None is one of the fifteen test corruptions, nor one under another name. Chains of image operations (AugMix)
are in `augmix`.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from edgeadapt_models.train.augment import AUGMENTATIONS

FIELD_EXPONENTS = (1.5, 3.5)
"""Range of the exponent a of the 1/f^a amplitude spectra of `fractal_field`; white noise (0) is kept out."""


def _chosen(count: int, share: float, generator: torch.Generator) -> Tensor:
    """Indices of a random ``share`` of a batch, int64 [n]."""
    return (torch.rand(count, generator=generator) < share).nonzero().flatten()


def _uniform(low: float, high: float, count: int, generator: torch.Generator) -> Tensor:
    """Uniform float32 [count, 1, 1, 1]."""
    return torch.rand(count, 1, 1, 1, generator=generator) * (high - low) + low


@AUGMENTATIONS.register("amplitude-swap")
def amplitude_swap(images: Tensor, generator: torch.Generator) -> Tensor:
    """Amplitude-phase recombination (Chen et al. 2021, arXiv 2108.08487, APR-P).

    Half the images keep the phase of their spectrum and take the amplitude of another image of the batch.
    """
    picked = _chosen(len(images), 0.5, generator)
    if len(picked) == 0:
        return images
    other = torch.randint(0, len(images), (len(picked),), generator=generator)
    spectrum = torch.fft.rfft2(images[picked])
    amplitude = torch.fft.rfft2(images[other]).abs()
    mixed = torch.fft.irfft2(torch.polar(amplitude, spectrum.angle()), s=images.shape[-2:])
    result = images.clone()
    result[picked] = mixed.clamp(0.0, 1.0)
    return result


@AUGMENTATIONS.register("random-convolution")
def random_convolution(images: Tensor, generator: torch.Generator) -> Tensor:
    """Random convolutions (Xu et al. 2021, arXiv 2007.13003), mixed with the image.

    A third of the images are filtered by their own 3x3 kernel of N(0, 1/(9 C)) weights, brought back to the
    mean and spread of the image, and mixed with it by a uniform share.
    """
    picked = _chosen(len(images), 0.33, generator)
    count, (_, channels, height, width) = len(picked), images.shape
    if count == 0:
        return images
    source = images[picked]
    kernels = torch.randn(count * channels, channels, 3, 3, generator=generator)
    padded = functional.pad(source, (1, 1, 1, 1), mode="replicate")
    stacked = padded.reshape(1, count * channels, height + 2, width + 2)
    filtered = functional.conv2d(stacked, kernels, groups=count).view_as(source)
    spread, centre = torch.std_mean(filtered, dim=(1, 2, 3), keepdim=True)
    source_spread, source_centre = torch.std_mean(source, dim=(1, 2, 3), keepdim=True)
    filtered = (filtered - centre) / (spread + 1e-4) * source_spread + source_centre
    share = _uniform(0.0, 1.0, count, generator)
    result = images.clone()
    result[picked] = torch.lerp(source, filtered, share).clamp(0.0, 1.0)
    return result


def fractal_field(count: int, channels: int, height: int, width: int, generator: torch.Generator) -> Tensor:
    """Random pictures with a 1/f^a amplitude spectrum, float32 [count, channels, height, width] in [0, 1]."""
    rows = torch.fft.fftfreq(height).view(1, 1, -1, 1) * height
    columns = torch.fft.rfftfreq(width).view(1, 1, 1, -1) * width
    frequency = (rows.square() + columns.square()).sqrt().clamp_min_(1.0)
    exponent = _uniform(*FIELD_EXPONENTS, count, generator)
    shape = (2, count, channels, height, width // 2 + 1)
    real, imaginary = torch.randn(shape, generator=generator) * frequency.pow(-exponent)
    field = torch.fft.irfft2(torch.complex(real, imaginary), s=(height, width))
    low, high = field.amin((2, 3), keepdim=True), field.amax((2, 3), keepdim=True)
    result: Tensor = (field - low) / (high - low + 1e-6)
    return result


@AUGMENTATIONS.register("fractal-shade")
def fractal_shade(images: Tensor, generator: torch.Generator) -> Tensor:
    """Multiplication by structured pictures (PixMix, Hendrycks et al. 2022, arXiv 2112.05135).

    A third of the images are multiplied by a random 1/f^a picture, with a random strength: uneven light.
    PixMix also adds its pictures. That is left out here: a 1/f^a picture laid over an image is the test
    corruption fog.
    """
    picked = _chosen(len(images), 0.33, generator)
    if len(picked) == 0:
        return images
    _, channels, height, width = images.shape
    field = fractal_field(len(picked), channels, height, width, generator)
    strength = _uniform(0.1, 0.9, len(picked), generator)
    result = images.clone()
    result[picked] = (images[picked] * (1.0 - strength + 2.0 * strength * field)).clamp(0.0, 1.0)
    return result


@AUGMENTATIONS.register("picture-mix")
def picture_mix(images: Tensor, generator: torch.Generator) -> Tensor:
    """Mixing with another picture, which keeps the label (the additive half of PixMix, same paper).

    A third of the images are mixed with another image of the batch, turned by a multiple of 90 degrees and
    inverted at random, that takes up to 45 %.
    """
    picked = _chosen(len(images), 0.33, generator)
    count = len(picked)
    if count == 0:
        return images
    other = images[torch.randint(0, len(images), (count,), generator=generator)]
    if images.shape[-2] == images.shape[-1]:
        other = other.rot90(int(torch.randint(0, 4, (1,), generator=generator)), (-2, -1))
    inverted = torch.rand(count, 1, 1, 1, generator=generator) < 0.5
    share = _uniform(0.1, 0.45, count, generator)
    result = images.clone()
    result[picked] = torch.lerp(images[picked], torch.where(inverted, 1.0 - other, other), share)
    return result


@AUGMENTATIONS.register("plane-wave")
def plane_wave(images: Tensor, generator: torch.Generator) -> Tensor:
    """Adding random Fourier basis functions (AFA, Vaish et al. 2024, arXiv 2403.01944).

    To a third of the images, per channel, up to three sinusoids of random direction, frequency and phase.
    """
    picked = _chosen(len(images), 0.4, generator)
    count, (_, channels, height, width) = len(picked), images.shape
    rows = torch.arange(height).view(1, 1, 1, height, 1)
    columns = torch.arange(width).view(1, 1, 1, 1, width)
    shape = (count, channels, 3, 1, 1)
    frequency = torch.rand(shape, generator=generator) * 0.5
    angle = torch.rand(shape, generator=generator) * 2 * torch.pi
    phase = torch.rand(shape, generator=generator) * 2 * torch.pi
    strength = torch.rand(shape, generator=generator) * _uniform(0.0, 0.25, count, generator).unsqueeze(2)
    along = rows * angle.sin() + columns * angle.cos()
    wave = (strength * torch.sin(2 * torch.pi * frequency * along + phase)).sum(2)
    result = images.clone()
    result[picked] = (images[picked] + wave).clamp(0.0, 1.0)
    return result


@AUGMENTATIONS.register("cutout")
def cutout(images: Tensor, generator: torch.Generator) -> Tensor:
    """A square of up to 40 % of the side, filled with a random grey, in a third of the images.

    DeVries and Taylor 2017 (arXiv 1708.04552), with a random fill (Zhong et al. 2020, arXiv 1708.04896).
    """
    count, _, height, width = images.shape
    side = _uniform(0.15, 0.4, count, generator)
    rows = torch.arange(height).view(1, 1, -1, 1) / height
    columns = torch.arange(width).view(1, 1, 1, -1) / width
    top = _uniform(-0.2, 1.0, count, generator)
    left = _uniform(-0.2, 1.0, count, generator)
    inside = (rows >= top) & (rows < top + side) & (columns >= left) & (columns < left + side)
    active = torch.rand(count, 1, 1, 1, generator=generator) < 0.33
    return torch.where(inside & active, _uniform(0.0, 1.0, count, generator), images)
