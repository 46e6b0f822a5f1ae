"""Source data from folders and files: sizes, labels, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from edgeadapt.bundle import InputSpec
from edgeadapt.errors import CompileError
from edgeadapt_models.compile.source.frames import Frames, FrameSet, find_frames, read_arrays, read_pictures

SPEC = InputSpec((3, 6, 8))


def picture(path: Path, size: tuple[int, int] = (8, 6), colour: tuple[int, int, int] = (10, 20, 30)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).save(path)


def test_pictures_in_sub_folders_are_labelled_by_their_names(tmp_path: Path) -> None:
    for name, count in (("dog", 2), ("cat", 3)):
        for index in range(count):
            picture(tmp_path / name / f"{index}.png")
    (tmp_path / ".cache").mkdir()
    (tmp_path / "dog" / "notes.txt").write_text("not a picture")
    (tmp_path / "dog" / "._0.png").write_bytes(b"what another system keeps beside a picture")
    found = find_frames(tmp_path)
    assert found.class_names == ("cat", "dog")
    frames = read_pictures(found, SPEC, limit=10)
    labelled = frames.labelled(("dog", "fox", "cat"))
    assert labelled.labels is not None
    assert labelled.labels.tolist() == [2, 2, 2, 0, 0]
    assert labelled.frames.shape == (5, 6, 8, 3)
    assert frames.labelled(("a", "b")).labels is None
    with pytest.raises(CompileError, match=r"no class: dog; classes: cat, fox"):
        frames.labelled(("cat", "fox"))


def test_pictures_cover_the_input_and_are_cut_at_the_centre(tmp_path: Path) -> None:
    wide = np.zeros((12, 40, 3), np.uint8)
    wide[:, 12:28] = 200  # the middle 16 of 40 columns: 8 of 20 when halved
    Image.fromarray(wide).save(tmp_path / "wide.png")
    grey = Image.new("L", (8, 6), 77)
    grey.save(tmp_path / "grey.jpg", quality=95)
    frames = read_pictures(find_frames(tmp_path), SPEC, limit=10).frames
    np.testing.assert_allclose(frames[0], 77, atol=1)
    assert frames[1][:, 1:-1].min() > 190
    one = read_pictures(find_frames(tmp_path), InputSpec((1, 6, 8)), limit=10).frames
    assert one.shape == (2, 6, 8, 1)


def test_a_sample_is_drawn_from_all_and_always_the_same(tmp_path: Path) -> None:
    for index in range(40):
        picture(tmp_path / f"class{index // 20}" / f"{index:02}.png", colour=(index, 0, 0))
    found = find_frames(tmp_path)
    first, second = (read_pictures(found, SPEC, limit=12) for _ in range(2))
    np.testing.assert_array_equal(first.frames, second.frames)
    assert set(first.folders) == {"class0", "class1"}
    assert len(set(first.frames[:, 0, 0, 0].tolist())) == 12


def test_a_sample_that_misses_a_class_still_knows_it(tmp_path: Path) -> None:
    for index in range(30):
        picture(tmp_path / f"class{index:02}" / "only.png")
    frames = read_pictures(find_frames(tmp_path), SPEC, limit=5)
    assert len(frames.class_names) == 30
    labels = frames.labelled(frames.class_names).labels
    assert labels is not None
    assert [frames.class_names[label] for label in labels] == list(frames.folders)


def test_arrays(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    series = rng.normal(size=(5, 3, 7))
    np.save(tmp_path / "all.npy", series)
    single = read_arrays(find_frames(tmp_path / "all.npy"), limit=10)
    np.testing.assert_array_equal(single.frames, series.astype(np.float32))
    np.savez(tmp_path / "labelled.npz", frames=series, labels=np.array([0, 1, 0, 1, 1]))
    labelled = read_arrays(find_frames(tmp_path / "labelled.npz"), limit=10).labelled(("a", "b"))
    assert labelled.labels is not None
    assert labelled.labels.tolist() == [0, 1, 0, 1, 1]
    for index, value in enumerate(series):
        (tmp_path / "many" / "walk").mkdir(parents=True, exist_ok=True)
        np.save(tmp_path / "many" / "walk" / f"{index}.npy", value)
    many = read_arrays(find_frames(tmp_path / "many"), limit=10)
    np.testing.assert_array_equal(many.frames, series.astype(np.float32))
    assert many.folders == ("walk",) * 5


def test_what_cannot_be_read(tmp_path: Path) -> None:
    def read(path: Path) -> FrameSet:
        found = find_frames(path)
        return read_arrays(found, limit=5) if found.kind == "arrays" else read_pictures(found, SPEC, limit=5)

    def refused(path: Path, message: str) -> None:
        with pytest.raises(CompileError, match=message):
            read(path)

    refused(tmp_path / "nothing", "neither a folder nor")
    (tmp_path / "empty").mkdir()
    refused(tmp_path / "empty", "no pictures")
    picture(tmp_path / "both" / "a.png")
    np.save(tmp_path / "both" / "b.npy", np.zeros(3))
    refused(tmp_path / "both", "pictures and arrays")
    picture(tmp_path / "loose" / "a.png")
    picture(tmp_path / "loose" / "cat" / "b.png")
    refused(tmp_path / "loose", "beside sub-folders")
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "a.png").write_bytes(b"no picture")
    refused(tmp_path / "broken", r"cannot read .*a\.png")
    (tmp_path / "noise.npy").write_bytes(b"no array")
    refused(tmp_path / "noise.npy", "cannot be read as arrays")
    np.save(tmp_path / "objects.npy", np.array([{}, {}], dtype=object), allow_pickle=True)
    refused(tmp_path / "objects.npy", "cannot be read as arrays")
    np.savez(tmp_path / "odd.npz", a=np.zeros(2), b=np.zeros(2))
    refused(tmp_path / "odd.npz", "expected frames and labels")
    for name, size in (("a", 3), ("b", 4)):
        (tmp_path / "uneven").mkdir(exist_ok=True)
        np.save(tmp_path / "uneven" / f"{name}.npy", np.zeros(size))
    refused(tmp_path / "uneven", "different shapes")
    picture(tmp_path / "two" / "a.png")
    with pytest.raises(CompileError, match="1, 3 or 4 channels"):
        read_pictures(find_frames(tmp_path / "two"), InputSpec((2, 6, 8)), limit=5)


@pytest.mark.parametrize(
    ("frames", "labels", "message"),
    [
        (np.zeros((4, 2), np.float64), None, "must be uint8 images or float32"),
        (np.zeros((1, 2), np.float32), None, "at least 2"),
        (np.full((4, 2), np.inf, np.float32), None, "NaN or infinity"),
        (np.zeros((4, 2), np.float32), np.zeros(3, np.int64), "an integer label for each"),
        (np.zeros((4, 2), np.float32), np.zeros(4, np.float32), "an integer label for each"),
    ],
)
def test_frames_are_valid_once_they_are_there(
    frames: npt.NDArray[Any], labels: npt.NDArray[Any] | None, message: str
) -> None:
    with pytest.raises(CompileError, match=message):
        FrameSet(frames, numbers=labels).labelled(("a", "b"))


def test_frames_must_fit_the_input() -> None:
    frames = Frames(np.zeros((4, 6, 8, 3), np.uint8), np.array([0, 1, 2, 1]))
    frames.check(SPEC, 3)
    with pytest.raises(CompileError, match="labels run from 0 to 2, but there are 2 classes"):
        frames.check(SPEC, 2)
    with pytest.raises(CompileError, match=r"must be float32 \[N, 3, 6, 8\]"):
        frames.check(InputSpec((3, 6, 8), "array"), 3)
