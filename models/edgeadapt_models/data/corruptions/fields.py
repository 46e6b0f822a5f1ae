"""Building blocks shared by the corruptions: resampling, motion blur and fractal textures, over a batch.

Invariants: images are float32 ``[N, H, W, C]`` on 0..1, textures float32 ``[N, H, W]``; every function is
pure but for the generator it is given. Not here: any severity constant.
"""

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Floats: TypeAlias = NDArray[np.float32]

_MIN_TAP_WEIGHT = 1e-3


def shorter_side(images: Floats) -> int:
    """The image size that severities are scaled by."""
    _, height, width, _ = images.shape
    return int(min(height, width))


def resample(images: Floats, rows: Floats, columns: Floats) -> Floats:
    """Apply one linear resampling to every image: ``rows`` ``[H2, H]`` and ``columns`` ``[W2, W]``."""
    count, height, width, channels = images.shape
    planes = np.ascontiguousarray(images.transpose(0, 3, 1, 2))
    wide = planes.reshape(-1, width) @ columns.T
    tall: Floats = rows @ wide.reshape(count * channels, height, columns.shape[0])
    return tall.reshape(count, channels, rows.shape[0], columns.shape[0]).transpose(0, 2, 3, 1)


def zoom_matrix(size: int, factor: float) -> Floats:
    """Linear interpolation that enlarges the centre by ``factor >= 1``: float32 ``[size, size]``."""
    centre = (size - 1) / 2
    source = centre + (np.arange(size) - centre) / factor
    low = np.clip(np.floor(source).astype(np.int64), 0, max(size - 2, 0))
    share = source - low
    matrix = np.zeros((size, size), dtype=np.float32)
    matrix[np.arange(size), low] = 1 - share
    matrix[np.arange(size), np.minimum(low + 1, size - 1)] += share.astype(np.float32)
    return matrix


def box_matrix(size: int, cells: int) -> Floats:
    """Average over ``cells`` equal cells, weighted by overlap: float32 ``[cells, size]``."""
    edges = np.linspace(0, size, cells + 1)
    pixels = np.arange(size)
    overlap = np.minimum(edges[1:, None], pixels + 1) - np.maximum(edges[:-1, None], pixels)
    weights = np.clip(overlap, 0, None)
    return np.asarray(weights / weights.sum(axis=1, keepdims=True), dtype=np.float32)


def nearest_matrix(size: int, cells: int) -> Floats:
    """Spread ``cells`` values over ``size`` pixels, each taking the cell under it: ``[size, cells]``."""
    owner = np.floor((np.arange(size) + 0.5) * cells / size).astype(np.int64)
    return np.eye(cells, dtype=np.float32)[owner]


def motion_blur(images: Floats, radius_px: float, sigma_px: float, angles_rad: Floats) -> Floats:
    """Smear each image one way along its own angle with half-Gaussian weights; edges are repeated.

    Args:
        images: ``[N, H, W, C]``.
        radius_px: longest reach is ``2 * radius_px``, as in the tool the published sets were made with.
        sigma_px: width of the Gaussian.
        angles_rad: ``[N]``, 0 points right, positive turns down.
    """
    count, height, width, _ = images.shape
    steps = np.arange(int(2 * radius_px) + 1)
    weights = np.exp(-(steps**2) / (2 * sigma_px**2))
    weights = weights[weights > _MIN_TAP_WEIGHT]
    weights /= weights.sum()
    frame = np.arange(count)[:, None, None]
    blurred: Floats = np.zeros_like(images)
    for step, weight in enumerate(weights):
        down = np.rint(step * np.sin(angles_rad)).astype(np.int64)
        right = np.rint(step * np.cos(angles_rad)).astype(np.int64)
        rows = np.clip(np.arange(height) + down[:, None], 0, height - 1)
        columns = np.clip(np.arange(width) + right[:, None], 0, width - 1)
        blurred += np.float32(weight) * images[frame, rows[:, :, None], columns[:, None, :]]
    return blurred


def sample_at(images: Floats, rows: Floats, columns: Floats) -> Floats:
    """Bilinear look-up at real coordinates ``[N, H, W]``; coordinates outside are mirrored at the edge."""
    _, height, width, _ = images.shape
    row, row_share = _split(_mirror(rows, height), height)
    column, column_share = _split(_mirror(columns, width), width)
    frame = np.arange(images.shape[0])[:, None, None]
    below, beside = np.minimum(row + 1, height - 1), np.minimum(column + 1, width - 1)
    top = images[frame, row, column] * (1 - column_share) + images[frame, row, beside] * column_share
    bottom = images[frame, below, column] * (1 - column_share) + images[frame, below, beside] * column_share
    mixed: Floats = top * (1 - row_share) + bottom * row_share
    return mixed


def plasma(shape: tuple[int, int, int], decay: float, rng: np.random.Generator) -> Floats:
    """Fractal clouds by midpoint displacement (diamond and square steps) on a torus, scaled to 0..1.

    Source: Fournier, Fussell and Carpenter, "Computer rendering of stochastic models", 1982.

    Args:
        shape: ``(N, H, W)``.
        decay: the displacement shrinks by ``decay ** 2`` at each halving of the step (the published
            fog's wobble enters squared); larger is smoother.
        rng: source of the displacements.
    """
    count, height, width = shape
    side = 1 << max(1, (max(height, width) - 1).bit_length())
    grid: Floats = np.zeros((count, 1, 1), dtype=np.float32)
    amplitude = 1.0
    while grid.shape[1] < side:
        grid = _refine(grid, amplitude, rng)
        amplitude /= decay**2
    grid = grid[:, :height, :width]
    low = grid.min(axis=(1, 2), keepdims=True)
    span = grid.max(axis=(1, 2), keepdims=True) - low
    scaled: Floats = (grid - low) / np.maximum(span, np.float32(1e-6))
    return scaled


def _refine(grid: Floats, amplitude: float, rng: np.random.Generator) -> Floats:
    """Double the resolution of a periodic grid ``[N, S, S]``."""
    count, side, _ = grid.shape
    noise = (rng.random((3, count, side, side), dtype=np.float32) * 2 - 1) * np.float32(amplitude)
    next_row, next_column = np.roll(grid, -1, axis=1), np.roll(grid, -1, axis=2)
    centre = (grid + next_row + next_column + np.roll(next_row, -1, axis=2)) / 4 + noise[0]
    on_row = (grid + next_column + centre + np.roll(centre, 1, axis=1)) / 4 + noise[1]
    on_column = (grid + next_row + centre + np.roll(centre, 1, axis=2)) / 4 + noise[2]
    fine = np.empty((count, 2 * side, 2 * side), dtype=np.float32)
    fine[:, ::2, ::2], fine[:, 1::2, 1::2] = grid, centre
    fine[:, ::2, 1::2], fine[:, 1::2, ::2] = on_row, on_column
    return fine


def _mirror(coordinates: Floats, size: int) -> Floats:
    last = size - 1
    folded: Floats = last - np.abs(last - np.abs(coordinates) % max(2 * last, 1))
    return folded


def _split(coordinates: Floats, size: int) -> tuple[NDArray[np.int64], Floats]:
    """Whole and fractional part; the fraction gets a channel axis."""
    whole = np.clip(np.floor(coordinates).astype(np.int64), 0, size - 1)
    return whole, (coordinates - whole).astype(np.float32)[..., None]
