"""The one shape every data set takes: two labelled splits of 8-bit images, held in memory.

Invariant: a :class:`Dataset` that exists is consistent (shapes, dtypes, label range), so no reader checks
again. Not here: where the bytes come from (one module per data set) and which names exist (``registry``).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgeadapt.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Dataset:
    """Two splits of one image classification set; images are uint8 NHWC with 1 or 3 channels.

    Attributes:
        name: the registry's name, such as ``fashion-mnist``.
        classes: class names; label ``i`` means ``classes[i]``.
        train_images: uint8 ``[N, H, W, C]``.
        train_labels: int64 ``[N]``.
        test_images: uint8 ``[M, H, W, C]``, same ``H, W, C``.
        test_labels: int64 ``[M]``.

    Raises:
        ConfigError: on construction, when a split is empty or inconsistent.
    """

    name: str
    classes: tuple[str, ...]
    train_images: NDArray[np.uint8]
    train_labels: NDArray[np.int64]
    test_images: NDArray[np.uint8]
    test_labels: NDArray[np.int64]

    def __post_init__(self) -> None:
        if not self.classes:
            raise ConfigError(f"data set {self.name!r} has no classes")
        self._check_split("train", self.train_images, self.train_labels)
        self._check_split("test", self.test_images, self.test_labels)
        if self.train_images.shape[1:] != self.test_images.shape[1:]:
            raise ConfigError(
                f"data set {self.name!r}: train images are {self.train_images.shape[1:]}, "
                f"test images are {self.test_images.shape[1:]}"
            )

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """``(height, width, channels)`` of every image."""
        _, height, width, channels = self.train_images.shape
        return height, width, channels

    def _check_split(self, split: str, images: NDArray[np.uint8], labels: NDArray[np.int64]) -> None:
        where = f"data set {self.name!r}, {split} split"
        if images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] not in (1, 3):
            raise ConfigError(
                f"{where}: images must be uint8 [N, H, W, 1 or 3], got {images.dtype} {images.shape}"
            )
        if labels.dtype != np.int64 or labels.shape != images.shape[:1]:
            raise ConfigError(
                f"{where}: labels must be int64 [{images.shape[0]}], got {labels.dtype} {labels.shape}"
            )
        if labels.size == 0:
            raise ConfigError(f"{where} is empty")
        if int(labels.min()) < 0 or int(labels.max()) >= len(self.classes):
            raise ConfigError(
                f"{where}: labels run from {labels.min()} to {labels.max()}, "
                f"but there are {len(self.classes)} classes"
            )
