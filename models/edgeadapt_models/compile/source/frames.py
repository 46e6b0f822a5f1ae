"""Source data to measure a model on: frames as a device gets them, labelled or not.

A folder of pictures (in sub-folders named after classes, or not), a folder of .npy files likewise, or one
.npy or .npz file. Pictures are scaled so that they cover the input and cut at the centre. Data sets that come
with the package are in `edgeadapt_models.data`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps

from edgeadapt.bundle import InputSpec
from edgeadapt.errors import CompileError

PICTURES = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".webp"})
_ARRAYS = frozenset({".npy", ".npz"})
_SAMPLE_SEED = 0
_UNREADABLE = (OSError, SyntaxError, ValueError, Image.DecompressionBombError)


@dataclass(frozen=True, slots=True)
class Frames:
    """Source data.

    Attributes:
        frames: uint8 [N, H, W, C] for images, float32 [N, *shape] for arrays.
        labels: [N] integers in 0..K-1; None when they are not known.

    Raises:
        CompileError: types or lengths are not so, there are fewer than 2 frames, or a value is NaN or
            infinite.
    """

    frames: npt.NDArray[Any]
    labels: npt.NDArray[np.integer] | None = None

    def __post_init__(self) -> None:
        found = f"got {self.frames.dtype} {self.frames.shape}"
        if self.frames.dtype not in (np.uint8, np.float32) or self.frames.ndim < 2:
            raise CompileError(f"calibration data must be uint8 images or float32 arrays, {found}")
        if len(self.frames) < 2:
            raise CompileError(f"calibration needs at least 2 images or arrays, {found}")
        if self.frames.dtype == np.float32 and not np.isfinite(self.frames).all():
            raise CompileError("calibration data holds NaN or infinity")
        labels = self.labels
        if labels is not None and (
            labels.shape != self.frames.shape[:1] or not np.issubdtype(labels.dtype, np.integer)
        ):
            raise CompileError(
                f"calibration needs an integer label for each of {len(self.frames)} frames, "
                f"got {labels.dtype} {labels.shape}"
            )

    def check(self, spec: InputSpec, classes: int) -> None:
        """Raise CompileError unless the frames fit an input and the labels a number of classes."""
        if self.frames.dtype != np.dtype(spec.frame_dtype) or self.frames.shape[1:] != spec.frame_shape:
            kind = "calibration images" if spec.kind == "image" else "calibration arrays"
            raise CompileError(
                f"{kind} must be {spec.frame_dtype} [N, {', '.join(str(n) for n in spec.frame_shape)}], "
                f"got {self.frames.dtype} {self.frames.shape}"
            )
        if self.labels is not None and (self.labels.min() < 0 or self.labels.max() >= classes):
            raise CompileError(
                f"labels run from {self.labels.min()} to {self.labels.max()}, but there are {classes} classes"
            )

    def sample(self, count: int) -> Frames:
        """`count` of the frames (all, if there are fewer), drawn without replacement, always the same."""
        total = len(self.frames)
        if count >= total:
            return self
        chosen = np.random.default_rng(_SAMPLE_SEED).permutation(total)[:count]
        return Frames(self.frames[chosen], None if self.labels is None else self.labels[chosen])


@dataclass(frozen=True, slots=True)
class FrameFiles:
    """Where frames lie, before they are read.

    Attributes:
        kind: pictures or arrays.
        files: in order.
        folders: name of the sub-folder that each file is in, in the same order; empty without sub-folders.
    """

    kind: Literal["pictures", "arrays"]
    files: tuple[Path, ...]
    folders: tuple[str, ...]

    @property
    def class_names(self) -> tuple[str, ...]:
        """Sub-folders, sorted."""
        return tuple(sorted(set(self.folders)))


@dataclass(frozen=True, slots=True)
class FrameSet:
    """Frames that were read, before it is known which classes a model has.

    Attributes:
        frames: as in `Frames`.
        folders: name of the sub-folder that each comes from; empty without sub-folders.
        class_names: all sub-folders, sorted, also those that none of the frames was drawn from.
        numbers: labels that lay beside the frames in one file, or None.
    """

    frames: npt.NDArray[Any]
    folders: tuple[str, ...] = ()
    class_names: tuple[str, ...] = ()
    numbers: npt.NDArray[Any] | None = None

    def labelled(self, classes: Sequence[str]) -> Frames:
        """The frames with labels, where sub-folders are named after classes.

        Raises:
            CompileError: some sub-folders are classes and others are not.
        """
        known = {name: index for index, name in enumerate(classes)}
        odd = sorted(set(self.class_names) - known.keys())
        if not self.folders or len(odd) == len(self.class_names):
            return Frames(self.frames, self.numbers)
        if odd:
            raise CompileError(f"folders that are no class: {_some(odd)}; classes: {_some(classes)}")
        return Frames(self.frames, np.array([known[name] for name in self.folders], dtype=np.int64))


def find_frames(path: Path) -> FrameFiles:
    """List the files of a calibration folder, or take a single array file.

    Raises:
        CompileError: there is nothing, or pictures and arrays are mixed.
    """
    if path.is_file() and path.suffix.lower() in _ARRAYS:
        return FrameFiles("arrays", (path,), ())
    if not path.is_dir():
        raise CompileError(f"{path} is neither a folder nor a .npy or .npz file")
    folders = sorted(p for p in path.iterdir() if p.is_dir() and not p.name.startswith("."))
    inside = [(folder.name, file) for folder in folders for file in _listed(folder)]
    loose = [("", file) for file in _listed(path)]
    found = inside or loose
    if inside and loose:
        raise CompileError(f"{path} holds files beside sub-folders of files: which are meant?")
    kinds = {"arrays" if file.suffix.lower() in _ARRAYS else "pictures" for _, file in found}
    if len(kinds) != 1:
        what = (
            "pictures and arrays"
            if kinds
            else f"no pictures ({', '.join(sorted(PICTURES))}) and no .npy files"
        )
        raise CompileError(f"{path} holds {what}")
    names = tuple(name for name, _ in inside)
    return FrameFiles("arrays" if "arrays" in kinds else "pictures", tuple(f for _, f in found), names)


def read_arrays(found: FrameFiles, *, limit: int) -> FrameSet:
    """Read at most `limit` arrays, drawn at random, always the same ones.

    Raises:
        CompileError: a file cannot be read, or they differ in shape.
    """
    if len(found.files) == 1 and not found.folders:
        frames = _array_file(found.files[0])
        kept = frames.sample(limit)
        return FrameSet(kept.frames, numbers=kept.labels)
    order = _draw(len(found.files), limit)
    arrays = [_one_array(found.files[index]) for index in order]
    shapes = sorted({array.shape for array in arrays})
    if len(shapes) > 1:
        raise CompileError(f"arrays of different shapes: {', '.join(str(shape) for shape in shapes[:5])}")
    return FrameSet(np.stack(arrays), *_drawn_from(found, order))


def read_pictures(found: FrameFiles, spec: InputSpec, *, limit: int) -> FrameSet:
    """Read at most `limit` pictures at the size of the input, drawn at random, always the same ones.

    Raises:
        CompileError: a file cannot be read.
    """
    order = _draw(len(found.files), limit)
    frames = np.empty((len(order), *spec.frame_shape), np.uint8)  # in place: it may be most of the memory
    for place, index in enumerate(order):
        frames[place] = _picture(found.files[index], spec)
    return FrameSet(frames, *_drawn_from(found, order))


def _draw(total: int, limit: int) -> npt.NDArray[np.intp]:
    chosen = np.random.default_rng(_SAMPLE_SEED).permutation(total)[:limit]
    return np.sort(chosen)


def _drawn_from(found: FrameFiles, order: npt.NDArray[np.intp]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """(the sub-folder of each frame, all sub-folders)."""
    return tuple(found.folders[index] for index in order if found.folders), found.class_names


def _listed(folder: Path) -> list[Path]:
    known = PICTURES | _ARRAYS
    return sorted(
        file
        for file in folder.iterdir()
        if file.suffix.lower() in known and not file.name.startswith(".") and file.is_file()
    )


def _array_file(path: Path) -> Frames:
    """All frames in one file: .npy, or .npz with "frames" (or one array) and perhaps "labels"."""
    loaded = _load(path)
    if isinstance(loaded, np.ndarray):
        return Frames(_as_frames(loaded))
    names = set(loaded) - {"labels"}
    name = "frames" if "frames" in names else names.pop() if len(names) == 1 else ""
    if not name:
        raise CompileError(f"{path} holds {', '.join(sorted(loaded))}; expected frames and labels")
    labels = loaded.get("labels")
    return Frames(_as_frames(loaded[name]), None if labels is None else np.asarray(labels))


def _as_frames(value: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return value if value.dtype == np.uint8 else value.astype(np.float32)


def _one_array(path: Path) -> npt.NDArray[np.float32]:
    loaded = _load(path)
    if not isinstance(loaded, np.ndarray):
        raise CompileError(f"{path} holds several arrays; one frame a file is expected in a folder")
    return loaded.astype(np.float32)


def _load(path: Path) -> npt.NDArray[Any] | dict[str, npt.NDArray[Any]]:
    try:
        loaded = np.load(path, allow_pickle=False)
        return loaded if isinstance(loaded, np.ndarray) else {name: loaded[name] for name in loaded.files}
    except (OSError, ValueError, EOFError) as error:
        raise CompileError(f"{path} cannot be read as arrays: {error}") from error


def _picture(path: Path, spec: InputSpec) -> npt.NDArray[np.uint8]:
    """uint8 [H, W, C]: scaled to cover the input, cut at the centre."""
    mode = {1: "L", 3: "RGB", 4: "RGBA"}.get(spec.channels)
    if mode is None:
        raise CompileError(f"pictures have 1, 3 or 4 channels; the model takes {spec.channels}")
    try:
        with Image.open(path) as picture:
            upright = ImageOps.exif_transpose(picture).convert(mode)
    except _UNREADABLE as error:
        raise CompileError(f"cannot read {path}: {error}") from error
    if upright.size != (spec.width, spec.height):
        upright = ImageOps.fit(upright, (spec.width, spec.height), Image.Resampling.BICUBIC)
    return np.asarray(upright).reshape(spec.frame_shape)


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + ("..." if len(names) > 5 else "")
