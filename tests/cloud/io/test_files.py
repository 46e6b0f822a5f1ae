"""Blobs, keys, images and the lock: what lies in files."""

from __future__ import annotations

import errno
import fcntl
import io
import os
import stat
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from PIL import Image

from edgeadapt.bundle.manifest import InputSpec
from edgeadapt.digest import sha256_hex
from edgeadapt.errors import ConfigError, TransportError
from edgeadapt_cloud.core.jobs.job import ImageArray
from edgeadapt_cloud.io import keys
from edgeadapt_cloud.io.blobs import FolderBlobs
from edgeadapt_cloud.io.images import decode_image, is_lossless
from edgeadapt_cloud.io.lock import LOCK_NAME, StateLock, is_held
from tests.cloud.fleet import png

DIGEST = sha256_hex(b"content")


def test_blob_comes_back_and_leaves_no_other_file(tmp_path: Path) -> None:
    blobs = FolderBlobs(tmp_path / "blobs")
    assert blobs.get(DIGEST) is None
    blobs.put(DIGEST, b"content")
    blobs.put(DIGEST, b"content")
    assert blobs.get(DIGEST) == b"content"
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == [DIGEST]


def test_damaged_blob_reads_as_absent(tmp_path: Path) -> None:
    blobs = FolderBlobs(tmp_path)
    blobs.put(DIGEST, b"content")
    (tmp_path / DIGEST[:2] / DIGEST).write_bytes(b"contenT")
    assert blobs.get(DIGEST) is None


@pytest.mark.parametrize("found", [b"contenT", b"cont", b""])
def test_damaged_blob_is_repaired_by_the_same_data(tmp_path: Path, found: bytes) -> None:
    blobs = FolderBlobs(tmp_path)
    blobs.put(DIGEST, b"content")
    (tmp_path / DIGEST[:2] / DIGEST).write_bytes(found)
    blobs.put(DIGEST, b"content")
    assert blobs.get(DIGEST) == b"content"


def test_full_disk_leaves_no_part_of_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(TransportError, match="No space left"):
        FolderBlobs(tmp_path).put(DIGEST, b"content")
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_name_of_a_blob_is_flushed_with_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flushed: list[str] = []
    real = os.fsync

    def noted(handle: int) -> None:
        flushed.append(os.readlink(f"/proc/self/fd/{handle}"))
        real(handle)

    monkeypatch.setattr(os, "fsync", noted)
    FolderBlobs(tmp_path).put(DIGEST, b"content")
    assert flushed[1:] == [str(tmp_path / DIGEST[:2]), str(tmp_path)], "after the file itself"


def test_blob_that_cannot_be_written_is_a_transport_error(tmp_path: Path) -> None:
    (tmp_path / "blobs").write_text("a file where the folder belongs")
    with pytest.raises(TransportError, match="cannot be written"):
        FolderBlobs(tmp_path / "blobs").put(DIGEST, b"content")


