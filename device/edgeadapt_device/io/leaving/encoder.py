"""A chosen frame as a sample: redacted, and in the encoding that is worth the most for its bytes.

Every sample is weighed for itself: fidelity - byte_price x size, over PNG, JPEG, the half-sized picture
and, last, the embedding alone. `byte_price` comes with the frame, from how scarce bytes are, and is 0 while
they are plenty: then the lossless one goes. The fidelities were measured (`docs/adr/0012`). What is larger
than was paid for is never taken. An audit sample is lossless as long as that can be paid, since the cloud
takes statistics from none but lossless ones.

An embedding alone goes in privacy mode "embedding", and for a question or an audit sample whose picture is
too dear in every encoding: that there is such a thing, near which class, and what the model said of a frame
that was drawn, is worth knowing without a picture. It teaches nothing, so the adapt lane does without; and
where pictures are changed before they leave, it would tell what the change was to hide.

Small pictures are never JPEG: below 32 x 32 pixels a PNG is as small.
"""

from __future__ import annotations

from typing import NamedTuple

import msgspec
import numpy as np

from edgeadapt.digest import sha256_hex
from edgeadapt.tensors import FloatArray
from edgeadapt.wire import Codec, Sample, encode
from edgeadapt_device.config import PrivacySection
from edgeadapt_device.core.effects import StoreSample
from edgeadapt_device.core.events import Image
from edgeadapt_device.io.leaving.door import Withheld
from edgeadapt_device.io.leaving.redact import Redaction, shrunk
from edgeadapt_device.io.png import png

# What the outbox's id and the sequence add to a message.
ROW_BYTES = 64
# MessagePack says the length of data in up to so many bytes more than that of none.
_LENGTH_BYTES = 3
_PNG_CHANNELS = (1, 3)
_JPEG_PIXELS = 32 * 32
# Lanes whose samples say something without a picture.
_KNOWN_WITHOUT = frozenset(("ask", "audit"))


class Way(NamedTuple):
    """A way to encode: `fidelity` is what a sample is worth in it, 1 for all; `quality` is JPEG's."""

    codec: Codec
    fidelity: float
    quality: int = 0
    halved: bool = False


LOSSLESS = Way("png", 1.0)
RAW = Way("raw", 1.0)
EMBEDDING = Way("none", 0.1)
LOSSY = (
    Way("jpeg", 0.98, 95),
    Way("jpeg", 0.94, 85),
    Way("jpeg", 0.90, 70),
    Way("jpeg", 0.72, 85, halved=True),
)


class Encoded(NamedTuple):
    """A sample; and where it has no picture, what one with a picture would have taken as a row, else 0."""

    sample: Sample
    picture_bytes: int


class TooDear(Exception):
    """No encoding is as small as what was paid; `size_bytes` is what the smallest takes."""

    def __init__(self, size_bytes: int) -> None:
        super().__init__(f"{size_bytes} bytes")
        self.size_bytes = size_bytes


class Encoder:
    """Makes samples on one device."""

    def __init__(self, privacy: PrivacySection) -> None:
        """Raises ConfigError when the redactor cannot be loaded."""
        self._pictures = privacy.mode == "images"
        self._redaction = Redaction(privacy)

    @property
    def stamp(self) -> str:
        """Tells one set of rules about pictures from another; "" when there is none."""
        return self._redaction.stamp

    def sample(self, effect: StoreSample) -> Sample:
        """The sample to store, as `encode` makes it."""
        return self.encode(effect).sample

    def encode(self, effect: StoreSample) -> Encoded:
        """The sample to store, no larger than `effect.price_bytes` as a row.

        Raises:
            TooDear: it cannot be made small enough.
            Withheld: it must not leave.
        """
        bare = _bare(effect, _half(effect.descriptor))
        bare_bytes = len(encode(bare)) + _LENGTH_BYTES + ROW_BYTES
        if not self._pictures:
            if not bare.descriptor:
                raise Withheld("a frame without an embedding, in privacy mode embedding")
            if bare_bytes > effect.price_bytes:
                raise TooDear(bare_bytes)
            return Encoded(bare, 0)
        image = self._redaction.apply(effect.image)
        # A picture goes without its descriptor.
        picture = msgspec.structs.replace(bare, descriptor=b"")
        envelope_bytes = len(encode(picture)) + _LENGTH_BYTES + ROW_BYTES
        best, smallest_bytes = _best(image, effect.byte_price, effect.price_bytes, envelope_bytes)
        alone = bare.descriptor and effect.lane in _KNOWN_WITHOUT and not self.stamp
        if alone and bare_bytes <= effect.price_bytes:
            worth = EMBEDDING.fidelity - effect.byte_price * bare_bytes
            if best is None or worth > best.worth:
                return Encoded(bare, smallest_bytes)
        if best is None:
            raise TooDear(smallest_bytes)
        height, width, channels = best.shape
        sample = msgspec.structs.replace(
            picture,
            codec=best.way.codec,
            data=best.data,
            sha256=sha256_hex(best.data),
            height=height,
            width=width,
            channels=channels,
            altered=image is not effect.image and not np.array_equal(image, effect.image),
        )
        return Encoded(sample, 0)


