"""One file, one frame: pictures for a model of pictures, `.npy` arrays for a model of arrays."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import numpy as np
from PIL import Image as PillowImage

from edgeadapt.bundle.manifest import InputSpec
from edgeadapt_device.core.events import Image
from edgeadapt_device.io.sources.base import Unusable
from edgeadapt_device.io.sources.fit import Fitter, Resize
from edgeadapt_device.io.sources.stream import check_array

PICTURE_SUFFIXES = (".bmp", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
ARRAY_SUFFIXES = (".npy",)


class FileReader(Protocol):
    """Reads the files of one kind of frame."""

    @property
    def suffixes(self) -> tuple[str, ...]:
        """Endings of the names, in lower case."""
        ...

    def read(self, path: Path) -> Image:
        """The frame as the model takes it; raises Unusable that says why there is none."""
        ...


def file_reader(spec: InputSpec, resize: Resize) -> FileReader:
    """The reader for what the model takes; raises ConfigError when no file could hold that."""
    return ArrayFiles(spec) if spec.kind == "array" else PictureFiles(spec, resize)


def is_frame(name: str, suffixes: tuple[str, ...]) -> bool:
    """True for the name of a file that is meant to be read; hidden ones are somebody's in the making."""
    return not name.startswith(".") and name.lower().endswith(suffixes)


class PictureFiles:
    """Whatever Pillow reads of `PICTURE_SUFFIXES`."""

    suffixes = PICTURE_SUFFIXES

    def __init__(self, spec: InputSpec, resize: Resize) -> None:
        self._fitter = Fitter(spec, resize)

    def read(self, path: Path) -> Image:
        """Decode and fit; raises Unusable."""
        try:
            with PillowImage.open(path) as picture:
                return self._fitter.read(picture)
        except Unusable as error:
            raise type(error)(f"{path.name} skipped: {error}") from error
        # A decoder of a damaged file also raises SyntaxError, struct.error and the like.
        except Exception as error:
            raise Unusable(f"{path.name} skipped: {error or type(error).__name__}") from error


class ArrayFiles:
    """One float32 array a file."""

    suffixes = ARRAY_SUFFIXES

    def __init__(self, spec: InputSpec) -> None:
        self._shape = spec.frame_shape

    def read(self, path: Path) -> Image:
        """Load and check; raises Unusable."""
        try:
            array = np.load(path, allow_pickle=False)
            return check_array(array, self._shape)
        except Unusable as error:
            raise type(error)(f"{path.name} skipped: {error}") from error
        except (OSError, ValueError, EOFError) as error:
            raise Unusable(f"{path.name} skipped: {error}") from error
