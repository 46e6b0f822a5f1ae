"""From frames to a model's input: values, order of axes, integers."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from edgeadapt.bundle import Bundle, InputSpec
from edgeadapt.errors import ConfigError
from edgeadapt_device.io.engines import Frames, check_shape
from edgeadapt_device.io.engines.inputs import Frame, float_fill, integer_fill, model_shape

IMAGE = InputSpec((3, 4, 5))
SERIES = InputSpec((2, 7), kind="array")


def pictures(count: int) -> Frames:
    return np.random.default_rng(1).integers(0, 256, (count, 4, 5, 3), dtype=np.uint8)


def floats(spec: InputSpec, layout: str, frames: Frames) -> npt.NDArray[np.float32]:
    out = np.full((len(frames), *model_shape(spec, layout)), np.nan, np.float32)
    float_fill(spec, layout)(frames, out)
    return out


def integers(spec: InputSpec, layout: str, frames: Frames, *numbers: Any) -> npt.NDArray[Any]:
    out = np.zeros((len(frames), *model_shape(spec, layout)), numbers[-1])
    integer_fill(spec, layout, *numbers)(frames, out)
    return out


def test_images_become_float32_in_the_unit_interval_in_either_order() -> None:
    frames = pictures(2)
    wanted = (frames / 255.0).astype(np.float32)
    np.testing.assert_array_equal(floats(IMAGE, "NHWC", frames), wanted)
    np.testing.assert_array_equal(floats(IMAGE, "NCHW", frames), np.moveaxis(wanted, -1, 1))


def test_arrays_keep_their_values_in_either_order() -> None:
    frames = np.random.default_rng(2).normal(size=(3, 2, 7)).astype(np.float32)
    np.testing.assert_array_equal(floats(SERIES, "NCHW", frames), frames)
    np.testing.assert_array_equal(floats(SERIES, "NHWC", frames), frames.transpose(0, 2, 1))
    blocks = InputSpec((2, 3, 4), kind="array")
    frames = np.arange(24, dtype=np.float32).reshape(1, 2, 3, 4)
    np.testing.assert_array_equal(floats(blocks, "NHWC", frames), frames.transpose(0, 2, 3, 1))


@pytest.mark.parametrize(
    ("scale", "zero", "dtype"), [(1 / 255, -128, np.int8), (1 / 255, 0, np.uint8), (0.0123, -17, np.int8)]
)
def test_integer_inputs_are_rounded_and_clipped(scale: float, zero: int, dtype: Any) -> None:
    limits = np.iinfo(dtype)
    frames = pictures(2)
    wanted = np.clip(np.rint(frames / 255.0 / scale) + zero, limits.min, limits.max).astype(dtype)
    np.testing.assert_array_equal(integers(IMAGE, "NHWC", frames, scale, zero, dtype), wanted)
    np.testing.assert_array_equal(
        integers(IMAGE, "NCHW", frames, scale, zero, dtype), np.moveaxis(wanted, -1, 1)
    )
    arrays = np.linspace(-3, 3, 14, dtype=np.float32).reshape(1, 2, 7)
    wanted = np.clip(np.rint(arrays / scale) + zero, limits.min, limits.max).astype(dtype)
    np.testing.assert_array_equal(integers(SERIES, "NCHW", arrays, scale, zero, dtype), wanted)


def test_a_frame_of_zeros_is_one_that_the_check_lets_pass() -> None:
    for spec in (IMAGE, SERIES):
        frame = Frame(spec)
        frame.check(frame.blank())
        assert frame.blank().shape == (1, *spec.frame_shape)


def test_a_source_of_another_shape_is_named_with_the_fix(tiny: Bundle) -> None:
    check_shape(tiny, (28, 28, 1))
    with pytest.raises(
        ConfigError, match=r"\(5, 7, 3\), but bundle tiny-batch-0 takes \(28, 28, 1\): resize"
    ):
        check_shape(tiny, (5, 7, 3))
