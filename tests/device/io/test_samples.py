"""What may be uploaded, without loss."""

from __future__ import annotations

from io import BytesIO

import numpy as np
import pytest
from PIL import Image as PillowImage

from edgeadapt.errors import ConfigError
from edgeadapt_device.io.samples import encode_png


@pytest.mark.parametrize("channels", [1, 3])
def test_png_is_lossless(channels: int) -> None:
    frame = np.random.default_rng(3).integers(0, 256, (8, 8, channels), dtype=np.uint8)
    with PillowImage.open(BytesIO(encode_png(frame))) as picture:
        assert (np.asarray(picture).reshape(frame.shape) == frame).all()


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (9, 1), (33, 20)])
@pytest.mark.parametrize("channels", [1, 3])
def test_png_of_smooth_pictures_is_lossless_and_no_larger_than_a_librarys(
    shape: tuple[int, int], channels: int
) -> None:
    row, column = np.mgrid[: shape[0], : shape[1]]
    waves = [120 + 80 * np.sin(row / 7 + k) + 50 * np.cos(column / (5 + k)) for k in range(channels)]
    frame = np.clip(np.stack(waves, axis=2), 0, 255).astype(np.uint8)
    data = encode_png(frame)
    with PillowImage.open(BytesIO(data)) as picture:
        assert picture.mode == {1: "L", 3: "RGB"}[channels]
        assert (np.asarray(picture).reshape(frame.shape) == frame).all()
    other = BytesIO()
    PillowImage.fromarray(frame[:, :, 0] if channels == 1 else frame).save(other, format="PNG")
    assert len(data) <= 1.05 * len(other.getvalue())


def test_png_of_a_view_is_that_of_a_copy() -> None:
    frame = np.random.default_rng(4).integers(0, 256, (6, 7, 3), dtype=np.uint8)
    assert encode_png(frame[::-1, ::2]) == encode_png(frame[::-1, ::2].copy())


def test_png_refuses_other_channel_counts() -> None:
    with pytest.raises(ConfigError, match="PNG"):
        encode_png(np.zeros((4, 4, 2), np.uint8))
