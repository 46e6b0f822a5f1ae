"""One contract for all fifteen corruptions."""

import numpy as np
import pytest

from edgeadapt.errors import ConfigError
from edgeadapt_models.data import CORRUPTIONS, SEVERITIES, corrupt
from edgeadapt_models.data.corruptions.registry import CHUNK
from edgeadapt_models.data.fashion_mnist import DEBIAN_DIR, read_idx
from tests.models.data.conftest import make_images

SHAPES = [(28, 28, 1), (32, 32, 3), (96, 64, 3), (96, 64, 1)]
EVERY = pytest.mark.parametrize("name", CORRUPTIONS)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_they_are_the_fifteen() -> None:
    assert len(CORRUPTIONS) == len(set(CORRUPTIONS)) == 15


@EVERY
@pytest.mark.parametrize("shape", SHAPES)
def test_each_severity_moves_the_picture_further(name: str, shape: tuple[int, int, int]) -> None:
    images = make_images(32, *shape)
    before = images.copy()
    moved = []
    for severity in SEVERITIES:
        corrupted = corrupt(images, name, severity, rng())
        assert corrupted.shape == images.shape
        assert corrupted.dtype == np.uint8
        moved.append(float(np.abs(corrupted.astype(int) - images).mean()))
    assert moved[0] > 0
    assert moved == sorted(moved)
    assert moved[4] > 1.2 * moved[0]
    assert np.array_equal(images, before)


@pytest.mark.skipif(not DEBIAN_DIR.is_dir(), reason="dataset-fashion-mnist is not installed")
@EVERY
def test_each_severity_moves_real_pictures_further(name: str) -> None:
    images = read_idx(DEBIAN_DIR / "t10k-images-idx3-ubyte.gz")[:128, ..., np.newaxis]
    moved = [
        np.abs(corrupt(images, name, severity, rng()).astype(int) - images).mean() for severity in SEVERITIES
    ]
    assert moved == sorted(moved)
    assert len(set(moved)) == 5


@EVERY
def test_large_pictures_work(name: str) -> None:
    images = make_images(2, 32, 36, 3).repeat(7, axis=1).repeat(7, axis=2)
    mild, strong = (corrupt(images, name, severity, rng()).astype(int) for severity in (1, 5))
    assert np.abs(mild - images).mean() < np.abs(strong - images).mean()


@EVERY
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [(1, 1), (2, 30), (7, 13), (5, 5)])
def test_small_pictures_work(name: str, size: tuple[int, int], channels: int) -> None:
    images = make_images(6, *size, channels)
    corrupted = corrupt(images, name, 5, rng())
    assert corrupted.shape == images.shape
    assert np.array_equal(corrupted, corrupt(images, name, 5, rng()))
    if min(size) >= 5:
        assert np.abs(corrupted.astype(int) - images).mean() > 1


def test_a_small_picture_is_the_middle_of_one_with_repeated_edges() -> None:
    images = make_images(4, 7, 13, 3)
    grown = np.concatenate([images, images[:, -1:]], axis=1)
    for name in CORRUPTIONS:
        assert np.array_equal(corrupt(images, name, 3, rng()), corrupt(grown, name, 3, rng())[:, :7])


@EVERY
def test_same_generator_state_same_result(name: str) -> None:
    images = make_images(5, 32, 32, 3)
    assert np.array_equal(corrupt(images, name, 3, rng(7)), corrupt(images, name, 3, rng(7)))


RANDOM = sorted(
    set(CORRUPTIONS) - {"defocus_blur", "zoom_blur", "brightness", "contrast", "pixelate", "jpeg_compression"}
)


@pytest.mark.parametrize("name", RANDOM)
def test_another_seed_gives_another_result_and_frames_differ(name: str) -> None:
    images = np.repeat(make_images(1, 32, 32, 3), 2, axis=0)
    corrupted = corrupt(images, name, 3, rng(7))
    assert not np.array_equal(corrupted, corrupt(images, name, 3, rng(8)))
    assert not np.array_equal(corrupted[0], corrupted[1])


@pytest.mark.parametrize("name", ["gaussian_noise", "frost", "glass_blur", "elastic_transform"])
def test_two_calls_cut_at_a_chunk_give_what_one_call_gives(name: str) -> None:
    images = make_images(CHUNK + 10, 16, 16, 1)
    one, generator = corrupt(images, name, 2, rng()), rng()
    first = corrupt(images[:CHUNK], name, 2, generator)
    second = corrupt(images[CHUNK:], name, 2, generator)
    assert np.array_equal(one, np.concatenate([first, second]))


@EVERY
def test_black_white_and_no_pictures_survive(name: str) -> None:
    flat = np.stack([np.zeros((16, 16, 3), np.uint8), np.full((16, 16, 3), 255, np.uint8)])
    assert corrupt(flat, name, 5, rng()).shape == flat.shape
    assert corrupt(flat[:0], name, 5, rng()).shape == (0, 16, 16, 3)


def test_bad_arguments_say_what_was_expected() -> None:
    images = make_images(1, 16, 16, 3)
    with pytest.raises(ConfigError, match="unknown corruption 'haze'; known: brightness, contrast"):
        corrupt(images, "haze", 1, rng())
    with pytest.raises(ConfigError, match="severity of fog must be 1 to 5, got 6"):
        corrupt(images, "fog", 6, rng())
    with pytest.raises(ConfigError, match="must be uint8"):
        corrupt(images.astype(np.float32), "fog", 1, rng())
    with pytest.raises(ConfigError, match="at least 1 pixel"):
        corrupt(images[:, :0], "fog", 1, rng())
