"""What each corruption is: properties that its name promises, with the published constants."""

import numpy as np
import pytest
from numpy.typing import NDArray

from edgeadapt_models.data import corrupt
from edgeadapt_models.data.corruptions.blur import disk_kernel
from edgeadapt_models.data.corruptions.fields import box_matrix, nearest_matrix, plasma, zoom_matrix
from tests.models.data.conftest import make_images


def apply(images: NDArray[np.uint8], name: str, severity: int) -> NDArray[np.float64]:
    return corrupt(images, name, severity, np.random.default_rng(0)) / 255.0


def flat(value: int, channels: int = 1) -> NDArray[np.uint8]:
    return np.full((64, 32, 32, channels), value, dtype=np.uint8)


def test_gaussian_noise_has_the_published_spread() -> None:
    assert apply(flat(128), "gaussian_noise", 5).std() == pytest.approx(0.10, rel=0.02)


def test_shot_noise_grows_with_the_light() -> None:
    dim, bright = apply(flat(25), "shot_noise", 5), apply(flat(128), "shot_noise", 5)
    assert bright.std() == pytest.approx(np.sqrt(128 / 255 / 50), rel=0.03)
    assert dim.std() < 0.6 * bright.std()


def test_impulse_noise_hits_its_share_with_black_and_white() -> None:
    noisy = apply(flat(128, 3), "impulse_noise", 5)
    assert (noisy == 0).mean() == pytest.approx(0.035, abs=0.004)
    assert (noisy == 1).mean() == pytest.approx(0.035, abs=0.004)


@pytest.mark.parametrize(
    "name", ["defocus_blur", "motion_blur", "zoom_blur", "elastic_transform", "pixelate"]
)
def test_what_moves_light_leaves_a_flat_picture_flat(name: str) -> None:
    assert np.abs(apply(flat(128), name, 5) - 128 / 255).max() < 0.01


def test_glass_blur_only_exchanges_pixels_at_severity_1() -> None:
    images = make_images(4, 32, 32, 1)
    glass = (apply(images, "glass_blur", 1) * 255).round().astype(int)
    assert np.array_equal(np.sort(glass.reshape(4, -1)), np.sort(images.reshape(4, -1)))


def test_motion_blur_smears_along_one_line() -> None:
    dot = np.zeros((1, 32, 32, 1), dtype=np.uint8)
    dot[0, 16, 16] = 255
    rows, columns = np.nonzero(apply(dot, "motion_blur", 5)[0, :, :, 0])
    assert np.ptp(columns) >= 4
    assert np.ptp(rows) <= np.ptp(columns)


def test_fog_keeps_the_brightest_value_and_lifts_the_dark() -> None:
    images = make_images(8, 32, 32, 1)
    foggy = apply(images, "fog", 3)
    assert foggy.max() <= images.max() / 255 + 0.01
    assert foggy.mean() > images.mean() / 255


def test_brightness_raises_value_and_keeps_hue() -> None:
    red = np.zeros((1, 16, 16, 3), dtype=np.uint8)
    red[..., 0] = 100
    brighter = apply(red, "brightness", 3)
    assert brighter[..., 0].max() == pytest.approx(100 / 255 + 0.15, abs=0.003)
    assert brighter[..., 1:].max() == 0


def test_contrast_keeps_the_mean() -> None:
    images = make_images(4, 32, 32, 3)
    flatter = apply(images, "contrast", 5)
    assert flatter.mean() == pytest.approx(images.mean() / 255, abs=0.003)
    assert flatter.std() < 0.6 * (images / 255).std()


def test_pixelate_shows_fewer_different_rows() -> None:
    images = np.random.default_rng(0).integers(0, 256, (1, 32, 32, 1), dtype=np.uint8)
    assert len(np.unique(apply(images, "pixelate", 5)[0, :, :, 0], axis=0)) == 21


def test_snow_and_frost_add_light_and_are_patchy() -> None:
    for name in ("snow", "frost"):
        covered = apply(flat(60), name, 4)
        assert covered.mean() > 60 / 255 + 0.03
        assert covered.std(axis=(1, 2, 3)).min() > 0.02


def test_kernels_and_matrices_keep_the_sum_of_light() -> None:
    assert disk_kernel(3.0, 0.5).sum() == pytest.approx(1, abs=1e-5)
    for matrix in (zoom_matrix(28, 1.2), box_matrix(28, 21), nearest_matrix(28, 21)):
        assert matrix.sum(axis=1) == pytest.approx(1, abs=1e-5)


def test_plasma_is_smoother_with_faster_decay() -> None:
    rough, smooth = (plasma((16, 32, 32), decay, np.random.default_rng(0)) for decay in (1.3, 3.0))
    assert np.abs(np.diff(smooth, axis=2)).mean() < np.abs(np.diff(rough, axis=2)).mean()
    assert (smooth.min(), smooth.max()) == (0, 1)
