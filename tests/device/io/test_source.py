"""Frames by index from real files, and what is said about files that are not frames."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PillowImage

from edgeadapt.errors import ConfigError
from edgeadapt_device.config import SourceSection
from edgeadapt_device.core.events import Image
from edgeadapt_device.io.samples import check_encodable, encode_png
from edgeadapt_device.io.source import FolderSource, StreamSource, open_source
from tests.core.bundles import bundle

RNG = np.random.default_rng(3)


def images(count: int, channels: int = 3) -> Image:
    return RNG.integers(0, 256, (count, 8, 8, channels), dtype=np.uint8)


def test_a_stream_gives_every_frame_from_any_start(tmp_path: Path) -> None:
    frames = images(5)
    np.save(tmp_path / "frames.npy", frames)
    source = StreamSource(tmp_path)
    assert source.shape == (8, 8, 3)
    assert len(source) == 5
    got = list(source.frames(2))
    assert [index for index, _ in got] == [2, 3, 4]
    assert all((image == frames[index]).all() for index, image in got)
    assert list(source.frames(5)) == []


def test_a_looping_stream_counts_on(tmp_path: Path) -> None:
    frames = images(3)
    np.save(tmp_path / "frames.npy", frames)
    got = list(islice(StreamSource(tmp_path, loop=True).frames(2), 4))
    assert [index for index, _ in got] == [2, 3, 4, 5]
    assert (got[1][1] == frames[0]).all()


@pytest.mark.parametrize("bad", [np.zeros((2, 4, 4, 3), np.float32), np.zeros((4, 4, 3), np.uint8)])
def test_a_stream_of_something_else_is_a_config_error(tmp_path: Path, bad: np.ndarray) -> None:
    np.save(tmp_path / "frames.npy", bad)
    with pytest.raises(ConfigError, match="expected uint8 frames"):
        StreamSource(tmp_path)


def test_a_missing_or_torn_stream_is_a_config_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="missing"):
        StreamSource(tmp_path)
    (tmp_path / "frames.npy").write_bytes(b"\x93NUMPY torn")
    with pytest.raises(ConfigError, match="cannot be read"):
        StreamSource(tmp_path)


def test_a_folder_is_read_in_name_order_and_bad_files_are_told_and_skipped(tmp_path: Path) -> None:
    frames = images(3)
    for name, frame in zip(("a.png", "c.png", "e.png"), frames, strict=True):
        (tmp_path / name).write_bytes(encode_png(frame))
    (tmp_path / "b.png").write_bytes(b"no image")
    PillowImage.new("RGB", (4, 4)).save(tmp_path / "d.png")
    (tmp_path / "notes.txt").write_text("ignored")
    told: list[str] = []
    source = FolderSource(tmp_path, channels=3, report=told.append)
    got = list(source.frames(0))
    assert [index for index, _ in got] == [0, 2, 4]
    assert all((image == frames[number]).all() for number, (_, image) in enumerate(got))
    assert len(told) == 2
    assert told[0].startswith("b.png skipped")
    assert "(4, 4, 3)" in told[1]


def test_a_looping_folder_that_lost_its_images_ends_with_an_error(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(encode_png(images(1)[0]))
    source = FolderSource(tmp_path, channels=3, loop=True)
    (tmp_path / "a.png").write_bytes(b"gone")
    with pytest.raises(ConfigError, match="no image can be read"):
        next(source.frames(0))


def test_open_source_converts_to_the_bundles_channels_and_checks_the_size(tmp_path: Path) -> None:
    grey = images(1, channels=1)[0]
    (tmp_path / "a.png").write_bytes(encode_png(np.repeat(grey, 3, axis=2)))
    source = open_source(SourceSection(kind="folder", path=str(tmp_path)), bundle())
    assert (next(source.frames(0))[1] == grey).all()
    np.save(tmp_path / "frames.npy", images(1))
    with pytest.raises(ConfigError, match=r"\(8, 8, 3\).*\(8, 8, 1\)"):
        open_source(SourceSection(kind="stream", path=str(tmp_path)), bundle())


@pytest.mark.parametrize("channels", [1, 3])
def test_png_is_lossless(tmp_path: Path, channels: int) -> None:
    frame = images(1, channels)[0]
    (tmp_path / "x.png").write_bytes(encode_png(frame))
    assert (next(FolderSource(tmp_path, channels=channels).frames(0))[1] == frame).all()


def test_png_refuses_other_channel_counts() -> None:
    with pytest.raises(ConfigError, match="PNG"):
        encode_png(np.zeros((4, 4, 2), np.uint8))


@pytest.mark.parametrize("suffix", ["png", "tif", "pgm"])
@pytest.mark.parametrize("channels", [1, 3])
def test_images_of_16_bits_are_scaled_not_clipped(tmp_path: Path, suffix: str, channels: int) -> None:
    grey = np.arange(64, dtype=np.uint8).reshape(8, 8) * 4
    deep = grey.astype(np.uint16) * 257
    path = tmp_path / f"a.{suffix}"
    if suffix == "pgm":
        path.write_bytes(b"P5 8 8 65535\n" + deep.astype(">u2").tobytes())
    else:
        PillowImage.fromarray(deep).save(path)
    image = next(FolderSource(tmp_path, channels=channels).frames(0))[1]
    assert image.shape == (8, 8, channels)
    assert all((image[:, :, channel] == grey).all() for channel in range(channels))


def test_pixels_of_unknown_range_are_refused(tmp_path: Path) -> None:
    PillowImage.fromarray(np.full((8, 8), 0.5, np.float32)).save(tmp_path / "a.tif")
    with pytest.raises(ConfigError, match="floats"):
        FolderSource(tmp_path, channels=1)
    PillowImage.fromarray(np.full((8, 8), 1 << 20, np.int32)).save(tmp_path / "a.tif")
    with pytest.raises(ConfigError, match="16 bits"):
        FolderSource(tmp_path, channels=1)


def test_frames_that_can_never_be_uploaded_are_told_before_the_first() -> None:
    check_encodable((8, 8, 1))
    check_encodable((8, 8, 3))
    with pytest.raises(ConfigError, match=r"4 channels.*flagging\.enabled = false"):
        check_encodable((8, 8, 4))
