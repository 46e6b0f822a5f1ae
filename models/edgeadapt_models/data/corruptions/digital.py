"""What a pipeline does to pixels: contrast, elastic warp, pixelation and JPEG compression."""

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from edgeadapt_models.data.corruptions.fields import (
    Floats,
    box_matrix,
    nearest_matrix,
    resample,
    sample_at,
    shorter_side,
)
from edgeadapt_models.data.corruptions.scale import Scale

_CONTRAST = Scale((0.75, 0.5, 0.4, 0.3, 0.15), (0.4, 0.3, 0.2, 0.1, 0.05))
# Elastic lengths are shares of the shorter side. The published tables trade a shrinking affine jitter for a
# growing warp, and the picture moves less at severity 2 than at 1; here no severity moves it less.
_ELASTIC_WARP = Scale((0.0, 0.003, 0.008, 0.013, 0.017), (0.002, 0.0035, 0.005, 0.0065, 0.0085))
_ELASTIC_SMOOTH = Scale((0.1, 0.1, 0.06, 0.04, 0.03), (0.02, 0.015, 0.01, 0.01, 0.01))
_ELASTIC_JITTER = Scale((0.035, 0.045, 0.05, 0.055, 0.06), (0.02, 0.02, 0.02, 0.02, 0.02))
_PIXELATE_SHARE = Scale((0.95, 0.9, 0.85, 0.75, 0.65), (0.6, 0.5, 0.4, 0.3, 0.25))
_JPEG_QUALITY = Scale((80, 65, 58, 50, 40), (25, 18, 15, 10, 7))


def contrast(images: Floats, severity: int, rng: np.random.Generator) -> Floats:
    """Pull every value towards its channel's mean in the image."""
    kept = np.float32(_CONTRAST.at(severity, shorter_side(images)))
    mean = images.mean(axis=(1, 2), keepdims=True)
    flat: Floats = (images - mean) * kept + mean
    return flat


def elastic_transform(images: Floats, severity: int, rng: np.random.Generator) -> Floats:
    """Warp by a smooth random field after a random affine map (Simard, Steinkraus and Platt 2003)."""
    count, height, width, _ = images.shape
    side = shorter_side(images)
    jitter_px = _ELASTIC_JITTER.at(severity, side) * side
    corners_px = rng.uniform(-jitter_px, jitter_px, (count, 3, 2))
    rows, columns = _affine_grid(height, width, corners_px)
    smooth_px = _ELASTIC_SMOOTH.at(severity, side) * side
    noise = rng.uniform(-1, 1, (2, count, height, width))
    field = ndimage.gaussian_filter(noise, (0, 0, smooth_px, smooth_px), mode="reflect")
    field *= _ELASTIC_WARP.at(severity, side) * side / max(float(field.std()), 1e-9)
    return sample_at(images, (rows + field[0]).astype(np.float32), (columns + field[1]).astype(np.float32))


def pixelate(images: Floats, severity: int, rng: np.random.Generator) -> Floats:
    """Average over a coarser grid and show its cells."""
    _, height, width, _ = images.shape
    share = _PIXELATE_SHARE.at(severity, shorter_side(images))
    rows, columns = max(1, round(height * share)), max(1, round(width * share))
    coarse = resample(images, box_matrix(height, rows), box_matrix(width, columns))
    return resample(coarse, nearest_matrix(height, rows), nearest_matrix(width, columns))


def jpeg_compression(images: Floats, severity: int, rng: np.random.Generator) -> Floats:
    """Encode and decode each image as baseline JPEG."""
    quality = round(_JPEG_QUALITY.at(severity, shorter_side(images)))
    pixels = np.rint(images * 255).astype(np.uint8)
    decoded = np.empty_like(pixels)
    for index, picture in enumerate(pixels):
        buffer = io.BytesIO()
        Image.fromarray(picture[..., 0] if picture.shape[2] == 1 else picture).save(
            buffer, format="JPEG", quality=quality
        )
        decoded[index] = np.asarray(Image.open(buffer)).reshape(picture.shape)
    return decoded.astype(np.float32) / np.float32(255)


def _affine_grid(
    height: int, width: int, corners_px: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Source coordinates ``[N, H, W]`` of the affine maps that move three points by ``corners_px``."""
    third = min(height, width) // 3
    middle = np.array([height / 2, width / 2])
    points = middle + third * np.array([[1, 1], [1, -1], [-1, -1]])
    homogeneous = np.concatenate([points, np.ones((3, 1))], axis=1)
    maps = np.linalg.solve(homogeneous, points + corners_px)
    pixels = np.stack(
        [*np.meshgrid(np.arange(height), np.arange(width), indexing="ij"), np.ones((height, width))], axis=-1
    )
    source = np.einsum("hwk,nkd->nhwd", pixels, maps)
    return source[..., 0], source[..., 1]
