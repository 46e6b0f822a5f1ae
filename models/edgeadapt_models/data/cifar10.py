"""CIFAR-10 (Krizhevsky 2009): 60,000 colour 32x32 pictures in ten classes.

Two forms are read: the binary archive of its public home (never the pickled one: unpickling a download runs
whatever is in it), and JPEG copies in ``train.npz`` and ``test.npz`` with ``jpeg`` (uint8, all pictures
joined), ``offsets`` (int64, N + 1) and ``labels``. JPEG copies are close to the originals, not equal to them.
"""

import hashlib
import io
import tarfile
import zipfile
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from edgeadapt.errors import ConfigError, TransportError
from edgeadapt_models.data.base import Dataset
from edgeadapt_models.data.download import fetch
from edgeadapt_models.data.locations import CIFAR10_VARIABLE

NAME = "cifar10"
ABOUT = "60,000 colour 32x32 pictures of animals and vehicles in 10 classes"
HOW_TO_GET = (
    f"not here: run edgeadapt data fetch cifar10, or let {CIFAR10_VARIABLE} name the folder that holds it"
)
ARCHIVE = "cifar-10-binary.tar.gz"
HOMES = ("https://www.cs.toronto.edu/~kriz/",)
ARCHIVE_MD5 = "c32a1d4ab5d03f1284b67883e8d87530"  # as published on the data set's page
FIX = (
    f"Put {ARCHIVE}, or JPEG copies (train.npz and test.npz), in a folder and name it "
    f"(root=..., --root on the command line, or the environment variable {CIFAR10_VARIABLE})."
)
CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
_SHAPE = (32, 32, 3)
_RECORD_BYTES = 1 + 3 * 32 * 32
_TRAIN_FILES = tuple(f"data_batch_{number}.bin" for number in range(1, 6))
_TEST_FILES = ("test_batch.bin",)
_COPIES = ("train.npz", "test.npz")


def load(root: Path | None, cache_dir: Path) -> Dataset:
    """Read CIFAR-10 from ``root`` (either form), else from the cache (downloading the archive).

    Raises:
        ConfigError: ``root`` holds neither form, or a file is damaged.
        TransportError: it had to be downloaded and could not be.
    """
    if root is None:
        return read_archive(download(cache_dir))
    if (root / ARCHIVE).is_file():
        return read_archive(root / ARCHIVE)
    if all((root / name).is_file() for name in _COPIES):
        (train_images, train_labels), (test_images, test_labels) = (
            read_jpeg_copies(root / name) for name in _COPIES
        )
        return Dataset(NAME, CLASSES, train_images, train_labels, test_images, test_labels)
    raise ConfigError(f"{root} holds neither {ARCHIVE} nor train.npz and test.npz. {FIX}")


def find(root: Path | None, cache_dir: Path) -> Path | None:
    """The folder that ``load`` would read without a download; None where there is none."""
    if root is None:
        return cache_dir / NAME if (cache_dir / NAME / ARCHIVE).is_file() else None
    whole = (root / ARCHIVE).is_file() or all((root / name).is_file() for name in _COPIES)
    return root if whole else None


def download(cache_dir: Path, homes: tuple[str, ...] = HOMES) -> Path:
    """Fetch the binary archive into ``cache_dir/cifar10`` and return its path.

    Raises:
        TransportError: it could not be had, or has the wrong digest.
    """
    return fetch(tuple(home + ARCHIVE for home in homes), cache_dir / NAME / ARCHIVE, check_digest, fix=FIX)


def check_digest(path: Path, expected: str = ARCHIVE_MD5) -> None:
    """Compare the file's MD5 with the published one; raises TransportError when they differ.

    MD5 finds damage, not an attacker; the archive is only ever read as fixed-size records.
    """
    actual = hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()
    if actual != expected:
        raise TransportError(f"wrong content: md5 {actual}, expected {expected}")


def read_archive(path: Path) -> Dataset:
    """Read the binary archive: records of one label byte and three 32x32 colour planes.

    Raises:
        ConfigError: not the archive, or a file in it is missing or of the wrong length.
    """
    try:
        with tarfile.open(path, mode="r:gz") as archive:
            contents = {
                Path(member.name).name: stream.read()
                for member in archive
                if member.isfile() and (stream := archive.extractfile(member)) is not None
            }
    except (OSError, EOFError, tarfile.TarError, zlib.error) as error:
        raise ConfigError(f"cannot read {path}: {error}. {FIX}") from error
    train_images, train_labels = _records(path, contents, _TRAIN_FILES)
    test_images, test_labels = _records(path, contents, _TEST_FILES)
    return Dataset(NAME, CLASSES, train_images, train_labels, test_images, test_labels)


def read_jpeg_copies(path: Path) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Decode one ``.npz`` of JPEG copies: images uint8 ``[N, 32, 32, 3]`` and labels int64 ``[N]``.

    Raises:
        ConfigError: a key is missing, offsets do not fit, or a picture is not a 32x32 JPEG.
    """
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as copies:
            data, offsets, labels = copies["jpeg"].tobytes(), copies["offsets"], copies["labels"]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise ConfigError(f"cannot read {path}: {error}. It needs arrays jpeg, offsets, labels") from error
    if offsets.shape != (len(labels) + 1,) or int(offsets[-1]) != len(data) or np.any(np.diff(offsets) <= 0):
        raise ConfigError(f"{path}: offsets do not fit {len(labels)} labels and {len(data)} bytes of jpeg")
    images = np.empty((len(labels), *_SHAPE), dtype=np.uint8)
    for index, (start, end) in enumerate(zip(offsets[:-1].tolist(), offsets[1:].tolist(), strict=True)):
        images[index] = _decode(data[start:end], f"{path}, picture {index}")
    return images, labels.astype(np.int64)


def _decode(jpeg: bytes, where: str) -> NDArray[np.uint8]:
    try:
        with Image.open(io.BytesIO(jpeg)) as picture:
            pixels = np.asarray(picture.convert("RGB"))
    except OSError as error:
        raise ConfigError(f"{where}: {error}") from error
    if pixels.shape != _SHAPE:
        raise ConfigError(f"{where}: expected {_SHAPE}, got {pixels.shape}")
    return pixels


def _records(
    path: Path, contents: dict[str, bytes], names: tuple[str, ...]
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    missing = [name for name in names if name not in contents]
    if missing:
        raise ConfigError(f"{path} does not hold {', '.join(missing)}")
    data = b"".join(contents[name] for name in names)
    if not data or len(data) % _RECORD_BYTES:
        raise ConfigError(f"{path}: {', '.join(names)} are not whole records of {_RECORD_BYTES} bytes")
    records = np.frombuffer(data, dtype=np.uint8).reshape(-1, _RECORD_BYTES)
    planes = records[:, 1:].reshape(-1, 3, 32, 32)
    return np.ascontiguousarray(planes.transpose(0, 2, 3, 1)), records[:, 0].astype(np.int64)
