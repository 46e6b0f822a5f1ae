"""A rendered stream: `frames.npy` in a folder, mapped into memory. Labels beside it are never read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edgeadapt.bundle.manifest import InputSpec
from edgeadapt.errors import ConfigError
from edgeadapt_device.core.events import Image
from edgeadapt_device.io.sources.base import Frame, Health, Misfit, Pause, Report, Unusable, rounds

FRAMES_NAME = "frames.npy"


class StreamSource:
    """uint8 [N, H, W, C] for a model of pictures, float32 [N, *shape] for a model of arrays."""

    def __init__(
        self, folder: Path, spec: InputSpec, *, loop: bool = False, report: Report | None = None
    ) -> None:
        """Open; raises ConfigError when the file is missing, holds something else, or does not fit."""
        path = folder / FRAMES_NAME
        if not path.is_file():
            raise ConfigError(f"{path} is missing: source.path must name a folder with {FRAMES_NAME}")
        try:
            frames = np.load(path, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise ConfigError(f"{path} cannot be read as a NumPy array: {error}") from error
        wanted = f"{spec.frame_dtype} frames [N, {', '.join(str(size) for size in spec.frame_shape)}]"
        if not isinstance(frames, np.ndarray):
            raise ConfigError(f"{path}: expected {wanted}, got an archive")
        if (
            frames.dtype != np.dtype(spec.frame_dtype)
            or frames.ndim != 1 + len(spec.frame_shape)
            or not len(frames)
        ):
            raise ConfigError(f"{path}: expected {wanted}, got {frames.dtype} {frames.shape}")
        if frames.shape[1:] != spec.frame_shape:
            raise ConfigError(
                f"{path} holds frames of shape {frames.shape[1:]}, but the bundle's model takes "
                f"{spec.frame_shape}: render the stream anew, or compile a model for its frames"
            )
        self.health = Health(report)
        self._path, self._frames, self._spec, self._loop = path, frames, spec, loop

    @property
    def count(self) -> int:
        """Frames in the file."""
        return len(self._frames)

    def frames(self, start: int, pause: Pause) -> Iterator[Frame | None]:
        """Frames from `start`; images are copies, safe to keep. Arrays that are not finite are skipped.

        Raises:
            ConfigError: a whole round of a looping source had no usable frame.
        """
        self.health.good()
        yield from rounds(
            start,
            self.count,
            loop=self._loop,
            read=self._read,
            nothing=f"{self._path}: none of its frames can be used",
        )

    def _read(self, index: int) -> Frame | None:
        image: Image = np.array(self._frames[index % len(self._frames)])
        if self._spec.kind == "array" and not np.isfinite(image).all():
            self.health.skip(f"{self._path.name}: frame {index} skipped: it holds values that are not finite")
            return None
        return Frame(index, image)

    def done(self, names: Sequence[str]) -> None:
        """Nothing is kept."""

    def close(self) -> None:
        """Nothing is open but a mapping, which goes with the object."""


def check_array(array: npt.NDArray[np.generic], shape: tuple[int, ...]) -> Image:
    """A float32 array of `shape`; raises Misfit for another type or shape, Unusable for NaN or infinity."""
    if not isinstance(array, np.ndarray) or array.dtype != np.float32 or array.shape != shape:
        found = f"{array.dtype} {array.shape}" if isinstance(array, np.ndarray) else "an archive"
        raise Misfit(f"expected float32 {shape}, got {found}")
    if not np.isfinite(array).all():
        raise Unusable("it holds values that are not finite")
    return np.asarray(array, dtype=np.float32)
