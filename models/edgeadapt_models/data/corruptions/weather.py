"""Weather and light: snow, frost, fog and brightness.

Frost is grown, not photographed: no image files are needed, and every frame gets its own pane.
"""

import numpy as np

from edgeadapt_models.data.corruptions.fields import (
    Floats,
    motion_blur,
    plasma,
    resample,
    shorter_side,
    zoom_matrix,
)
from edgeadapt_models.data.corruptions.scale import Scale

_SNOW_MEAN = Scale((0.1, 0.1, 0.15, 0.25, 0.3), (0.1, 0.2, 0.55, 0.55, 0.55))
_SNOW_STD = Scale((0.2, 0.2, 0.3, 0.3, 0.3), (0.3, 0.3, 0.3, 0.3, 0.3))
_SNOW_ZOOM = Scale((1, 1, 1.75, 2.25, 1.25), (3, 2, 4, 4.5, 2.5))
_SNOW_CUT = Scale((0.6, 0.5, 0.55, 0.6, 0.65), (0.5, 0.5, 0.9, 0.85, 0.85))
_SNOW_RADIUS_PX = Scale((8, 10, 10, 12, 14), (10, 12, 12, 12, 12), is_length=True)
_SNOW_SIGMA_PX = Scale((3, 4, 4, 6, 12), (4, 4, 8, 8, 12), is_length=True)
_SNOW_KEPT = Scale((0.95, 0.9, 0.9, 0.85, 0.8), (0.8, 0.7, 0.7, 0.65, 0.55))
_FROST_IMAGE = Scale((1, 1, 0.9, 0.85, 0.75), (1, 0.8, 0.7, 0.65, 0.6))
# A little more ice at severities 4 and 5 than published: there the darker scene hides what the ice adds.
_FROST_ICE = Scale((0.2, 0.3, 0.4, 0.48, 0.6), (0.4, 0.6, 0.7, 0.76, 0.82))
_FOG_WEIGHT = Scale((0.2, 0.5, 0.75, 1, 1.5), (1.5, 2, 2.5, 2.5, 3))
_FOG_DECAY = Scale((3, 3, 2.5, 2, 1.75), (2, 2, 1.7, 1.5, 1.4))
_BRIGHTNESS = Scale((0.05, 0.1, 0.15, 0.2, 0.3), (0.1, 0.2, 0.3, 0.4, 0.5))
_ICE_COLOUR = np.array([0.86, 0.94, 1.0], dtype=np.float32)
_LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)  # ITU-R BT.601


def snow(images: Floats, severity: int, rng: np.random.Generator) -> Floats:
    """Bright flakes drawn out by the wind, over a whitened scene."""
    side = shorter_side(images)
    count, height, width, _ = images.shape
    flakes = rng.standard_normal((count, height, width, 1), dtype=np.float32)
    flakes = flakes * np.float32(_SNOW_STD.at(severity, side)) + np.float32(_SNOW_MEAN.at(severity, side))
    factor = _SNOW_ZOOM.at(severity, side)
    flakes = resample(flakes, zoom_matrix(height, factor), zoom_matrix(width, factor))
    flakes = np.where(flakes < _SNOW_CUT.at(severity, side), np.float32(0), np.clip(flakes, 0, 1))
    angles = rng.uniform(np.pi / 4, 3 * np.pi / 4, (count,)).astype(np.float32)
    flakes = motion_blur(
        flakes, _SNOW_RADIUS_PX.at(severity, side), _SNOW_SIGMA_PX.at(severity, side), angles
    )
    kept = np.float32(_SNOW_KEPT.at(severity, side))
    white = np.maximum(images, _grey(images) * np.float32(1.5) + np.float32(0.5))
    covered: Floats = kept * images + (1 - kept) * white + flakes + flakes[:, ::-1, ::-1]
    return covered


def frost(images: Floats, severity: int, rng: np.random.Generator) -> Floats:
    """Look through a pane with ice crystals on it."""
    side = shorter_side(images)
    count, height, width, channels = images.shape
    ice = ice_texture((count, height, width), rng)[..., None]
    colour = _ICE_COLOUR if channels == 3 else np.ones(1, dtype=np.float32)
    through = np.float32(_FROST_IMAGE.at(severity, side))
    seen: Floats = through * images + np.float32(_FROST_ICE.at(severity, side)) * ice * colour
    return seen


def ice_texture(shape: tuple[int, int, int], rng: np.random.Generator) -> Floats:
    """Ice on a pane: needles along three axes 60 degrees apart and ridges, patchy. ``[N, H, W]`` on 0..1."""
    count, height, width = shape
    patches = plasma(shape, 1.6, rng)
    ridges = 1 - np.abs(2 * plasma(shape, 1.3, rng) - 1)
    needles = np.zeros((count, height, width, 1), dtype=np.float32)
    first_axis = rng.uniform(0, np.pi / 3, (count,)).astype(np.float32)
    length_px = max(2.0, min(height, width) / 10)
    for turn in range(6):
        seeds = (rng.random((count, height, width, 1), dtype=np.float32) < 0.012).astype(np.float32)
        grown = motion_blur(seeds, 2 * length_px, length_px, first_axis + np.float32(turn * np.pi / 3))
        needles = np.maximum(needles, grown * np.float32(2 * length_px))
    cover = np.clip(2.2 * patches - 0.35, 0, 1)
    ice: Floats = np.clip(0.15 + cover * (0.35 + 0.45 * ridges**2 + 0.55 * needles[..., 0]), 0, 1)
    return ice


def fog(images: Floats, severity: int, rng: np.random.Generator) -> Floats:
    """Add fractal clouds and compress the range to keep each image's brightest value."""
    side = shorter_side(images)
    weight = np.float32(_FOG_WEIGHT.at(severity, side))
    clouds = plasma(images.shape[:3], _FOG_DECAY.at(severity, side), rng)[..., None]
    brightest = images.max(axis=(1, 2, 3), keepdims=True)
    foggy: Floats = (images + weight * clouds) * brightest / (brightest + weight)
    return foggy


def brightness(images: Floats, severity: int, rng: np.random.Generator) -> Floats:
    """Raise the value of hue, saturation and value by a constant."""
    gain = np.float32(_BRIGHTNESS.at(severity, shorter_side(images)))
    value = images.max(axis=3, keepdims=True)
    raised = np.minimum(value + gain, 1)
    scaled: Floats = np.where(value > 0, images * raised / np.maximum(value, np.float32(1e-6)), raised)
    return scaled


def _grey(images: Floats) -> Floats:
    if images.shape[3] == 1:
        return images
    grey: Floats = images @ _LUMA
    return grey[..., None]