class _Picture(NamedTuple):
    """A picture in one encoding, and fidelity - price of a sample with it."""

    worth: float
    way: Way
    data: bytes
    shape: tuple[int, int, int]


def _best(
    image: Image, byte_price: float, price_bytes: int, envelope_bytes: int
) -> tuple[_Picture | None, int]:
    """The picture with the largest fidelity - price among those that fit; with a price of 0 the lossless one.

    And the size of the smallest sample with a picture, whether it fits or not.
    """
    best: _Picture | None = None
    sizes: list[int] = []
    for way in _ways(image, lossy=byte_price > 0.0):
        data, shape = _encoded(image, way)
        sizes.append(len(data) + envelope_bytes)
        worth = way.fidelity - byte_price * sizes[-1]
        if sizes[-1] <= price_bytes and (best is None or worth > best.worth):
            best = _Picture(worth, way, data, shape)
    if best is None and byte_price <= 0.0 and len(_ways(image, lossy=True)) > 1:
        # Nothing is scarce, but this one is too large for what was paid: the best that fits.
        return _best(image, 1e-12, price_bytes, envelope_bytes)
    return best, min(sizes)


def _ways(image: Image, *, lossy: bool) -> tuple[Way, ...]:
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] not in _PNG_CHANNELS:
        return (RAW,)
    small = image.shape[0] * image.shape[1] < _JPEG_PIXELS
    return (LOSSLESS,) if small or not lossy else (LOSSLESS, *LOSSY)


def _encoded(image: Image, way: Way) -> tuple[bytes, tuple[int, int, int]]:
    if way.codec == "raw":
        wide = image if image.dtype == np.uint8 else image.astype("<f4")
        return np.ascontiguousarray(wide).tobytes(), _three(
            image.shape, channels_last=image.dtype == np.uint8
        )
    if way.halved:
        image = shrunk(image, 0.5)
    height, width, channels = image.shape
    data = png(image) if way.codec == "png" else _jpeg(image, way.quality)
    return data, (height, width, channels)


def _three(shape: tuple[int, ...], *, channels_last: bool) -> tuple[int, int, int]:
    """Height, width and channels as `InputSpec` names the axes of a frame."""
    if channels_last:
        return shape[0], shape[1], shape[2]
    return (
        shape[1] if len(shape) > 2 else 1,
        shape[-1] if len(shape) > 1 else 1,
        shape[0],
    )


def _jpeg(image: Image, quality: int) -> bytes:
    """JPEG without subsampled colour above quality 90. Pillow is loaded when the first is made."""
    from io import BytesIO

    from PIL import Image as PillowImage

    picture = PillowImage.fromarray(np.ascontiguousarray(image if image.shape[2] == 3 else image[:, :, 0]))
    file = BytesIO()
    picture.save(file, "JPEG", quality=quality, optimize=True, subsampling=0 if quality > 90 else 2)
    return file.getvalue()


def _half(embedding: FloatArray | None) -> bytes:
    """An embedding [D] as little-endian float16; none when it has no finite values there."""
    if embedding is None:
        return b""
    with np.errstate(over="ignore"):
        half = embedding.astype("<f2")
    return half.tobytes() if np.isfinite(half).all() else b""


def _bare(effect: StoreSample, descriptor: bytes) -> Sample:
    """The sample without its frame, as it is sent in mode "embedding"."""
    height, width, channels = _three(effect.image.shape, channels_last=effect.image.dtype == np.uint8)
    return Sample(
        outbox="",
        sequence=0,
        segment=effect.segment,
        lane=effect.lane,
        codec=EMBEDDING.codec,
        height=height,
        width=width,
        channels=channels,
        data=b"",
        sha256=sha256_hex(b""),
        entropy=effect.entropy,
        predicted=effect.predicted,
        generation=effect.generation,
        captured_s=effect.captured_s,
        verdict=effect.verdict,
        p_value=effect.p_value,
        chance=effect.chance,
        cluster=effect.cluster,
        descriptor=descriptor,
    )
