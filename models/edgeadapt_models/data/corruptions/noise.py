"""Sensor noise: Gaussian, shot (photon counting) and impulse (dead and hot pixels)."""

import numpy as np

from edgeadapt_models.data.corruptions.fields import Floats, shorter_side
from edgeadapt_models.data.corruptions.scale import Scale

_GAUSSIAN_STD = Scale((0.04, 0.06, 0.08, 0.09, 0.10), (0.08, 0.12, 0.18, 0.26, 0.38))
_SHOT_PHOTONS = Scale((500, 250, 100, 75, 50), (60, 25, 12, 5, 3))
_IMPULSE_SHARE = Scale((0.01, 0.02, 0.03, 0.05, 0.07), (0.03, 0.06, 0.09, 0.17, 0.27))


def gaussian_noise(images: Floats, severity: int, rng: np.random.Generator) -> Floats:
    """Add independent normal noise to every value."""
    std = np.float32(_GAUSSIAN_STD.at(severity, shorter_side(images)))
    noisy: Floats = images + std * rng.standard_normal(images.shape, dtype=np.float32)
    return noisy


def shot_noise(images: Floats, severity: int, rng: np.random.Generator) -> Floats:
    """Count photons: Poisson with a white pixel's mean count as the constant."""
    photons = _SHOT_PHOTONS.at(severity, shorter_side(images))
    return (rng.poisson(images * photons) / photons).astype(np.float32)


def impulse_noise(images: Floats, severity: int, rng: np.random.Generator) -> Floats:
    """Set a share of all values to 0 or 1, half of them each."""
    share = _IMPULSE_SHARE.at(severity, shorter_side(images))
    draw = rng.random(images.shape, dtype=np.float32)
    return np.where(draw < share / 2, np.float32(0), np.where(draw < share, np.float32(1), images))
