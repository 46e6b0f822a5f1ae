"""What may be uploaded, without loss."""

from __future__ import annotations

from io import BytesIO

import numpy as np
import pytest
from PIL import Image as PillowImage

from edgeadapt.bundle import InputSpec
from edgeadapt.errors import ConfigError
from edgeadapt_device.io.samples import check_encodable, encode_png


@pytest.mark.parametrize("channels", [1, 3])
def test_png_is_lossless(channels: int) -> None:
    frame = np.random.default_rng(3).integers(0, 256, (8, 8, channels), dtype=np.uint8)
    with PillowImage.open(BytesIO(encode_png(frame))) as picture:
        assert (np.asarray(picture).reshape(frame.shape) == frame).all()


def test_png_refuses_other_channel_counts() -> None:
    with pytest.raises(ConfigError, match="PNG"):
        encode_png(np.zeros((4, 4, 2), np.uint8))


def test_frames_that_can_never_be_uploaded_are_told_before_the_first() -> None:
    check_encodable(InputSpec((1, 8, 8)))
    check_encodable(InputSpec((3, 8, 8)))
    with pytest.raises(ConfigError, match=r"4 channels.*flagging\.enabled = false"):
        check_encodable(InputSpec((4, 8, 8)))
    with pytest.raises(ConfigError, match=r"arrays cannot.*flagging\.enabled = false"):
        check_encodable(InputSpec((3, 128), kind="array"))
