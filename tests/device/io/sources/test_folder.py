"""Frames from a folder's files, and what is said about files that are none."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PillowImage

from edgeadapt.bundle import InputSpec
from edgeadapt.errors import ConfigError
from edgeadapt_device.io.sources.base import Report
from edgeadapt_device.io.sources.files import file_reader
from edgeadapt_device.io.sources.fit import Resize
from edgeadapt_device.io.sources.folder import FolderSource
from tests.device.io.sources.made import COLOUR, GREY, SERIES, given, images, put


def folder(
    path: Path,
    spec: InputSpec = COLOUR,
    *,
    resize: Resize = "off",
    loop: bool = False,
    report: Report | None = None,
) -> FolderSource:
    return FolderSource(path, file_reader(spec, resize), loop=loop, report=report)


def test_a_folder_is_read_in_name_order_and_bad_files_are_told_and_skipped(tmp_path: Path) -> None:
    frames = images(3)
    for name, frame in zip(("a.png", "c.PNG", "e.png"), frames, strict=True):
        put(tmp_path / name, frame)
    (tmp_path / "b.png").write_bytes(b"no image")
    PillowImage.new("RGB", (4, 6)).save(tmp_path / "d.png")
    (tmp_path / "notes.txt").write_text("ignored")
    (tmp_path / ".a.png").write_text("in the making")
    told: list[str] = []
    source = folder(tmp_path, report=told.append)
    got = list(given(source))
    assert [(frame.index, frame.name) for frame in got] == [(0, "a.png"), (2, "c.PNG"), (4, "e.png")]
    assert all((frame.image == frames[number]).all() for number, frame in enumerate(got))
    assert source.health.seen.skipped == len(told) == 2
    assert told[0].startswith("b.png skipped: cannot identify")
    assert told[1].startswith("d.png skipped: its size is 4x6, the model takes 8x8: set source.resize")


def test_a_truncated_picture_is_skipped(tmp_path: Path) -> None:
    put(tmp_path / "a.png", images(1)[0])
    PillowImage.fromarray(images(1, side=64)[0]).save(tmp_path / "b.jpg")
    whole = (tmp_path / "b.jpg").read_bytes()
    (tmp_path / "b.jpg").write_bytes(whole[: len(whole) // 2])
    told: list[str] = []
    assert [frame.name for frame in given(folder(tmp_path, resize="crop", report=told.append))] == ["a.png"]
    assert "truncated" in told[0]


def test_a_bad_first_file_does_not_keep_the_others_from_being_scored(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"no image")
    put(tmp_path / "b.png", images(1)[0])
    assert [frame.index for frame in given(folder(tmp_path))] == [1]


def test_a_folder_without_one_usable_file_is_a_config_error_that_says_why(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"source\.path: .*nowhere cannot be listed"):
        folder(tmp_path / "nowhere")
    with pytest.raises(ConfigError, match=r"no file that can be a frame \(\.bmp"):
        folder(tmp_path)
    put(tmp_path / "a.png", images(1, side=9)[0])
    with pytest.raises(ConfigError, match=r"a\.png skipped: its size is 9x9, .*source\.resize"):
        folder(tmp_path)


def test_a_looping_folder_that_lost_its_images_ends_with_an_error(tmp_path: Path) -> None:
    put(tmp_path / "a.png", images(1)[0])
    source = folder(tmp_path, loop=True)
    (tmp_path / "a.png").write_bytes(b"gone")
    with pytest.raises(ConfigError, match="none of its files can be read"):
        next(given(source))


def test_a_model_of_arrays_takes_npy_files(tmp_path: Path) -> None:
    good = np.random.default_rng(1).normal(size=(2, 5)).astype(np.float32)
    np.save(tmp_path / "a.npy", good)
    np.save(tmp_path / "b.npy", good.T)
    np.save(tmp_path / "c.npy", np.full_like(good, np.nan))
    np.savez(tmp_path / "d.npz", good)
    (tmp_path / "e.npy").write_bytes(b"torn")
    put(tmp_path / "f.png", images(1)[0])
    told: list[str] = []
    (frame,) = given(folder(tmp_path, SERIES, report=told.append))
    assert (frame.image == good).all()
    assert told[0] == "b.npy skipped: expected float32 (2, 5), got float32 (5, 2)"
    assert told[1] == "c.npy skipped: it holds values that are not finite"
    assert told[2].startswith("e.npy skipped")
    assert len(told) == 3


def test_grey_and_colour_become_what_the_model_takes(tmp_path: Path) -> None:
    grey = images(1, channels=1)[0]
    put(tmp_path / "a.png", np.repeat(grey, 3, axis=2))
    assert (next(given(folder(tmp_path, GREY))).image == grey).all()
    put(tmp_path / "a.png", grey)
    assert (next(given(folder(tmp_path, COLOUR))).image == np.repeat(grey, 3, axis=2)).all()
