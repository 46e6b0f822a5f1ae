"""Reading idx files, and a download that trusts nothing."""

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest

from edgeadapt.errors import ConfigError, TransportError
from edgeadapt_models.data import fashion_mnist
from edgeadapt_models.data.fashion_mnist import read_idx


def write_idx(path: Path, array: np.ndarray) -> None:
    header = bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    path.write_bytes(gzip.compress(header + array.astype(np.uint8).tobytes()))


def fill(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for split, count in (("train", 6), ("t10k", 4)):
        images = np.arange(count * 784).reshape(count, 28, 28) % 251
        write_idx(folder / f"{split}-images-idx3-ubyte.gz", images)
        write_idx(folder / f"{split}-labels-idx1-ubyte.gz", np.arange(count))


def test_four_files_become_a_data_set(tmp_path: Path) -> None:
    fill(tmp_path)
    dataset = fashion_mnist.load(tmp_path, tmp_path / "unused")
    assert dataset.train_images.shape == (6, 28, 28, 1)
    assert dataset.test_labels.tolist() == [0, 1, 2, 3]
    assert dataset.test_images[0, 0, :3, 0].tolist() == [0, 1, 2]


def test_a_truncated_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "short.gz"
    path.write_bytes(gzip.compress(bytes([0, 0, 8, 1]) + struct.pack(">I", 10) + b"123456789"))
    with pytest.raises(
        ConfigError, match=r"short\.gz is truncated or too long: 9 bytes of data, header says 10"
    ):
        read_idx(path)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "not an idx file"),
        (b"\x89PNG", "not an idx file"),
        (bytes([0, 0, 13, 1]), "not an idx file"),
        (bytes([0, 0, 8, 3, 0, 0]), "header ends early"),
        (bytes([0, 0, 8, 255]) + struct.pack(">255I", *[1] * 255) + b"x", "255-dimensional"),
        (bytes([0, 0, 8, 2]) + struct.pack(">2I", 1, 1) + b"x", "2-dimensional"),
        # 2**32 * 2**32 is 0 in 64 bits
        (bytes([0, 0, 8, 3]) + struct.pack(">3I", 2**31, 2**31, 4), "header says 18446744073709551616"),
    ],
)
def test_what_is_not_idx_is_refused(tmp_path: Path, content: bytes, reason: str) -> None:
    path = tmp_path / "file.gz"
    path.write_bytes(gzip.compress(content))
    with pytest.raises(ConfigError, match=reason):
        read_idx(path)


def test_a_cut_gzip_stream_is_refused(tmp_path: Path) -> None:
    fill(tmp_path)
    path = tmp_path / "train-images-idx3-ubyte.gz"
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(ConfigError, match="cannot read"):
        read_idx(path)


def test_wrong_content_never_gets_the_final_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgeadapt_models.data.download.time.sleep", lambda seconds: None)
    fill(tmp_path / "home")
    with pytest.raises(TransportError, match=r"wrong content: sha256 .*Install the Debian package") as caught:
        fashion_mnist.download(tmp_path / "cache", homes=((tmp_path / "home").as_uri() + "/",))
    assert "train-images-idx3-ubyte.gz" in str(caught.value)
    assert list((tmp_path / "cache" / "fashion-mnist").iterdir()) == []


def test_an_unreachable_home_names_the_fix(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgeadapt_models.data.download.time.sleep", lambda seconds: None)
    with pytest.raises(TransportError, match="dataset-fashion-mnist"):
        fashion_mnist.download(tmp_path, homes=((tmp_path / "nowhere").as_uri() + "/",))


@pytest.mark.skipif(not fashion_mnist.DEBIAN_DIR.is_dir(), reason="dataset-fashion-mnist is not installed")
def test_the_digests_are_those_of_the_real_files(tmp_path: Path) -> None:
    home = fashion_mnist.DEBIAN_DIR.as_uri() + "/"
    folder = fashion_mnist.download(tmp_path, homes=((tmp_path / "down").as_uri() + "/", home))
    dataset = fashion_mnist.load(folder, tmp_path)
    assert dataset.train_images.shape == (60000, 28, 28, 1)
    assert np.bincount(dataset.test_labels).tolist() == [1000] * 10
