"""Lens and motion: defocus, frosted glass, camera motion and zoom during exposure."""

import math

import numpy as np
from scipy import ndimage, signal

from edgeadapt_models.data.corruptions.fields import (
    Floats,
    resample,
    shorter_side,
    zoom_matrix,
)
from edgeadapt_models.data.corruptions.fields import (
    motion_blur as smear,
)
from edgeadapt_models.data.corruptions.scale import Scale

_DEFOCUS_RADIUS_PX = Scale((0.3, 0.4, 0.5, 1.0, 1.5), (3, 4, 6, 8, 10), is_length=True)
_DEFOCUS_SOFTNESS_PX = Scale((0.4, 0.5, 0.6, 0.2, 0.1), (0.1, 0.5, 0.5, 0.5, 0.5))
# The published tables trade blur against exchanges, so some severities change the picture less than the one
# before. Here the first round of exchanges is whole and the second grows with severity.
_GLASS_SIGMA_PX = Scale((0.05, 0.25, 0.25, 0.3, 0.4), (0.7, 0.9, 1.0, 1.1, 1.5), is_length=True)
_GLASS_REACH_PX = Scale((1, 1, 1, 1, 1), (1, 2, 2, 3, 4), is_length=True)
_GLASS_ROUNDS = Scale((1, 1.2, 1.5, 2, 3), (2, 2, 2.5, 2.5, 3))
_MOTION_RADIUS_PX = Scale((6, 6, 6, 8, 9), (10, 15, 15, 15, 20), is_length=True)
_MOTION_SIGMA_PX = Scale((1, 1.5, 2, 2.25, 2.5), (3, 5, 8, 12, 15), is_length=True)
_ZOOM_LARGEST = Scale((1.05, 1.10, 1.15, 1.20, 1.25), (1.10, 1.15, 1.20, 1.25, 1.30))
_ZOOM_STEP = Scale((0.01, 0.01, 0.01, 0.01, 0.01), (0.01, 0.01, 0.02, 0.02, 0.03))
_FFT_ABOVE_TAPS = 200


def defocus_blur(images: Floats, severity: int, rng: np.random.Generator) -> Floats:
    """Convolve with a slightly softened disk; edges are mirrored."""
    side = shorter_side(images)
    kernel = disk_kernel(_DEFOCUS_RADIUS_PX.at(severity, side), _DEFOCUS_SOFTNESS_PX.at(severity, side))
    if kernel.size <= _FFT_ABOVE_TAPS:
        return np.asarray(
            ndimage.correlate(images, kernel[None, :, :, None], mode="mirror"), dtype=np.float32
        )
    reach = kernel.shape[0] // 2
    padded = np.pad(images, ((0, 0), (reach, reach), (reach, reach), (0, 0)), mode="symmetric")
    return np.asarray(
        signal.fftconvolve(padded, kernel[None, :, :, None], mode="valid", axes=(1, 2)), dtype=np.float32
    )


def disk_kernel(radius_px: float, softness_px: float) -> Floats:
    """A disk of ``radius_px`` blurred by a Gaussian cut off at one pixel; sums to 1."""
    reach = int(np.ceil(radius_px)) + 1
    offset = np.arange(-reach, reach + 1)
    disk = (offset[:, None] ** 2 + offset[None, :] ** 2 <= radius_px**2).astype(np.float64)
    soft = ndimage.gaussian_filter(disk, softness_px, mode="constant", radius=1)
    return np.asarray(soft / soft.sum(), dtype=np.float32)


def glass_blur(images: Floats, severity: int, rng: np.random.Generator) -> Floats:
    """Blur, exchange pixels with near neighbours at random, blur again.

    Exchanges whose neighbourhoods cannot touch are done together (a lattice of centres per step), so the
    cost does not grow with the number of pixels in Python.
    """
    side = shorter_side(images)
    sigma = _GLASS_SIGMA_PX.at(severity, side)
    reach = round(_GLASS_REACH_PX.at(severity, side))
    soft = _gaussian(images, sigma)
    rounds = _GLASS_ROUNDS.at(severity, side)
    for done in range(math.ceil(rounds)):
        _exchange(soft, reach, min(1.0, rounds - done), rng)
    return _gaussian(soft, sigma)


def motion_blur(images: Floats, severity: int, rng: np.random.Generator) -> Floats:
    """Smear along one direction per image, within 45 degrees of the horizontal."""
    side = shorter_side(images)
    angles = rng.uniform(-np.pi / 4, np.pi / 4, images.shape[:1]).astype(np.float32)
    return smear(images, _MOTION_RADIUS_PX.at(severity, side), _MOTION_SIGMA_PX.at(severity, side), angles)


def zoom_blur(images: Floats, severity: int, rng: np.random.Generator) -> Floats:
    """Average of the image and its enlargements up to the largest factor."""
    side = shorter_side(images)
    step = _ZOOM_STEP.at(severity, side)
    factors = np.arange(1.0, _ZOOM_LARGEST.at(severity, side) + step / 2, step).tolist()
    total: Floats = images.copy()
    for factor in factors:
        total += resample(images, zoom_matrix(images.shape[1], factor), zoom_matrix(images.shape[2], factor))
    total /= np.float32(len(factors) + 1)
    return total


def _gaussian(images: Floats, sigma_px: float) -> Floats:
    return np.asarray(ndimage.gaussian_filter(images, (0, sigma_px, sigma_px, 0)), dtype=np.float32)


def _exchange(images: Floats, reach: int, share: float, rng: np.random.Generator) -> None:
    """Swap a share of the inner pixels, in place, with one at most ``reach`` pixels away on each axis."""
    count, height, width, _ = images.shape
    frame = np.arange(count)[:, None, None]
    spacing = 2 * reach + 1
    for first_row in range(spacing):
        for first_column in range(spacing):
            rows = np.arange(reach + first_row, height - reach, spacing)[None, :, None]
            columns = np.arange(reach + first_column, width - reach, spacing)[None, None, :]
            size = (2, count, rows.size, columns.size)
            shift = rng.integers(-reach, reach, size=size, endpoint=True, dtype=np.int64)
            shift *= rng.random(size[1:]) < share
            here = (frame, rows, columns)
            there = (frame, rows + shift[0], columns + shift[1])
            kept = images[here]
            images[here] = images[there]
            images[there] = kept
