"""Frames by index from `frames.npy`, and what is said about files that hold something else."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from edgeadapt.errors import ConfigError
from edgeadapt_device.io.sources.stream import StreamSource
from tests.device.io.sources.made import COLOUR, GREY, SERIES, given, images


def test_a_stream_gives_every_frame_from_any_start(tmp_path: Path) -> None:
    frames = images(5)
    np.save(tmp_path / "frames.npy", frames)
    source = StreamSource(tmp_path, COLOUR)
    assert source.count == 5
    got = list(given(source, 2))
    assert [frame.index for frame in got] == [2, 3, 4]
    assert all((frame.image == frames[frame.index]).all() for frame in got)
    assert list(given(source, 5)) == []


def test_a_looping_stream_counts_on(tmp_path: Path) -> None:
    frames = images(3)
    np.save(tmp_path / "frames.npy", frames)
    got = list(islice(given(StreamSource(tmp_path, COLOUR, loop=True), 2), 4))
    assert [frame.index for frame in got] == [2, 3, 4, 5]
    assert (got[1].image == frames[0]).all()


@pytest.mark.parametrize(
    "bad",
    [np.zeros((2, 8, 8, 3), np.float32), np.zeros((8, 8, 3), np.uint8), np.zeros((0, 8, 8, 3), np.uint8)],
)
def test_a_stream_of_something_else_is_a_config_error(tmp_path: Path, bad: np.ndarray) -> None:
    np.save(tmp_path / "frames.npy", bad)
    with pytest.raises(ConfigError, match=r"expected uint8 frames \[N, 8, 8, 3\]"):
        StreamSource(tmp_path, COLOUR)


def test_a_stream_for_another_model_is_a_config_error(tmp_path: Path) -> None:
    np.save(tmp_path / "frames.npy", images(1))
    with pytest.raises(ConfigError, match=r"\(8, 8, 3\).*\(8, 8, 1\)"):
        StreamSource(tmp_path, GREY)


def test_a_missing_or_torn_stream_is_a_config_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="missing"):
        StreamSource(tmp_path, COLOUR)
    (tmp_path / "frames.npy").write_bytes(b"\x93NUMPY torn")
    with pytest.raises(ConfigError, match="cannot be read"):
        StreamSource(tmp_path, COLOUR)


def test_arrays_go_in_as_they_are_and_those_that_are_not_finite_are_skipped(tmp_path: Path) -> None:
    frames = np.random.default_rng(1).normal(size=(4, 2, 5)).astype(np.float32)
    frames[1, 0, 3], frames[2, 1, 0] = np.nan, np.inf
    np.save(tmp_path / "frames.npy", frames)
    told: list[str] = []
    source = StreamSource(tmp_path, SERIES, report=told.append)
    got = list(given(source))
    assert [frame.index for frame in got] == [0, 3]
    assert (got[1].image == frames[3]).all()
    assert got[1].image.dtype == np.float32
    assert source.health.seen.skipped == 2
    assert "frame 1 skipped" in told[0]
    np.save(tmp_path / "frames.npy", frames.astype(np.float64))
    with pytest.raises(ConfigError, match=r"expected float32 frames \[N, 2, 5\], got float64"):
        StreamSource(tmp_path, SERIES)


def test_a_looping_stream_without_one_usable_array_ends_with_an_error(tmp_path: Path) -> None:
    np.save(tmp_path / "frames.npy", np.full((3, 2, 5), np.nan, np.float32))
    with pytest.raises(ConfigError, match="none of its frames"):
        next(given(StreamSource(tmp_path, SERIES, loop=True)))
