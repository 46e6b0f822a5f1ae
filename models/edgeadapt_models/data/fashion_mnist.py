"""Fashion-MNIST (Xiao, Rasul and Vollgraf 2017): 70,000 grey 28x28 pictures of clothes in ten classes.

Read from the Debian package ``dataset-fashion-mnist`` where it is installed, else downloaded once. Digests
are of the *unpacked* idx files: repacking with another gzip (as Debian does) changes the ``.gz`` and not the
data.
"""

import gzip
import hashlib
import math
import struct
import zlib
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgeadapt.errors import ConfigError, TransportError
from edgeadapt_models.data.base import Dataset
from edgeadapt_models.data.download import fetch

NAME = "fashion-mnist"
ABOUT = "70,000 grey 28x28 pictures of clothes in 10 classes"
HOW_TO_GET = (
    "not here: install the Debian package dataset-fashion-mnist, or run: edgeadapt data fetch fashion-mnist"
)
DEBIAN_DIR = Path("/usr/share/datasets/fashion-mnist")
HOMES = (
    "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
    "https://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
    "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
)
FIX = (
    "Install the Debian package dataset-fashion-mnist, or put the four *-ubyte.gz files in a folder "
    "and name it (root=..., --root on the command line)."
)
CLASSES = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)
SHA256_OF_UNPACKED = {
    "train-images-idx3-ubyte.gz": "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
    "train-labels-idx1-ubyte.gz": "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
    "t10k-images-idx3-ubyte.gz": "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
    "t10k-labels-idx1-ubyte.gz": "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
}
_IDX_UINT8 = 0x08
_RANKS = (1, 3)


def load(root: Path | None, cache_dir: Path) -> Dataset:
    """Read the four files from ``root``, else from the Debian package, else from the cache (downloading).

    Raises:
        ConfigError: a file is missing from ``root``, truncated or not idx.
        TransportError: it had to be downloaded and could not be.
    """
    folder = root or (DEBIAN_DIR if DEBIAN_DIR.is_dir() else download(cache_dir))
    return Dataset(
        name=NAME,
        classes=CLASSES,
        train_images=read_idx(folder / "train-images-idx3-ubyte.gz")[..., np.newaxis],
        train_labels=read_idx(folder / "train-labels-idx1-ubyte.gz").astype(np.int64),
        test_images=read_idx(folder / "t10k-images-idx3-ubyte.gz")[..., np.newaxis],
        test_labels=read_idx(folder / "t10k-labels-idx1-ubyte.gz").astype(np.int64),
    )


def find(root: Path | None, cache_dir: Path) -> Path | None:
    """The folder whose four files ``load`` would read without a download; None where there is none."""
    folder = root or (DEBIAN_DIR if DEBIAN_DIR.is_dir() else cache_dir / NAME)
    return folder if all((folder / name).is_file() for name in SHA256_OF_UNPACKED) else None


def download(cache_dir: Path, homes: tuple[str, ...] = HOMES) -> Path:
    """Fetch what is missing into ``cache_dir/fashion-mnist`` and return that folder.

    Raises:
        TransportError: a file could not be had, or has the wrong digest.
    """
    folder = cache_dir / NAME
    for name, digest in SHA256_OF_UNPACKED.items():
        urls = tuple(home + name for home in homes)
        fetch(urls, folder / name, partial(check_digest, expected=digest), fix=FIX)
    return folder


def check_digest(path: Path, expected: str) -> None:
    """Compare the SHA-256 of a gzip file's content with ``expected``.

    Raises:
        TransportError: they differ, or the file is not gzip.
    """
    try:
        actual = hashlib.sha256(gzip.decompress(path.read_bytes())).hexdigest()
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise TransportError(f"not a whole gzip file: {error}") from error
    if actual != expected:
        raise TransportError(f"wrong content: sha256 {actual}, expected {expected}")


def read_idx(path: Path) -> NDArray[np.uint8]:
    """Read a gzipped idx file of unsigned bytes (format: LeCun, Cortes and Burges, the MNIST page).

    Raises:
        ConfigError: missing, not gzip, not idx of uint8 with labels or images, or not of the length that its
            header says.
    """
    try:
        data = gzip.decompress(path.read_bytes())
    except (OSError, EOFError, zlib.error) as error:
        raise ConfigError(f"cannot read {path}: {error}. {FIX}") from error
    if len(data) < 4 or data[:2] != b"\0\0" or data[2] != _IDX_UINT8:
        raise ConfigError(f"{path} is not an idx file of unsigned bytes")
    rank = data[3]
    if rank not in _RANKS:
        raise ConfigError(f"{path} holds {rank}-dimensional data; expected labels (1) or images (3)")
    header_bytes = 4 + 4 * rank
    if len(data) < header_bytes:
        raise ConfigError(f"{path} is truncated: its header ends early")
    shape: tuple[int, ...] = struct.unpack(f">{rank}I", data[4:header_bytes])
    expected_bytes = math.prod(shape)
    if len(data) - header_bytes != expected_bytes:
        raise ConfigError(
            f"{path} is truncated or too long: {len(data) - header_bytes} bytes of data, "
            f"header says {expected_bytes}"
        )
    return np.frombuffer(data, dtype=np.uint8, offset=header_bytes).reshape(shape)