def test_key_is_written_for_its_owner_only_and_never_replaced(tmp_path: Path) -> None:
    path = tmp_path / "keys" / keys.KEY_NAME
    key = keys.generate(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert keys.public_hex(keys.load(path)) == keys.public_hex(key)
    assert len(bytes.fromhex(keys.public_hex(key))) == 32
    with pytest.raises(ConfigError, match="already there"):
        keys.generate(path)


def test_key_that_others_can_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / keys.KEY_NAME
    keys.generate(path)
    path.chmod(0o640)
    with pytest.raises(ConfigError, match="chmod 600"):
        keys.load(path)


def test_missing_malformed_and_other_keys_are_refused(tmp_path: Path) -> None:
    path = tmp_path / keys.KEY_NAME
    with pytest.raises(ConfigError, match="keygen"):
        keys.load(path)
    path.touch(0o600)
    with pytest.raises(ConfigError, match="not a private key"):
        keys.load(path)
    other = generate_private_key(SECP256R1())
    path.write_bytes(other.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    with pytest.raises(ConfigError, match="an Ed25519 key is needed"):
        keys.load(path)


def encoded(pixels: ImageArray, kind: str) -> bytes:
    """An image file."""
    sink = io.BytesIO()
    Image.fromarray(pixels).save(sink, kind)
    return sink.getvalue()


def test_images_of_every_codec_are_decoded() -> None:
    rng = np.random.default_rng(0)
    grey, colour = rng.integers(0, 256, (8, 8, 1), np.uint8), rng.integers(0, 256, (6, 7, 3), np.uint8)
    for data, spec, pixels in (
        (encoded(grey[..., 0], "PNG"), InputSpec((1, 8, 8)), grey),
        (grey.tobytes(), InputSpec((1, 8, 8)), grey),
        (encoded(colour, "PNG"), InputSpec((3, 6, 7)), colour),
        (colour.tobytes(), InputSpec((3, 6, 7)), colour),
    ):
        decoded = decode_image(data, spec)
        assert decoded is not None
        assert np.array_equal(decoded, pixels)
    lossy = decode_image(encoded(np.full((8, 8), 90, np.uint8), "JPEG"), InputSpec((1, 8, 8)))
    assert lossy is not None
    assert np.abs(lossy.astype(int) - 90).max() <= 2


def test_smaller_pictures_come_back_at_the_models_size_and_count_as_lossy() -> None:
    spec = InputSpec((3, 8, 12))
    small = encoded(np.full((4, 6, 3), 120, np.uint8), "PNG")
    decoded = decode_image(small, spec)
    assert decoded is not None
    assert decoded.shape == (8, 12, 3)
    assert (decoded == 120).all()
    whole = np.full((8, 12, 3), 7, np.uint8)
    assert not is_lossless(small, spec)
    assert not is_lossless(encoded(whole, "JPEG"), spec)
    assert is_lossless(encoded(whole, "PNG"), spec)
    assert is_lossless(whole.tobytes(), spec)
    assert decode_image(encoded(np.zeros((2, 6, 3), np.uint8), "PNG"), spec) is None, "other proportions"
    assert decode_image(bytes(96 * 4), InputSpec((96,), kind="array")) is None


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"short",
        png(1)[:60],
        png(1, (9, 8)),
        b"\x89PNG\r\n\x1a\n" + bytes(60),
        b"\xff\xd8\xff" + bytes(60),
    ],
)
def test_image_that_cannot_be_read_is_none(data: bytes) -> None:
    assert decode_image(data, InputSpec((1, 8, 8))) is None


def test_asking_for_the_lock_keeps_no_service_from_starting(tmp_path: Path) -> None:
    with StateLock(tmp_path):
        pass
    asking = (tmp_path / LOCK_NAME).open()
    fcntl.flock(asking, fcntl.LOCK_SH)  # what `is_held` holds for a moment
    assert not is_held(tmp_path), "two may ask at once"
    gone = threading.Timer(0.1, asking.close)
    gone.start()
    with StateLock(tmp_path):
        assert is_held(tmp_path)
    gone.join()


def test_whoever_may_only_read_can_ask(tmp_path: Path) -> None:
    with StateLock(tmp_path):
        pass
    opened: list[str] = []
    real = Path.open

    def noted(self: Path, mode: str = "r", *args: Any, **options: Any) -> Any:
        opened.append(mode)
        return real(self, mode, *args, **options)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Path, "open", noted)
        assert not is_held(tmp_path)
    assert opened == ["r"]


def test_lock_is_exclusive_and_ends_with_its_block(tmp_path: Path) -> None:
    assert not is_held(tmp_path)
    with StateLock(tmp_path):
        assert is_held(tmp_path)
        with pytest.raises(ConfigError, match="another service"), StateLock(tmp_path):
            pass
    assert not is_held(tmp_path)
    with StateLock(tmp_path):
        pass
