"""Pictures as the model takes them: 8 bits, its channels in its order, its size.

One way for files, videos and cameras, so that the model sees the same pixels from each:
16 bits are scaled, not clipped; a camera's blue-green-red becomes red-green-blue; colour becomes grey by
ITU-R 601 luma, grey becomes three equal channels; an alpha channel is dropped, as training pipelines do;
a photograph is turned upright as its EXIF says. Sizes are changed by area-aware bilinear filtering.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt
from PIL import Image as PillowImage
from PIL import ImageOps

from edgeadapt.bundle.manifest import InputSpec
from edgeadapt.errors import ConfigError
from edgeadapt_device.io.sources.base import Misfit, Unusable

Bytes = npt.NDArray[np.uint8]
Resize = Literal["crop", "letterbox", "stretch", "off"]
_MAX_16_BITS = 65_535
_MODES = {1: "L", 3: "RGB"}
# What is shrunk in a cheaper way first must leave this many times the wanted size for the filter.
_GAP = 2
_BAR = 128


class Fitter:
    """Makes [H, W, C] uint8 frames of one size from pictures of any."""

    def __init__(self, spec: InputSpec, resize: Resize = "crop") -> None:
        """Fit pictures to the model's input.

        Args:
            spec: what the model takes.
            resize: "crop" scales until the model's frame is covered and cuts off what is too much, evenly;
                "letterbox" scales until all of the picture is inside, with grey bars; "stretch" gives up
                the proportions; "off" takes only pictures of the right size.

        Raises:
            ConfigError: the model does not take pictures with 1 or 3 channels.
        """
        if spec.kind != "image" or spec.channels not in _MODES:
            raise ConfigError(
                f"source.kind: the model takes {spec.kind} frames of shape {spec.frame_shape}, not pictures "
                'with 1 or 3 channels: use source.kind = "stream"'
            )
        self._mode, self._resize = _MODES[spec.channels], resize
        self._size = (spec.width, spec.height)
        self._shape = spec.frame_shape

    def read(self, picture: PillowImage.Image) -> Bytes:
        """A picture that was opened, and may not have been decoded yet.

        Raises:
            Unusable: its pixels have no known range, or its size is not the model's ("off").
            OSError, ValueError: it cannot be decoded.
        """
        if self._resize != "off":
            side = _GAP * max(self._size)
            picture.draft(self._mode, (side, side))
        ImageOps.exif_transpose(picture, in_place=True)
        return self._fit(_eight_bits(picture).convert(self._mode))

    def convert(self, pixels: npt.NDArray[np.generic]) -> Bytes:
        """A frame from OpenCV: uint8 or uint16, [H, W] or [H, W, 1, 3 or 4], blue first.

        Raises:
            Unusable: it is something else, or its size is not the model's ("off").
        """
        if pixels.ndim == 2:
            pixels = pixels[:, :, None]
        if pixels.ndim != 3 or not pixels.size or pixels.shape[2] not in (1, 3, 4):
            raise Unusable(f"a frame of shape {pixels.shape} is no picture: expected [H, W, 1, 3 or 4]")
        if pixels.dtype == np.uint16:
            pixels = _scaled(pixels)
        elif pixels.dtype != np.uint8:
            raise Unusable(f"a frame of {pixels.dtype} is no picture: expected 8 or 16 bits")
        image = np.asarray(pixels[:, :, :3], dtype=np.uint8)
        if image.shape[:2] != self._shape[:2]:
            # Turned when it is small: what scales it does not know which channel is which.
            image = self._fit(_picture(image))
        image = np.ascontiguousarray(image[:, :, ::-1])
        return image if image.shape == self._shape else _pixels(_picture(image), self._mode)

    def _fit(self, picture: PillowImage.Image) -> Bytes:
        return _pixels(picture if picture.size == self._size else self._resized(picture), picture.mode)

    def _resized(self, picture: PillowImage.Image) -> PillowImage.Image:
        bilinear = PillowImage.Resampling.BILINEAR
        match self._resize:
            case "crop":
                box = _covering(picture.size, self._size)
                return picture.resize(self._size, bilinear, box, reducing_gap=_GAP)
            case "stretch":
                return picture.resize(self._size, bilinear, reducing_gap=_GAP)
            case "letterbox":
                return self._boxed(picture)
            case "off":
                raise Misfit(
                    f"its size is {_text(picture.size)}, the model takes {_text(self._size)}: "
                    'set source.resize = "crop", "letterbox" or "stretch"'
                )

    def _boxed(self, picture: PillowImage.Image) -> PillowImage.Image:
        scale = min(self._size[0] / picture.width, self._size[1] / picture.height)
        size = (max(round(scale * picture.width), 1), max(round(scale * picture.height), 1))
        whole = PillowImage.new(picture.mode, self._size, (_BAR,) * len(picture.getbands()))
        inside = picture.resize(size, PillowImage.Resampling.BILINEAR, reducing_gap=_GAP)
        whole.paste(inside, ((self._size[0] - size[0]) // 2, (self._size[1] - size[1]) // 2))
        return whole


def _picture(image: Bytes) -> PillowImage.Image:
    return PillowImage.fromarray(np.ascontiguousarray(image[:, :, 0] if image.shape[2] == 1 else image))


def _pixels(picture: PillowImage.Image, mode: str) -> Bytes:
    image = np.array(picture.convert(mode), dtype=np.uint8)
    return image[:, :, None] if image.ndim == 2 else image


def _text(size: tuple[int, int]) -> str:
    return f"{size[0]}x{size[1]}"


def _covering(size: tuple[int, int], wanted: tuple[int, int]) -> tuple[float, float, float, float]:
    """The largest box in the middle of a picture that has the proportions of `wanted`."""
    width, height = size
    scale = min(width / wanted[0], height / wanted[1])
    across, down = wanted[0] * scale, wanted[1] * scale
    left, top = (width - across) / 2, (height - down) / 2
    return left, top, left + across, top + down


def _scaled(deep: npt.NDArray[np.generic]) -> Bytes:
    """16 bits to 8, to the nearest."""
    return ((deep.astype(np.uint32) * 255 + _MAX_16_BITS // 2) // _MAX_16_BITS).astype(np.uint8)


def _eight_bits(picture: PillowImage.Image) -> PillowImage.Image:
    """The picture with 8 bits per channel; Pillow's own conversion would clip 16 bits instead of scaling."""
    if picture.mode == "F":
        raise Unusable("its pixels are floats: expected 8 or 16 bits")
    if picture.mode != "I" and not picture.mode.startswith("I;16"):
        return picture
    deep = np.asarray(picture).astype(np.int64)
    if deep.min() < 0 or deep.max() > _MAX_16_BITS:
        raise Unusable("its pixels have more than 16 bits: expected 8 or 16")
    return PillowImage.fromarray(_scaled(deep))
