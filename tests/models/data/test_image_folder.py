"""A user's own folder of pictures, right and wrong."""

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgeadapt.errors import ConfigError
from edgeadapt_models.data import load
from tests.models.data.conftest import make_images


def put(path: Path, height: int = 12, width: int = 10, channels: int = 3, seed: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(make_images(1, height, width, channels, seed)[0].squeeze()).save(path)


def fill(root: Path, channels: int = 3) -> None:
    for split in ("train", "test"):
        put(root / split / "cat" / "1.png", channels=channels)
        put(root / split / "cat" / "2.jpg", channels=channels)
        put(root / split / "dog" / "1.PNG", channels=channels, seed=3)


def test_folders_become_classes(tmp_path: Path) -> None:
    fill(tmp_path)
    (tmp_path / "train" / "cat" / "notes.txt").write_text("not a picture")
    dataset = load("image-folder", root=tmp_path)
    assert dataset.classes == ("cat", "dog")
    assert dataset.train_labels.tolist() == [0, 0, 1]
    assert np.array_equal(dataset.train_images[2], make_images(1, 12, 10, 3, seed=3)[0])


def test_grey_pictures_give_one_channel_and_one_colour_picture_three(tmp_path: Path) -> None:
    fill(tmp_path, channels=1)
    assert load("image-folder", root=tmp_path).image_shape == (12, 10, 1)
    put(tmp_path / "test" / "dog" / "2.png", channels=3)
    assert load("image-folder", root=tmp_path).image_shape == (12, 10, 3)


def test_two_sizes_name_the_file_unless_a_size_is_given(tmp_path: Path) -> None:
    fill(tmp_path)
    put(tmp_path / "test" / "dog" / "odd.png", height=20, width=20)
    with pytest.raises(ConfigError, match=r"odd\.png is 20x20, others are 12x10"):
        load("image-folder", root=tmp_path)
    assert load("image-folder", root=tmp_path, size=(16, 18)).image_shape == (16, 18, 3)


def test_a_size_is_for_folders(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="'fashion-mnist' has a size of its own"):
        load("fashion-mnist", root=tmp_path, size=(16, 16))


def test_grey_pictures_of_16_bits_are_scaled_to_8(tmp_path: Path) -> None:
    fill(tmp_path, channels=1)
    deep = np.linspace(0, 65535, 120).reshape(12, 10).astype(np.uint16)
    Image.fromarray(deep).save(tmp_path / "train" / "cat" / "0.png")
    dataset = load("image-folder", root=tmp_path)
    assert dataset.image_shape == (12, 10, 1)
    np.testing.assert_array_equal(dataset.train_images[0, ..., 0], np.rint(deep / 257))


def test_hidden_folders_are_no_classes_and_empty_ones_are_named(tmp_path: Path) -> None:
    fill(tmp_path)
    for split in ("train", "test"):
        put(tmp_path / split / ".thumbnails" / "1.png")
    (tmp_path / "test" / "horse").mkdir()
    assert load("image-folder", root=tmp_path).classes == ("cat", "dog")
    (tmp_path / "train" / "horse").mkdir()
    with pytest.raises(ConfigError, match="horse holds no pictures"):
        load("image-folder", root=tmp_path)


def test_a_picture_that_says_it_is_huge_is_named(tmp_path: Path) -> None:
    fill(tmp_path)
    data = bytearray((tmp_path / "train" / "cat" / "1.png").read_bytes())
    data[16:24] = struct.pack(">II", 60_000, 60_000)
    data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
    (tmp_path / "train" / "cat" / "huge.png").write_bytes(data)
    with pytest.raises(ConfigError, match=r"huge\.png.*3600000000 pixels"):
        load("image-folder", root=tmp_path)


def test_no_split_no_classes_and_no_pictures(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="train is not a folder"):
        load("image-folder", root=tmp_path)
    (tmp_path / "train").mkdir()
    with pytest.raises(ConfigError, match="train has no classes"):
        load("image-folder", root=tmp_path)
    (tmp_path / "train" / "cat").mkdir()
    (tmp_path / "test" / "cat").mkdir(parents=True)
    with pytest.raises(ConfigError, match="holds no pictures"):
        load("image-folder", root=tmp_path)


def test_a_class_only_in_test_is_refused(tmp_path: Path) -> None:
    fill(tmp_path)
    put(tmp_path / "test" / "horse" / "1.png")
    with pytest.raises(ConfigError, match="train lacks: horse"):
        load("image-folder", root=tmp_path)


def test_an_unreadable_picture_is_named(tmp_path: Path) -> None:
    fill(tmp_path)
    (tmp_path / "train" / "dog" / "broken.png").write_bytes(b"\x89PNG and nothing more")
    with pytest.raises(ConfigError, match=r"broken\.png"):
        load("image-folder", root=tmp_path)


def test_the_folder_must_be_named() -> None:
    with pytest.raises(ConfigError, match="needs the folder"):
        load("image-folder")
