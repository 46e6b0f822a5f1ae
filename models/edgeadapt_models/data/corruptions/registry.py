"""One entrance to all corruptions: :func:`corrupt`.

Same images, name, severity and generator state give the same result. Frames are worked on ``CHUNK`` at a
time from one generator, so two calls with one generator give what one call gives if the first takes a
multiple of ``CHUNK`` frames; other cuts draw the randomness in another order. Images with a side below
``MIN_SIDE`` are worked on with their edges repeated up to it, and cut out again.
"""

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from edgeadapt.errors import ConfigError
from edgeadapt.registry import Registry
from edgeadapt_models.data.corruptions import blur, digital, noise, weather
from edgeadapt_models.data.corruptions.fields import Floats

Corruption: TypeAlias = Callable[[Floats, int, np.random.Generator], Floats]
"""``(images float32 [N, H, W, C] on 0..1, severity 1..5, rng)``; the result is clipped by the caller."""

SEVERITIES = (1, 2, 3, 4, 5)
CHUNK = 256
MIN_SIDE = 8

_REGISTRY: Registry[Corruption] = Registry("corruption")
_STANDARD: tuple[Corruption, ...] = (
    noise.gaussian_noise,
    noise.shot_noise,
    noise.impulse_noise,
    blur.defocus_blur,
    blur.glass_blur,
    blur.motion_blur,
    blur.zoom_blur,
    weather.snow,
    weather.frost,
    weather.fog,
    weather.brightness,
    digital.contrast,
    digital.elastic_transform,
    digital.pixelate,
    digital.jpeg_compression,
)
for _corruption in _STANDARD:
    _REGISTRY.add(_corruption.__name__, _corruption)

CORRUPTIONS: tuple[str, ...] = tuple(corruption.__name__ for corruption in _STANDARD)
"""The fifteen names, in the order of the paper."""


def check(name: str, severity: int) -> None:
    """Raise ConfigError unless ``name`` is a corruption and ``severity`` is 1 to 5."""
    _REGISTRY.get(name)
    if severity not in SEVERITIES:
        raise ConfigError(f"severity of {name} must be 1 to 5, got {severity}")


def corrupt(
    images: NDArray[np.uint8], name: str, severity: int, rng: np.random.Generator
) -> NDArray[np.uint8]:
    """Corrupt a batch; the input is not changed.

    Args:
        images: uint8 ``[N, H, W, C]`` with 1 or 3 channels, of any size.
        name: one of :data:`CORRUPTIONS`.
        severity: 1 (mild) to 5 (strong).
        rng: the only source of randomness; advanced.

    Returns:
        uint8, the shape of ``images``.

    Raises:
        ConfigError: unknown name, severity out of range, or images of another form.
    """
    check(name, severity)
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] not in (1, 3):
        raise ConfigError(f"images must be uint8 [N, H, W, 1 or 3], got {images.dtype} {images.shape}")
    if min(images.shape[1:3]) < 1:
        raise ConfigError(f"images must be at least 1 pixel on each side, got {images.shape}")
    if min(images.shape[1:3]) < MIN_SIDE:
        return _corrupt_small(images, name, severity, rng)
    corruption = _REGISTRY.get(name)
    result = np.empty_like(images)
    for start in range(0, len(images), CHUNK):
        chunk = images[start : start + CHUNK].astype(np.float32) / np.float32(255)
        corrupted = corruption(chunk, severity, rng)
        result[start : start + CHUNK] = np.rint(np.clip(corrupted, 0, 1) * 255)
    return result


def _corrupt_small(
    images: NDArray[np.uint8], name: str, severity: int, rng: np.random.Generator
) -> NDArray[np.uint8]:
    """Repeat the image's edges around it until both sides have ``MIN_SIDE``, corrupt, cut it out."""
    _, height, width, _ = images.shape
    top, left = (max(0, MIN_SIDE - side) // 2 for side in (height, width))
    bottom, right = (max(0, MIN_SIDE - side) - before for side, before in ((height, top), (width, left)))
    grown = np.pad(images, ((0, 0), (top, bottom), (left, right), (0, 0)), mode="edge")
    corrupted = corrupt(grown, name, severity, rng)
    return corrupted[:, top : top + height, left : left + width].copy()
