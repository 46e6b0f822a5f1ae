"""The decoders, each as a function of bytes that lets only an undeclared error escape.

A target calls its decoder and swallows the errors that the decoder promises; anything else is a finding.
`seeds` are inputs that it takes, for mutation. `python -m tests.fuzz.targets` prints the names. Not here:
where other inputs come from.
"""

from __future__ import annotations

import io
import struct
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial

import msgspec
import numpy as np
from PIL import Image

from edgeadapt import descriptor
from edgeadapt.bundle import Bundle
from edgeadapt.bundle.bundle import MANIFEST_NAME
from edgeadapt.bundle.calibration import Calibration
from edgeadapt.errors import BundleError, ConfigError, TrustError, WireError
from edgeadapt.patch import Evidence, PatchHeader, open_envelope, seal
from edgeadapt.patch.envelope import key_id
from edgeadapt.tensors import decode_tensors, encode_tensors
from edgeadapt.wire import Descriptors, decode, encode, restamp, topics, unpack_vector
from edgeadapt.wire.examples import EXAMPLES, smallest
from edgeadapt_cloud.core.ingest import Heard, Ingest
from edgeadapt_cloud.core.rollout.stages import Stage
from edgeadapt_cloud.core.rows import CohortRow, DeviceRow, JobRow, PatchRow
from edgeadapt_cloud.io.images import decode_image
from edgeadapt_cloud.io.rowcodec import decode_row, encode_row
from edgeadapt_device.core.uplink.rows import Waiting
from edgeadapt_device.io.outbox.schema import HELD, pending_row, storable
from tests.cloud.fleet import BUNDLE, FLEET, KEY, TRUSTED, DeviceDouble

_RAW_KEY = KEY.public_key().public_bytes_raw()
_ROWS = (DeviceRow, CohortRow, JobRow, PatchRow)


@dataclass(frozen=True, slots=True)
class Target:
    """One decoder."""

    name: str
    run: Callable[[bytes], None]
    seeds: Callable[[], tuple[bytes, ...]]


def _wire(data: bytes) -> None:
    try:
        message = decode(data)
    except WireError:
        return
    again = encode(message)
    assert decode(again) == message, "what was read is written, and read again, as the same"


def _restamp(data: bytes) -> None:
    try:
        restamp(data, 2)
    except WireError:
        return


def _topic(data: bytes) -> None:
    try:
        where = topics.split(data.decode("utf-8", "surrogateescape"))
    except WireError:
        return
    if isinstance(where, topics.DeviceTopic):
        assert topics.is_name(where.fleet)
        assert topics.is_name(where.device)


def _envelope(data: bytes) -> None:
    try:
        open_envelope(data, TRUSTED)
    except TrustError:
        return


def _signed(data: bytes) -> None:
    """Garbage that a trusted key has signed: everything behind the signature."""
    envelope = msgspec.msgpack.encode(
        {"payload": data, "key_id": key_id(_RAW_KEY), "signature": KEY.sign(data)}
    )
    try:
        patch = open_envelope(envelope, TRUSTED)
    except TrustError:
        return
    assert patch.header.bundle is not None


def _tensors(data: bytes) -> None:
    try:
        decode_tensors(data)
    except WireError:
        return


def _calibration(data: bytes) -> None:
    try:
        Calibration.decode(data)
    except BundleError:
        return


def _manifest(data: bytes) -> None:
    try:
        Bundle.from_files({**_bundle_files(), MANIFEST_NAME: data})
    except BundleError:
        return


@lru_cache
def _ingest() -> Ingest:
    return Ingest(FLEET, BUNDLE)


def _arrived(data: bytes) -> None:
    """The first byte picks the topic."""
    kinds = topics.UP_KINDS
    kind, payload = kinds[data[0] % len(kinds)] if data else "status", data[1:]
    try:
        found = _ingest().read(topics.up(FLEET, "d", kind), payload)
    except WireError:
        return
    assert isinstance(found, Heard) or found.origin.device == "d"


def _image(data: bytes) -> None:
    spec = BUNDLE.manifest.input
    pixels = decode_image(data, spec)
    assert pixels is None or pixels.shape == spec.frame_shape


def _descriptor(data: bytes) -> None:
    try:
        vector = descriptor.unpack(data)
    except WireError:
        return
    assert -1.001 <= descriptor.cosine(vector, vector[::-1]) <= 1.001


