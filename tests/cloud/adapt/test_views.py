"""Changes that leave an image's class alone."""

from __future__ import annotations

import pytest
import torch

from edgeadapt_cloud.adapt.views import jitter


@pytest.mark.parametrize("size", [(1, 1), (3, 9)])
def test_a_shift_is_at_most_what_the_image_can_mirror(size: tuple[int, int]) -> None:
    images = torch.arange(size[0] * size[1]).float().view(1, 1, *size)
    moved = jitter(images, flip=False, shift=500, generator=torch.Generator().manual_seed(0))
    assert moved.shape == images.shape
    assert set(moved.flatten().tolist()) <= set(images.flatten().tolist())
