"""Every augmentation obeys one contract; the ones with a clear property are checked for it."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from edgeadapt.errors import ConfigError
from edgeadapt_models.data.corruptions import CORRUPTIONS
from edgeadapt_models.train import augmix
from edgeadapt_models.train.augment import AUGMENTATIONS, augment
from edgeadapt_models.train.augment_robust import amplitude_swap, fractal_field
from edgeadapt_models.train.recipes import ROBUST


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def pictures(channels: int, count: int = 64) -> Tensor:
    """Smooth random pictures, float32 [count, channels, 16, 20] in [0, 1]."""
    return fractal_field(count, channels, 16, 20, seeded(9))


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", AUGMENTATIONS.names())
def test_contract(name: str, channels: int) -> None:
    images = pictures(channels)
    before = images.clone()
    result = AUGMENTATIONS.get(name)(images, seeded(1))
    assert torch.equal(images, before), "the input must not be written to"
    assert result.shape == images.shape
    assert result.dtype == torch.float32
    assert result.min() >= 0
    assert result.max() <= 1
    changed = (result - images).abs().amax((1, 2, 3)) > 1e-3
    assert changed.float().mean() > 0.15
    assert torch.equal(result, AUGMENTATIONS.get(name)(images, seeded(1)))
    assert not torch.equal(result, AUGMENTATIONS.get(name)(images, seeded(2)))


@pytest.mark.parametrize("name", AUGMENTATIONS.names())
def test_a_single_image_is_a_batch_too(name: str) -> None:
    for seed in range(8):
        assert AUGMENTATIONS.get(name)(pictures(1, 1), seeded(seed)).isfinite().all()


@pytest.mark.parametrize(
    "name", ["augmix", "random-convolution", "amplitude-swap", "fractal-shade", "picture-mix"]
)
def test_an_empty_picture_gives_no_nan(name: str) -> None:
    result = AUGMENTATIONS.get(name)(torch.zeros(32, 1, 16, 16), seeded())
    assert result.isfinite().all()


def test_flip_mirrors() -> None:
    images = pictures(1)
    result = augment(images, ("flip",), seeded())
    mirrored = [torch.equal(a, b.flip(2)) for a, b in zip(result, images, strict=True)]
    kept = [torch.equal(a, b) for a, b in zip(result, images, strict=True)]
    assert sum(mirrored) > 10
    assert sum(kept) > 10
    assert sum(mirrored) + sum(kept) == len(images)


@pytest.mark.parametrize(("name", "reach"), [("shift", 2), ("shift-4", 4)])
def test_shift_moves_a_point_within_its_reach(name: str, reach: int) -> None:
    images = torch.zeros(1024, 1, 17, 17)
    images[:, :, 8, 8] = 1.0
    places = augment(images, (name,), seeded()).nonzero()[:, 2:] - 8
    assert len(places) == 1024
    assert places.abs().max() == reach
    assert len({tuple(place) for place in places.tolist()}) == (2 * reach + 1) ** 2


def test_autocontrast_fills_the_range() -> None:
    result = augmix.autocontrast(pictures(3) * 0.3 + 0.2, seeded())
    assert result.amin((2, 3)).max() < 0.01
    assert result.amax((2, 3)).min() > 0.99


def test_equalize_makes_the_mean_of_ranks() -> None:
    result = augmix.equalize(pictures(1).square(), seeded())
    assert (result.mean((1, 2, 3)) - 0.5).abs().max() < 0.05


def test_posterize_leaves_few_levels() -> None:
    result = augmix.posterize(pictures(1), seeded())
    assert max(len(image.unique()) for image in result) <= 32


def test_fields_are_smooth_not_white_noise() -> None:
    field = fractal_field(64, 1, 32, 32, seeded())
    left, right = field[..., :-1].flatten(), field[..., 1:].flatten()
    assert torch.corrcoef(torch.stack([left, right]))[0, 1] > 0.8


def test_shading_is_no_fog() -> None:
    """Fog lifts black; a shadow or a light does not."""
    images = pictures(1) * (pictures(1) > 0.5)
    black = images == 0
    result = augment(images, ("fractal-shade",), seeded())
    assert not torch.equal(result, images)
    assert result[black].max() == 0


def test_picture_mix_keeps_most_of_the_picture() -> None:
    images = torch.stack([torch.full((1, 8, 8), float(index % 2)) for index in range(64)])
    result = augment(images, ("picture-mix",), seeded())
    assert 5 < int((result != images).any(dim=(1, 2, 3)).sum()) < 40
    assert float((result - images).abs().max()) <= 0.45


def test_the_teachers_see_no_test_corruption() -> None:
    assert "fractal-mix" not in ROBUST
    assert not set(ROBUST) & set(CORRUPTIONS)


def test_amplitude_swap_keeps_the_phase() -> None:
    images = pictures(1) * 0.2 + 0.4
    result = amplitude_swap(images, seeded())
    changed = (result - images).abs().amax((1, 2, 3)) > 1e-3
    inside = changed & (result.amin((1, 2, 3)) > 0) & (result.amax((1, 2, 3)) < 1)
    assert inside.sum() > 5
    before, after = torch.fft.rfft2(images[inside]), torch.fft.rfft2(result[inside])
    strong = before.abs() > before.abs().mean()
    turned = (before / before.abs() * (after / after.abs()).conj()).real[strong]
    assert turned.quantile(0.05) > 0.99


def test_an_unknown_name_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"nosuch.*flip"):
        augment(pictures(1), ("nosuch",), seeded())
