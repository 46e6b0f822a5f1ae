"""Pixels as the model takes them: bits, channels, their order, and size."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image as PillowImage

from edgeadapt.bundle import InputSpec
from edgeadapt.errors import ConfigError
from edgeadapt_device.io.sources.base import Misfit, Unusable
from edgeadapt_device.io.sources.files import PictureFiles
from edgeadapt_device.io.sources.fit import Fitter
from tests.device.io.sources.made import COLOUR, GREY, SERIES, images

_RED, _GREEN, _BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)


def flag(width: int, height: int) -> npt.NDArray[np.uint8]:
    """Red, green and blue stripes side by side, and a white line around [height, width, 3]."""
    picture = np.zeros((height, width, 3), np.uint8)
    for third, colour in enumerate((_RED, _GREEN, _BLUE)):
        picture[:, third * width // 3 : (third + 1) * width // 3] = colour
    return picture


@pytest.mark.parametrize("suffix", ["png", "tif", "pgm"])
@pytest.mark.parametrize("spec", [GREY, COLOUR])
def test_images_of_16_bits_are_scaled_not_clipped(tmp_path: Path, suffix: str, spec: InputSpec) -> None:
    grey = np.arange(64, dtype=np.uint8).reshape(8, 8) * 4
    deep = grey.astype(np.uint16) * 257
    path = tmp_path / f"a.{suffix}"
    if suffix == "pgm":
        path.write_bytes(b"P5 8 8 65535\n" + deep.astype(">u2").tobytes())
    else:
        PillowImage.fromarray(deep).save(path)
    image = PictureFiles(spec, "off").read(path)
    assert image.shape == spec.frame_shape
    assert all((image[:, :, channel] == grey).all() for channel in range(spec.channels))


def test_pixels_of_unknown_range_cannot_be_used(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    PillowImage.fromarray(np.full((8, 8), 0.5, np.float32)).save(path)
    with pytest.raises(Unusable, match="floats"):
        PictureFiles(GREY, "off").read(path)
    PillowImage.fromarray(np.full((8, 8), 1 << 20, np.int32)).save(path)
    with pytest.raises(Unusable, match="16 bits"):
        PictureFiles(GREY, "off").read(path)


def test_alpha_palette_and_cmyk_become_colour(tmp_path: Path) -> None:
    reader, red = PictureFiles(COLOUR, "off"), np.full((8, 8, 3), _RED, np.uint8)
    plain = PillowImage.fromarray(red)
    transparent = PillowImage.fromarray(np.dstack([red, np.full((8, 8), 7, np.uint8)]))
    plain.convert("CMYK").save(tmp_path / "cmyk.tif")
    plain.convert("P").save(tmp_path / "palette.png")
    transparent.save(tmp_path / "alpha.png")
    for name in ("cmyk.tif", "palette.png", "alpha.png"):
        assert (reader.read(tmp_path / name) == red).all(), name


def test_a_photograph_is_turned_upright(tmp_path: Path) -> None:
    upright = flag(24, 24)
    exif = PillowImage.Exif()
    exif[0x0112] = 6  # to be turned a quarter clockwise
    lying = PillowImage.fromarray(np.ascontiguousarray(np.rot90(upright)))
    lying.save(tmp_path / "a.png", exif=exif)
    image = PictureFiles(InputSpec((3, 24, 24)), "off").read(tmp_path / "a.png")
    assert (image == upright).all()


def test_crop_fills_the_frame_and_cuts_evenly() -> None:
    image = Fitter(COLOUR, "crop").convert(flag(48, 16)[:, :, ::-1])
    assert image.shape == (8, 8, 3)
    assert (image[:, 1:7] == _GREEN).all()
    # The filter looks a pixel over the edge, as it does when a picture is scaled first and cut then.
    assert (image[:, :, 1] > 200).all()
    tall = Fitter(COLOUR, "crop").convert(np.ascontiguousarray(np.rot90(flag(48, 16)))[:, :, ::-1])
    assert (tall[1:7] == _GREEN).all()


def test_stretch_gives_up_the_proportions() -> None:
    image = Fitter(COLOUR, "stretch").convert(flag(48, 16)[:, :, ::-1])
    assert tuple(image[4, 0]) == _RED
    assert tuple(image[4, 7]) == _BLUE


def test_letterbox_shows_all_of_it_with_grey_bars() -> None:
    image = Fitter(COLOUR, "letterbox").convert(flag(48, 24)[:, :, ::-1])
    assert (image[:2] == 128).all()
    assert (image[6:] == 128).all()
    assert tuple(image[4, 0]) == _RED
    assert tuple(image[4, 7]) == _BLUE
    grey = Fitter(GREY, "letterbox").convert(np.zeros((4, 8), np.uint8))
    assert [int(value) for value in grey[:, 0, 0]] == [128, 128, 0, 0, 0, 0, 128, 128]


def test_off_refuses_and_says_what_to_set() -> None:
    with pytest.raises(Misfit, match=r'48x16, the model takes 8x8: set source\.resize = "crop"'):
        Fitter(COLOUR, "off").convert(flag(48, 16))


def test_shrinking_averages_and_does_not_pick() -> None:
    chequered = np.indices((64, 64)).sum(axis=0) % 2 * 255
    image = Fitter(GREY, "stretch").convert(chequered.astype(np.uint8))
    assert abs(int(image.min()) - 128) < 8
    assert abs(int(image.max()) - 128) < 8


def test_a_large_jpeg_gives_the_same_picture_as_its_pixels(tmp_path: Path) -> None:
    ramp = np.linspace(0, 255, 640).astype(np.uint8)
    picture = np.dstack(
        [np.tile(ramp, (480, 1)), np.tile(ramp[:480, None], (1, 640)), np.full((480, 640), 90)]
    )
    PillowImage.fromarray(picture.astype(np.uint8)).save(tmp_path / "a.jpg", quality=95)
    small = PictureFiles(COLOUR, "stretch").read(tmp_path / "a.jpg").astype(int)
    exact = Fitter(COLOUR, "stretch").convert(picture.astype(np.uint8)[:, :, ::-1]).astype(int)
    assert abs(small - exact).max() <= 4


@pytest.mark.parametrize("spec", [GREY, COLOUR])
def test_opencvs_frames_are_read_blue_first(spec: InputSpec) -> None:
    pixels, fitter = images(1)[0], Fitter(spec, "off")
    turned = np.ascontiguousarray(pixels[:, :, ::-1])
    wanted = PillowImage.fromarray(pixels).convert("L" if spec is GREY else "RGB")
    expected = np.asarray(wanted).reshape(spec.frame_shape)
    assert (fitter.convert(turned) == expected).all()
    assert (fitter.convert(np.dstack([turned, turned[:, :, :1]])) == expected).all()
    assert (fitter.convert(turned.astype(np.uint16) * 257) == expected).all()
    grey = pixels[:, :, :1]
    assert (fitter.convert(grey[:, :, 0]) == grey).all()
    assert (fitter.convert(grey) == grey).all()


@pytest.mark.parametrize(
    "odd",
    [
        np.zeros((8, 8, 2), np.uint8),
        np.zeros((0, 8, 3), np.uint8),
        np.zeros((8, 8, 3), np.float32),
        np.zeros(8, np.uint8),
        np.zeros((2, 8, 8, 3), np.uint8),
    ],
)
def test_what_is_no_picture_cannot_be_used(odd: np.ndarray) -> None:
    with pytest.raises(Unusable, match="no picture"):
        Fitter(COLOUR).convert(odd)


@pytest.mark.parametrize("spec", [SERIES, InputSpec((4, 8, 8))])
def test_a_model_that_takes_no_pictures_is_a_config_error(spec: InputSpec) -> None:
    with pytest.raises(ConfigError, match=r'source\.kind = "stream"'):
        Fitter(spec)
