"""Whitened signature features: differences as the source's own frames differ, with correlations taken out.

Features of a first layer are much alike: what many of them share varies a lot from frame to frame, what
sets them apart hardly at all. A corruption that moves the latter (noise, blur, resampling) is plain to see
once each direction is measured in its own deviation, and is lost among the former otherwise. So a
difference [S] is divided by the source deviations, then multiplied by W with W W' ~ inv(C), where C is the
source's correlation matrix, drawn towards the identity (Ledoit and Wolf 2004, section 2). W is scaled
so that one frame of the source lies 1 away from the mean, root mean square: a mean of n frames lies
1 / sqrt(n) away, as it does without whitening.

Up to `MOST_FEATURES` features there is one block: 4 S^2 bytes, so 4 KB for 16 channels and 64 KB for 64.
More are split into blocks of neighbouring channels, each with its mean and its deviation features. A bundle
without W, made before there was one, has the identity.

Not here: what distances are for (`signature`), and what they say (`drift`).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from edgeadapt.bundle.calibration import Calibration
from edgeadapt.tensors import FloatArray

#: Residuals of one frame count up to this length (root mean square): an odd frame is no shift. Of the
#: source's frames 1 to 2 in a hundred are longer.
CLIP = 2.0
#: Features of one block at most: 256 KB.
MOST_FEATURES = 256
# Share of the identity in the correlation matrix: at least this, and with few frames as much as those need.
_SHRINK = 0.05
_SMALL = 1e-6

Array = npt.NDArray[np.float64]


def whiten(difference: npt.NDArray[np.floating], calibration: Calibration) -> Array:
    """Differences [..., S] between signature features, whitened; not finite where they are not."""
    scaled = difference / np.maximum(calibration.signature_std, _SMALL).astype(np.float64)
    matrices = calibration.signature_whitening
    if not matrices.size:
        return np.asarray(scaled, dtype=np.float64)
    if len(matrices) == 1:
        return np.asarray(scaled @ matrices[0], dtype=np.float64)
    blocks = _to_blocks(scaled, len(matrices))
    return _from_blocks(np.matmul(blocks[..., None, :], matrices)[..., 0, :])


def clipped(whitened: Array, most: float) -> Array:
    """Vectors [..., S] of a root mean square of at most `most`; longer ones keep their direction only."""
    size = np.sqrt(np.mean(whitened**2, axis=-1, keepdims=True))
    return np.asarray(whitened * np.minimum(1.0, most / np.maximum(size, _SMALL)), dtype=np.float64)


def fit(features: npt.NDArray[np.floating]) -> FloatArray:
    """[B, G, G] float32 with B * G = S, from the source's signature features [N, S], S even.

    Features without variance, and a single frame, give the identity in their place.
    """
    values = features.astype(np.float64)
    frames, size = values.shape
    scaled = (values - values.mean(axis=0)) / np.maximum(values.std(axis=0), _SMALL)
    count = _block_count(size)
    blocks = np.moveaxis(_to_blocks(scaled, count), -2, 0)
    found = [_inverse_root(block.T @ block / frames, frames) for block in blocks]
    return np.stack(found).astype(np.float32)


def _block_count(size: int) -> int:
    """The fewest blocks of whole channels that are small enough."""
    channels = size // 2
    return next(
        count
        for count in range(1, channels + 1)
        if channels % count == 0 and size // count <= max(MOST_FEATURES, 2)
    )


def _inverse_root(correlation: Array, frames: int) -> Array:
    size = len(correlation)
    share = float(np.clip(size / frames, _SHRINK, 1.0))
    values, vectors = np.linalg.eigh((1.0 - share) * correlation + share * np.eye(size))
    root = (vectors / np.sqrt(np.maximum(values, _SMALL))) @ vectors.T
    spread = float(np.trace(root @ correlation @ root)) / size
    return np.asarray(root / np.sqrt(spread) if spread > _SMALL else np.eye(size), dtype=np.float64)


def _to_blocks(values: Array, count: int) -> Array:
    """[..., S] as [..., B, G]: means and deviations of neighbouring channels together."""
    *rest, size = values.shape
    halves = values.reshape(*rest, 2, count, size // (2 * count))
    return np.moveaxis(halves, -3, -2).reshape(*rest, count, size // count)


def _from_blocks(blocks: Array) -> Array:
    """[..., B, G] as [..., S]; the order within does not matter to a distance, but is the features' own."""
    *rest, count, size = blocks.shape
    halves = blocks.reshape(*rest, count, 2, size // 2)
    return np.moveaxis(halves, -2, -3).reshape(*rest, count * size)
