"""Both forms of CIFAR-10, made small, and their damage."""

import io
import tarfile
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from edgeadapt.errors import ConfigError, TransportError
from edgeadapt_models.data import cifar10, load
from tests.models.data.conftest import make_images


def jpegs(images: NDArray[np.uint8]) -> list[bytes]:
    encoded = []
    for image in images:
        buffer = io.BytesIO()
        Image.fromarray(image).save(buffer, format="JPEG", quality=95)
        encoded.append(buffer.getvalue())
    return encoded


def write_copies(path: Path, pictures: list[bytes], labels: list[int]) -> None:
    offsets = np.cumsum([0, *(len(picture) for picture in pictures)]).astype(np.int64)
    data = np.frombuffer(b"".join(pictures), dtype=np.uint8)
    np.savez(path, jpeg=data, offsets=offsets, labels=np.array(labels, dtype=np.uint8))


def write_archive(path: Path, names: tuple[str, ...], cut: int = 0) -> NDArray[np.uint8]:
    """An archive whose every file holds one record: label 3 and the same picture, which is returned."""
    image = np.asarray(make_images(1, 32, 32, 3)[0], dtype=np.uint8)
    record = bytes([3]) + image.transpose(2, 0, 1).tobytes()
    with tarfile.open(path, "w:gz") as archive:
        for name in names:
            member = tarfile.TarInfo(f"cifar-10-batches-bin/{name}")
            member.size = len(record) - cut
            archive.addfile(member, io.BytesIO(record[: len(record) - cut]))
    return image


ALL_FILES = (*(f"data_batch_{number}.bin" for number in range(1, 6)), "test_batch.bin")


def test_jpeg_copies_are_decoded(tmp_path: Path) -> None:
    images = make_images(6, 32, 32, 3)
    write_copies(tmp_path / "train.npz", jpegs(images), [0, 1, 2, 3, 4, 9])
    write_copies(tmp_path / "test.npz", jpegs(images[:2]), [5, 6])
    dataset = load("cifar10", root=tmp_path)
    assert dataset.train_images.shape == (6, 32, 32, 3)
    assert dataset.train_labels.tolist() == [0, 1, 2, 3, 4, 9]
    assert np.abs(dataset.train_images.astype(int) - images).mean() < 12  # lossy, but the same pictures
    assert dataset.test_labels.dtype == np.int64


def test_a_picture_of_another_size_is_named(tmp_path: Path) -> None:
    pictures = jpegs(make_images(1, 32, 32, 3)) + jpegs(make_images(1, 16, 32, 3))
    write_copies(tmp_path / "train.npz", pictures, [0, 1])
    with pytest.raises(ConfigError, match=r"train\.npz, picture 1: expected \(32, 32, 3\)"):
        cifar10.read_jpeg_copies(tmp_path / "train.npz")


def test_a_broken_picture_is_named(tmp_path: Path) -> None:
    write_copies(tmp_path / "train.npz", [b"not a jpeg"], [0])
    with pytest.raises(ConfigError, match="picture 0"):
        cifar10.read_jpeg_copies(tmp_path / "train.npz")


def test_offsets_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    data = np.zeros(10, dtype=np.uint8)
    np.savez(tmp_path / "x.npz", jpeg=data, offsets=np.array([0, 20]), labels=np.array([1]))
    with pytest.raises(ConfigError, match="offsets do not fit"):
        cifar10.read_jpeg_copies(tmp_path / "x.npz")


def test_the_binary_archive_is_read(tmp_path: Path) -> None:
    image = write_archive(tmp_path / cifar10.ARCHIVE, ALL_FILES)
    dataset = load("cifar10", root=tmp_path)
    assert dataset.train_images.shape == (5, 32, 32, 3)
    assert np.array_equal(dataset.test_images[0], image)
    assert dataset.test_labels.tolist() == [3]


def test_an_archive_that_lacks_a_file_is_refused(tmp_path: Path) -> None:
    write_archive(tmp_path / cifar10.ARCHIVE, ALL_FILES[:-1])
    with pytest.raises(ConfigError, match=r"does not hold test_batch\.bin"):
        load("cifar10", root=tmp_path)


def test_records_cut_short_are_refused(tmp_path: Path) -> None:
    write_archive(tmp_path / cifar10.ARCHIVE, ALL_FILES, cut=5)
    with pytest.raises(ConfigError, match="not whole records"):
        load("cifar10", root=tmp_path)


def test_a_folder_with_neither_form_names_the_fix(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="EDGEADAPT_CIFAR10"):
        load("cifar10", root=tmp_path)


def test_a_download_with_another_digest_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgeadapt_models.data.download.time.sleep", lambda seconds: None)
    (tmp_path / "home").mkdir()
    write_archive(tmp_path / "home" / cifar10.ARCHIVE, ALL_FILES)
    with pytest.raises(TransportError, match="wrong content: md5"):
        cifar10.download(tmp_path / "cache", homes=((tmp_path / "home").as_uri() + "/",))
    assert list((tmp_path / "cache" / "cifar10").iterdir()) == []