def _vector(data: bytes) -> None:
    try:
        values = unpack_vector(data, len(data) // 4)
    except WireError:
        return
    assert np.isfinite(values).all()


def _row(kind: type[object], data: bytes) -> None:
    try:
        decode_row(data, kind)
    except ConfigError:
        return


def _waiting(data: bytes) -> None:
    """What a held row of the device's outbox waits with; damaged, it is a row like any other."""
    row = pending_row(7, "sample", len(data), "ask", HELD, data)
    assert row.waiting is None or isinstance(row.waiting, Waiting)
    assert not row.announced


def _stored(data: bytes) -> None:
    """A row of the device's outbox, read again after a restart."""
    message = storable(data)
    assert message is None or message.sequence is not None


@lru_cache
def _bundle_files() -> dict[str, bytes]:
    from tests.core.bundles import files

    return dict(files())


def _messages() -> tuple[bytes, ...]:
    return tuple(encode(form) for message in EXAMPLES for form in (message, smallest(message)))


def _patches() -> tuple[bytes, ...]:
    header = PatchHeader(
        BUNDLE.digest, "c1", 3, 1.0, 2e9, "s", 4, (Evidence("agreement", 0.5, 0.25, True, "x"),)
    )
    values = {"bn.weight": np.ones(2, np.float32), "bn.bias": np.zeros(2, np.float32)}
    return (seal(header, values, np.ones(4, np.float32), KEY), seal(header, {}, np.zeros(0, np.float32), KEY))


def _payloads() -> tuple[bytes, ...]:
    return tuple(msgspec.msgpack.decode(envelope)["payload"] for envelope in _patches())


def _arrivals() -> tuple[bytes, ...]:
    device = DeviceDouble("d")
    made = (device.sample(), device.signature(), device.status(online=True))
    kinds = [topic.rsplit("/", 1)[1] for topic, _ in made]
    own = [bytes([topics.UP_KINDS.index(kind)]) + data for kind, (_, data) in zip(kinds, made, strict=True)]
    return (*own, *(bytes([n % len(topics.UP_KINDS)]) + data for n, data in enumerate(_messages())))


def _pictures() -> tuple[bytes, ...]:
    pixels = np.random.default_rng(1).integers(0, 256, (8, 8), dtype=np.uint8)
    found = []
    for form in ("PNG", "JPEG"):
        sink = io.BytesIO()
        Image.fromarray(pixels).save(sink, form)
        found.append(sink.getvalue())
    return (*found, pixels.tobytes())


def _rows(kind: type[object]) -> tuple[bytes, ...]:
    """One row of each kind, with every field set that a store has seen; a kind's own comes first."""
    centroid, values = np.ones(4, np.float32), {"w": np.ones((2, 3), np.float32)}
    evidence = (Evidence("agreement", 0.5, 0.25, True, "x"),)
    rows = (
        DeviceRow("d", assigned=b"a", metric=b"m", speaks=(1, 1)),
        CohortRow("c1", 1, "b", centroid, 3),
        JobRow(1, "c1", "s", "published", 4, 1.0, 2.0, 3, evidence, "n", ("1", "2")),
        PatchRow("c1", 3, "d", 1, Stage.STABLE, 1.0, b"sealed", values, "d", ("d", "e"), "n", 2e9),
    )
    return tuple(encode_row(row) for row in sorted(rows, key=lambda row: not isinstance(row, kind)))


def _waits() -> tuple[bytes, ...]:
    (announced, *_) = [message for message in EXAMPLES if isinstance(message, Descriptors)]
    return (msgspec.msgpack.encode(Waiting(announced.items[0], 3, "base")),)


def _calibrations() -> tuple[bytes, ...]:
    return (BUNDLE.calibration.encode(), encode_tensors({"a": np.ones((2, 3), np.float32)}))


TARGETS: tuple[Target, ...] = (
    Target("wire", _wire, _messages),
    Target("restamp", _restamp, _messages),
    Target("topic", _topic, lambda: (topics.up("f", "d", "sample").encode(), b"edgeadapt/v1/f/cloud/status")),
    Target("envelope", _envelope, _patches),
    Target("signed", _signed, _payloads),
    Target("tensors", _tensors, _calibrations),
    Target("calibration", _calibration, _calibrations),
    Target("manifest", _manifest, lambda: (_bundle_files()[MANIFEST_NAME],)),
    Target("ingest", _arrived, _arrivals),
    Target("image", _image, _pictures),
    Target("descriptor", _descriptor, lambda: (bytes(range(64)),)),
    Target("vector", _vector, lambda: (struct.pack("<4f", 1.0, -2.0, 0.0, 1e30),)),
    Target("waiting", _waiting, _waits),
    Target("stored", _stored, _messages),
    *(Target(f"row-{kind.__name__}", partial(_row, kind), partial(_rows, kind)) for kind in _ROWS),
)


def target(name: str) -> Target:
    """The target of that name; raises KeyError with the names there are."""
    found = {entry.name: entry for entry in TARGETS}
    if name not in found:
        raise KeyError(f"{name!r} is no target; there are {', '.join(found)}")
    return found[name]


if __name__ == "__main__":
    sys.stdout.write(" ".join(entry.name for entry in TARGETS) + "\n")
