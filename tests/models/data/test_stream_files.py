"""A stream on disk: the same stream again, and no truth in what a device reads."""

from pathlib import Path

import numpy as np
import pytest

from edgeadapt.errors import ConfigError
from edgeadapt_models.data import Dataset, Segment, StreamSpec, parse_segments, render
from edgeadapt_models.data.streams.files import FRAMES_FILE, SPEC_FILE, TRUTH_FILE, read, write


def test_what_was_written_is_read(toy: Dataset, tmp_path: Path) -> None:
    segments = (
        *parse_segments("fog:5:20,clean:5,fog:5:5"),
        Segment("snow:1-3", 9, dirichlet=0.5, run_length=3),
    )
    rendered = render(StreamSpec("toy", segments, seed=3), toy)
    write(rendered, tmp_path / "stream")
    back = read(tmp_path / "stream")
    assert back.spec == rendered.spec
    assert back.domain_names == ("fog:5", "clean", "snow:1-3")
    for field in ("frames", "labels", "domains", "corruptions", "severities"):
        assert np.array_equal(getattr(back, field), getattr(rendered, field)), field


def test_frames_alone_are_an_ordinary_array(toy: Dataset, tmp_path: Path) -> None:
    write(render(StreamSpec("toy", (Segment("clean", 6),)), toy), tmp_path)
    assert np.load(tmp_path / FRAMES_FILE, allow_pickle=False).shape == (6, 28, 28, 1)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([FRAMES_FILE, TRUTH_FILE, SPEC_FILE])


@pytest.mark.parametrize("name", [FRAMES_FILE, TRUTH_FILE, SPEC_FILE])
def test_a_missing_or_damaged_file_is_refused(toy: Dataset, tmp_path: Path, name: str) -> None:
    write(render(StreamSpec("toy", (Segment("clean", 6),)), toy), tmp_path)
    whole = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ConfigError, match="is not a rendered stream"):
        read(tmp_path)
    (tmp_path / name).unlink()
    with pytest.raises(ConfigError, match="is not a rendered stream"):
        read(tmp_path)


def test_frames_of_another_stream_are_refused(toy: Dataset, tmp_path: Path) -> None:
    write(render(StreamSpec("toy", (Segment("clean", 6),)), toy), tmp_path)
    np.save(tmp_path / FRAMES_FILE, np.zeros((5, 28, 28, 1), dtype=np.uint8))
    with pytest.raises(ConfigError, match="the spec has 6 frames, the stream 5"):
        read(tmp_path)
