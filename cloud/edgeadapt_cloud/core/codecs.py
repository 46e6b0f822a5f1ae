"""What a sample may be in each codec: sizes and headers, held against the bundle's input. Nothing is decoded.

PNG and JPEG may be smaller than the model's input (a device makes pictures smaller for privacy or for
bytes), never larger, nor of other proportions than rounding explains. Raw data is exactly the input: 8 bits
for pictures, little-endian float32 for arrays. "none" has no data at all.
"""

from __future__ import annotations

import math
import struct

from edgeadapt.bundle.manifest import InputSpec
from edgeadapt.wire import Sample

_PNG_CHANNELS = {0: 1, 2: 3, 4: 2, 6: 4}
_PNG_MAGIC = b"\x89PNG\r\n\x1a\n"
_JPEG_MAGIC = b"\xff\xd8\xff"
# Start of frame, baseline and progressive: the segments of a JPEG that say its size.
_JPEG_FRAMES = frozenset((0xC0, 0xC1, 0xC2))
# Markers without a length.
_JPEG_BARE = frozenset((0x01, *range(0xD0, 0xD8)))
#: Codecs from which pixels come back as they were.
LOSSLESS = frozenset(("png", "raw"))


def raw_size(spec: InputSpec) -> int:
    """Bytes of one raw frame."""
    return math.prod(spec.frame_shape) * (1 if spec.kind == "image" else 4)


def size_fault(sample: Sample, spec: InputSpec) -> str:
    """What is wrong with a sample's sizes, or ""."""
    found, wanted = (sample.height, sample.width), (spec.height, spec.width)
    text = f"{found[0]}x{found[1]}x{sample.channels} of {sample.codec} where the bundle takes "
    text += f"{wanted[0]}x{wanted[1]}x{spec.channels}"
    if sample.channels != spec.channels:
        return text
    if found == wanted:
        return ""
    if sample.codec not in ("png", "jpeg") or spec.kind != "image":
        return text
    scale = max(found[0] / wanted[0], found[1] / wanted[1])
    in_proportion = all(abs(f - scale * w) <= 1.0 for f, w in zip(found, wanted, strict=True))
    return "" if min(found) >= 1 and scale <= 1.0 and in_proportion else text


def image_fault(sample: Sample, spec: InputSpec) -> str:
    """What is wrong with the data's header, or ""."""
    data = sample.data
    match sample.codec:
        case "none":
            return "" if sample.descriptor else "neither a picture nor an embedding"
        case "raw":
            right = raw_size(spec)
            return "" if len(data) == right else f"{len(data)} raw bytes where {right} belong"
        case _ if spec.kind != "image":
            return f"an array as {sample.codec}"
        case "png":
            return _png_fault(data, sample.height, sample.width, sample.channels)
        case _:
            return _jpeg_fault(data, sample.height, sample.width, sample.channels)


def _png_fault(data: bytes, height: int, width: int, channels: int) -> str:
    if len(data) < 33 or not data.startswith(_PNG_MAGIC) or data[12:16] != b"IHDR":
        return "not a PNG"
    found_width, found_height, depth, colour = struct.unpack(">IIBB", data[16:26])
    if (found_height, found_width) != (height, width):
        return f"a PNG of {found_height}x{found_width}"
    if depth != 8 or _PNG_CHANNELS.get(colour) != channels:
        return f"a PNG of depth {depth} and colour type {colour}"
    return ""


def _jpeg_fault(data: bytes, height: int, width: int, channels: int) -> str:
    if not data.startswith(_JPEG_MAGIC):
        return "not a JPEG"
    place = 2
    while place + 9 < len(data) and data[place] == 0xFF:
        marker = data[place + 1]
        if marker in _JPEG_FRAMES:
            found_height, found_width, found_channels = struct.unpack(">HHB", data[place + 5 : place + 10])
            if (found_height, found_width, found_channels) == (height, width, channels):
                return ""
            return f"a JPEG of {found_height}x{found_width}x{found_channels}"
        if marker in _JPEG_BARE or marker == 0xFF:
            place += 2 if marker != 0xFF else 1
            continue
        place += 2 + int.from_bytes(data[place + 2 : place + 4], "big")
    return "a JPEG without a size"
