"""Frames, in order, by index: from a rendered stream or from a folder of images.

The index of a frame depends on its place only, so a restarted device goes on where it was. Labels are
never read. Playing at a frame rate is the daemon's business.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

import numpy as np
from PIL import Image as PillowImage

from edgeadapt.bundle import Bundle
from edgeadapt.errors import ConfigError
from edgeadapt_device.config import SourceSection
from edgeadapt_device.core.events import Image
from edgeadapt_device.io.engine import check_shape

FRAMES_NAME = "frames.npy"
IMAGE_SUFFIXES = (".bmp", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
_MAX_16_BITS = 65_535
_MODES = {1: "L", 3: "RGB"}

Report = Callable[[str], None]


class Source(Protocol):
    """Where frames come from."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """(height, width, channels) of every frame."""
        ...

    def __len__(self) -> int:
        """Frames in one round."""
        ...

    def frames(self, start: int) -> Iterator[tuple[int, Image]]:
        """(index, [H, W, C] uint8) from index `start` on; a looping source never ends."""
        ...


class StreamSource:
    """A folder with `frames.npy` (uint8 [N, H, W, C]), mapped into memory."""

    def __init__(self, folder: Path, *, loop: bool = False) -> None:
        """Open; raises ConfigError when the file is missing or holds something else."""
        path = folder / FRAMES_NAME
        if not path.is_file():
            raise ConfigError(f"{path} is missing: source.path must name a folder with {FRAMES_NAME}")
        try:
            frames = np.load(path, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise ConfigError(f"{path} cannot be read as a NumPy array: {error}") from error
        if (
            not isinstance(frames, np.ndarray)
            or frames.dtype != np.uint8
            or frames.ndim != 4
            or not len(frames)
        ):
            found = f"{frames.dtype} {frames.shape}" if isinstance(frames, np.ndarray) else "an archive"
            raise ConfigError(f"{path}: expected uint8 frames [N, H, W, C], got {found}")
        self._frames: Image = frames
        self._loop = loop

    @property
    def shape(self) -> tuple[int, int, int]:
        """(height, width, channels)."""
        _, height, width, channels = self._frames.shape
        return height, width, channels

    def __len__(self) -> int:
        """Frames in the file."""
        return len(self._frames)

    def frames(self, start: int) -> Iterator[tuple[int, Image]]:
        """(index, image) from `start`; images are copies, safe to keep."""
        index, count = start, len(self._frames)
        while self._loop or index < count:
            yield index, np.array(self._frames[index % count])
            index += 1


class FolderSource:
    """A folder of image files in name order, listed once."""

    def __init__(
        self, folder: Path, *, channels: int, loop: bool = False, report: Report | None = None
    ) -> None:
        """List the files and read the first, whose size is the size of all.

        Args:
            folder: holds the images; other files in it are ignored.
            channels: 1 or 3; every image is converted to that.
            loop: start again at the end.
            report: told about every file that is skipped.

        Raises:
            ConfigError: no folder, no image in it, or the first cannot be read.
        """
        if channels not in _MODES:
            raise ConfigError(f"a folder of images gives 1 or 3 channels, the bundle takes {channels}")
        if not folder.is_dir():
            raise ConfigError(f"{folder} is no folder: source.path must name a folder of images")
        self._files = sorted(path for path in folder.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES)
        if not self._files:
            raise ConfigError(f"{folder} holds no image ({', '.join(IMAGE_SUFFIXES)})")
        self._mode, self._loop, self._report = _MODES[channels], loop, report
        try:
            height, width, _ = self._read(self._files[0]).shape
        except (OSError, ValueError, PillowImage.DecompressionBombError) as error:
            raise ConfigError(f"{self._files[0]} cannot be read as an image: {error}") from error
        self._shape = (height, width, channels)

    @property
    def shape(self) -> tuple[int, int, int]:
        """(height, width, channels) of the first image."""
        return self._shape

    def __len__(self) -> int:
        """Image files in the folder."""
        return len(self._files)

    def frames(self, start: int) -> Iterator[tuple[int, Image]]:
        """(index, image) from `start`; skipped files use up their index.

        Raises:
            ConfigError: a whole round of a looping source had no usable image.
        """
        index, count, skipped = start, len(self._files), 0
        while self._loop or index < count:
            image = self._usable(self._files[index % count])
            if image is not None:
                yield index, image
            skipped = skipped + 1 if image is None else 0
            if skipped > count:
                raise ConfigError(f"{self._files[0].parent}: no image can be read any more")
            index += 1

    def _usable(self, path: Path) -> Image | None:
        try:
            image = self._read(path)
        except (OSError, ValueError, PillowImage.DecompressionBombError) as error:
            self._tell(f"{path.name} skipped: {error}")
            return None
        if image.shape != self._shape:
            self._tell(f"{path.name} skipped: its shape is {image.shape}, not {self._shape}")
            return None
        return image

    def _read(self, path: Path) -> Image:
        with PillowImage.open(path) as picture:
            image = np.array(_eight_bits(picture).convert(self._mode), dtype=np.uint8)
        return image[:, :, None] if image.ndim == 2 else image

    def _tell(self, text: str) -> None:
        if self._report is not None:
            self._report(text)


def _eight_bits(picture: PillowImage.Image) -> PillowImage.Image:
    """The picture with 8 bits per channel; Pillow's own conversion would clip 16 bits instead of scaling.

    Raises:
        ValueError: more than 16 bits, or floats, whose range nobody knows.
    """
    if picture.mode == "F":
        raise ValueError("its pixels are floats: expected 8 or 16 bits")
    if picture.mode != "I" and not picture.mode.startswith("I;16"):
        return picture
    deep = np.asarray(picture).astype(np.int64)
    if deep.min() < 0 or deep.max() > _MAX_16_BITS:
        raise ValueError("its pixels have more than 16 bits: expected 8 or 16")
    return PillowImage.fromarray(((deep * 255 + _MAX_16_BITS // 2) // _MAX_16_BITS).astype(np.uint8))


def open_source(config: SourceSection, bundle: Bundle, *, report: Report | None = None) -> Source:
    """The source that `config` names; raises ConfigError when it is unusable or does not fit the bundle."""
    folder = Path(config.path)
    source: Source
    if config.kind == "stream":
        source = StreamSource(folder, loop=config.loop)
    else:
        source = FolderSource(
            folder, channels=bundle.manifest.input.channels, loop=config.loop, report=report
        )
    check_shape(bundle, source.shape)
    return source
