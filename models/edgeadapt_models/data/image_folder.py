"""A user's own pictures: ``root/train/<class>/*.png|jpg|jpeg`` and ``root/test/<class>/...``.

Classes are the folder names under ``train``, sorted, but for hidden ones; ``test`` may lack some and may not
add any. All pictures have one size, or are resized to a given one. A set of only grey pictures gets one
channel; grey pictures of 16 bits are scaled to 8.
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from edgeadapt.errors import ConfigError
from edgeadapt_models.data.base import Dataset

NAME = "image-folder"
ABOUT = "your own pictures"
HOW_TO_GET = "name the folder: --root FOLDER with train/CLASS/*.png and test/CLASS/*.png (or jpg)"
SUFFIXES = (".jpeg", ".jpg", ".png")
_DEEP_GREY_MODES = ("I;16", "I;16B", "I;16L", "I")  # a PNG of 16 bits; "I" in older versions of pillow
_GREY_MODES = ("1", "L", *_DEEP_GREY_MODES)
_UNREADABLE = (OSError, SyntaxError, ValueError, Image.DecompressionBombError)  # what pillow raises


def load(root: Path | None, cache_dir: Path, size: tuple[int, int] | None = None) -> Dataset:
    """Read the folder ``root``, as :func:`read` does (``cache_dir`` is not used).

    Raises:
        ConfigError: see :func:`read`.
    """
    if root is None:
        raise ConfigError("image-folder needs the folder that holds train/ and test/ (root=..., --root)")
    return read(root, size)


def find(root: Path | None, cache_dir: Path) -> Path | None:
    """The folder that the user named: there is no usual place for one's own pictures."""
    return root


def read(root: Path, size: tuple[int, int] | None = None) -> Dataset:
    """Read ``root``.

    Args:
        root: holds ``train/<class>/`` and ``test/<class>/``.
        size: ``(height, width)`` to resize to; None: all must have one size already.

    Raises:
        ConfigError: a split or all classes are missing, a class has no pictures or is unknown to ``train``,
            a picture cannot be read or has another size; names the folder or file.
    """
    classes = _class_names(root / "train")
    empty = [name for name in classes if not _pictures(root / "train" / name)]
    if empty:
        raise ConfigError(f"{root / 'train' / empty[0]} holds no pictures ({', '.join(SUFFIXES)}): remove it")
    shown = [name for name in _class_names(root / "test") if _pictures(root / "test" / name)]
    unknown = sorted(set(shown) - set(classes))
    if unknown:
        raise ConfigError(f"{root / 'test'} has classes that train lacks: {', '.join(unknown)}")
    train, test = _files(root / "train", classes), _files(root / "test", classes)
    mode = "L" if all(_is_grey(path) for path, _ in train + test) else "RGB"
    first_height, first_width = size or _pixels(train[0][0], mode, None).shape[:2]
    expected = (first_height, first_width)
    train_images, train_labels = _read_split(train, mode, size, expected)
    test_images, test_labels = _read_split(test, mode, size, expected)
    return Dataset(NAME, classes, train_images, train_labels, test_images, test_labels)


def _class_names(split: Path) -> tuple[str, ...]:
    if not split.is_dir():
        raise ConfigError(f"{split} is not a folder")
    folders = (folder.name for folder in split.iterdir() if folder.is_dir())
    classes = tuple(sorted(name for name in folders if not name.startswith(".")))
    if not classes:
        raise ConfigError(f"{split} has no classes: expected one folder of pictures per class")
    return classes


def _pictures(folder: Path) -> list[Path]:
    """The pictures of one class, sorted; a folder that is not there has none."""
    inside = folder.iterdir() if folder.is_dir() else ()
    return sorted(path for path in inside if path.suffix.lower() in SUFFIXES)


def _files(split: Path, classes: tuple[str, ...]) -> list[tuple[Path, int]]:
    """Every picture of a split with its label, in sorted order."""
    found = [(path, label) for label, name in enumerate(classes) for path in _pictures(split / name)]
    if not found:
        raise ConfigError(f"{split} holds no pictures ({', '.join(SUFFIXES)})")
    return found


def _read_split(
    files: list[tuple[Path, int]], mode: str, size: tuple[int, int] | None, expected: tuple[int, int]
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    channels = 1 if mode == "L" else 3
    images = np.empty((len(files), *expected, channels), dtype=np.uint8)
    for index, (path, _) in enumerate(files):
        pixels = _pixels(path, mode, size)
        if pixels.shape[:2] != expected:
            raise ConfigError(
                f"{path} is {pixels.shape[0]}x{pixels.shape[1]}, others are {expected[0]}x{expected[1]}; "
                "make them equal or give a size to resize to "
                "(size=..., --size HEIGHTxWIDTH of edgeadapt data)"
            )
        images[index] = pixels.reshape(*expected, channels)
    return images, np.array([label for _, label in files], dtype=np.int64)


def _pixels(path: Path, mode: str, size: tuple[int, int] | None) -> NDArray[np.uint8]:
    try:
        with Image.open(path) as picture:
            converted = _eight_bits(picture).convert(mode)
    except _UNREADABLE as error:
        raise ConfigError(f"cannot read {path}: {error}") from error
    if size is not None and converted.size != (size[1], size[0]):
        converted = converted.resize((size[1], size[0]), Image.Resampling.BICUBIC)
    return np.asarray(converted)


def _eight_bits(picture: Image.Image) -> Image.Image:
    """The picture with 65535 scaled to 255; pillow itself would clip."""
    if picture.mode not in _DEEP_GREY_MODES:
        return picture
    return Image.fromarray(np.rint(np.asarray(picture) / 257).astype(np.uint8))


def _is_grey(path: Path) -> bool:
    try:
        with Image.open(path) as picture:
            return picture.mode in _GREY_MODES
    except _UNREADABLE as error:
        raise ConfigError(f"cannot read {path}: {error}") from error
