"""Files that are dropped into a folder: each once, when it is finished, over restarts."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from edgeadapt.errors import ConfigError
from edgeadapt_device.io.samples import encode_png
from edgeadapt_device.io.sources import watch as watch_module
from edgeadapt_device.io.sources.base import Frame, SourceState
from edgeadapt_device.io.sources.files import file_reader
from edgeadapt_device.io.sources.watch import After, WatchSource
from tests.device.io.sources.made import COLOUR, SERIES, Clock, images, put

SETTLE_S, POLL_S = 1.0, 0.5


class Rig:
    """A watched folder, and a process that watches it; `restart` is another process."""

    def __init__(self, folder: Path, after: After = "keep", moved_to: Path | None = None) -> None:
        self.folder, self.after, self.moved_to = folder / "drop", after, moved_to
        self.ledger = folder / "state" / "watched.bin"
        self.folder.mkdir(exist_ok=True)
        self.clock, self.told = Clock(), list[str]()
        self.restart()

    def restart(self, start: int = 0) -> None:
        self.source = WatchSource(
            self.folder,
            file_reader(COLOUR, "crop"),
            self.ledger,
            poll_s=POLL_S,
            settle_s=SETTLE_S,
            after=self.after,
            moved_to=self.moved_to,
            report=self.told.append,
            clock=self.clock,
        )
        self.frames: Iterator[Frame | None] = self.source.frames(start, self.clock.pause)

    def play(self, seconds: float = 4.0, *, done: bool = True) -> list[Frame]:
        """What comes in a while; with `done` each is scored at once."""
        until_s, got = self.clock.now_s + seconds, list[Frame]()
        while self.clock.now_s < until_s:
            frame = next(self.frames)
            if frame is not None:
                got.append(frame)
                if done:
                    self.source.done([frame.name])
        return got

    def names(self, seconds: float = 4.0, *, done: bool = True) -> list[str]:
        return [frame.name for frame in self.play(seconds, done=done)]

    def state(self) -> SourceState:
        return self.source.health.seen.state


def drop(path: Path, picture: np.ndarray) -> None:
    """A finished file, later than any before by the file system's clock, which may count in 10 ms."""
    time.sleep(0.02)
    put(path, picture)


def test_each_file_is_scored_once_in_the_order_of_arrival(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    pictures = images(4)
    for name, picture in zip(("d.png", "a.png", "c.png"), pictures, strict=False):
        drop(rig.folder / name, picture)
    first = rig.play()
    assert [(frame.index, frame.name) for frame in first] == [(0, "d.png"), (1, "a.png"), (2, "c.png")]
    assert all((frame.image == pictures[n]).all() for n, frame in enumerate(first))
    assert rig.names() == []
    assert rig.state() is SourceState.WAITING
    put(rig.folder / "b.png", pictures[3])
    assert [(frame.index, frame.name) for frame in rig.play()] == [(3, "b.png")]
    assert sorted(path.name for path in rig.folder.iterdir()) == ["a.png", "b.png", "c.png", "d.png"]


def test_an_old_file_that_is_moved_in_is_a_new_one(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    put(rig.folder / "a.png", images(1)[0])
    assert rig.names() == ["a.png"]
    put(tmp_path / "b.png", images(1)[0])
    os.utime(tmp_path / "b.png", (1_500_000_000, 1_500_000_000))
    (tmp_path / "b.png").rename(rig.folder / "b.png")
    assert rig.names() == ["b.png"]


def test_a_file_that_is_being_written_is_waited_for(tmp_path: Path) -> None:
    rig, picture = Rig(tmp_path), images(1)[0]
    data = encode_png(picture)
    for end in range(20, len(data), 40):
        (rig.folder / "a.png").write_bytes(data[:end])
        assert rig.names(0.6 * SETTLE_S) == []
    (rig.folder / "a.png").write_bytes(data)
    (frame,) = rig.play()
    assert (frame.image == picture).all()
    assert rig.told == []


def test_a_writer_that_pauses_for_long_costs_a_line_and_no_frame(tmp_path: Path) -> None:
    rig, picture = Rig(tmp_path), images(1)[0]
    data = encode_png(picture)
    (rig.folder / "a.png").write_bytes(data[:100])
    assert rig.names(20.0) == []
    assert len(rig.told) == 1
    assert rig.told[0].startswith("a.png skipped")
    assert rig.source.health.seen.skipped == 1
    (rig.folder / "a.png").write_bytes(data)
    assert rig.names() == ["a.png"]


def test_after_a_restart_only_new_files_are_scored(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    for name in ("a.png", "b.png"):
        put(rig.folder / name, images(1)[0])
    (rig.folder / "bad.png").write_bytes(b"no image")
    assert rig.names() == ["a.png", "b.png"]
    rig.restart()
    put(rig.folder / "c.png", images(1)[0])
    assert rig.names() == ["c.png"]
    assert len(rig.told) == 1, "a bad file is told once, however often a process starts"


def test_a_file_whose_prediction_was_not_written_is_scored_again_after_a_kill(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    for name in ("a.png", "b.png"):
        put(rig.folder / name, images(1)[0])
    assert rig.names(done=False) == ["a.png", "b.png"]
    assert rig.names(done=False) == [], "nothing comes twice in one process"
    rig.source.done(["a.png"])
    rig.play()
    rig.restart()
    assert rig.names() == ["b.png"]


def test_what_was_done_last_is_remembered_at_a_clean_end(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    put(rig.folder / "a.png", images(1)[0])
    assert rig.names(done=False) == ["a.png"]
    rig.source.done(["a.png"])
    rig.source.close()
    rig.restart()
    assert rig.names() == []


def test_a_name_that_comes_again_with_another_content_is_a_new_file(tmp_path: Path) -> None:
    rig, (one, two) = Rig(tmp_path), images(2)
    put(rig.folder / "latest.png", one)
    assert rig.names() == ["latest.png"]
    put(rig.folder / "latest.png", two)
    (frame,) = rig.play()
    assert (frame.image == two).all()


def test_a_link_to_a_file_that_comes_late_is_read_then(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    (rig.folder / "a.png").symlink_to(tmp_path / "later.png")
    assert rig.names() == []
    put(tmp_path / "later.png", images(1)[0])
    assert rig.names() == ["a.png"]
    assert rig.told == []


@pytest.mark.parametrize("elsewhere", [True, False])
def test_scored_files_are_moved_and_no_name_is_overwritten(tmp_path: Path, elsewhere: bool) -> None:
    moved_to = tmp_path / "elsewhere" if elsewhere else None
    rig, pictures = Rig(tmp_path, "move", moved_to), images(2)
    for picture in pictures:
        put(rig.folder / "a.png", picture)
        assert rig.names() == ["a.png"]
    (rig.folder / "bad.png").write_bytes(b"no image")
    assert rig.names() == []
    target = moved_to if moved_to is not None else rig.folder / "scored"
    assert (target / "a.png").read_bytes() == encode_png(pictures[0])
    assert (target / "a-2.png").read_bytes() == encode_png(pictures[1])
    assert [path.name for path in rig.folder.iterdir() if path.is_file()] == ["bad.png"]
    assert rig.ledger.stat().st_size == 8 * 2, "only the bad one needs to be remembered"
    shutil.rmtree(target)
    put(rig.folder / "a.png", pictures[0])
    assert rig.names() == ["a.png"]
    assert (target / "a.png").read_bytes() == encode_png(pictures[0])


def test_scored_files_are_deleted_but_not_what_took_their_place(tmp_path: Path) -> None:
    rig, (one, two) = Rig(tmp_path, "delete"), images(2)
    put(rig.folder / "a.png", one)
    assert rig.names() == ["a.png"]
    assert list(rig.folder.iterdir()) == []
    put(rig.folder / "a.png", one)
    assert rig.names(done=False) == ["a.png"]
    put(rig.folder / "a.png", two)
    rig.source.done(["a.png"])
    (frame,) = rig.play()
    assert (frame.image == two).all()
    assert list(rig.folder.iterdir()) == []


def test_a_file_that_cannot_be_deleted_is_told_and_remembered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig = Rig(tmp_path, "delete")
    put(rig.folder / "a.png", images(1)[0])

    def refuses(path: Path, missing_ok: bool = False) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "unlink", refuses)
    assert rig.names() == ["a.png"]
    assert "stays where it is" in rig.told[0]
    rig.restart()
    assert rig.names() == []


def test_a_backlog_is_worked_off_in_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch_module, "_BATCH", 4)
    rig = Rig(tmp_path)
    names = [f"{number:02}.png" for number in (5, 3, 9, 0, 1, 8, 2, 7, 6, 4)]
    for name in names:
        drop(rig.folder / name, images(1)[0])
    assert rig.names(20.0) == names
    assert len(rig.source._since) <= 4


def test_a_folder_that_vanishes_is_a_state_and_comes_back(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    put(rig.folder / "a.png", images(1)[0])
    assert rig.names() == ["a.png"]
    shutil.move(rig.folder, tmp_path / "away")
    assert rig.names() == []
    assert rig.state() is SourceState.LOST
    assert "cannot be listed" in rig.source.health.seen.trouble
    shutil.move(tmp_path / "away", rig.folder)
    put(rig.folder / "b.png", images(1)[0])
    assert rig.names() == ["b.png"]
    assert rig.source.health.seen.trouble == ""


def test_a_state_folder_that_cannot_be_written_is_told_and_files_are_scored(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("in the way")
    rig = Rig(tmp_path)
    put(rig.folder / "a.png", images(1)[0])
    assert rig.names() == ["a.png"]
    assert rig.names() == []
    assert rig.told[0].startswith("storage: ")


def test_what_is_no_folder_is_a_config_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for name in ("nowhere", "file"):
        with pytest.raises(ConfigError, match=r"source\.path: .* is missing, or no folder"):
            WatchSource(
                tmp_path / name, file_reader(COLOUR, "crop"), tmp_path / "ledger", poll_s=1.0, settle_s=1.0
            )


def test_arrays_can_be_dropped_for_a_model_of_arrays(tmp_path: Path) -> None:
    clock, told = Clock(), list[str]()
    source = WatchSource(
        tmp_path,
        file_reader(SERIES, "crop"),
        tmp_path / "ledger",
        poll_s=POLL_S,
        settle_s=SETTLE_S,
        report=told.append,
        clock=clock,
    )
    array = np.random.default_rng(1).normal(size=(2, 5)).astype(np.float32)
    np.save(tmp_path / "a.npy", array)
    np.save(tmp_path / "b.npy", np.where(array > 0, np.nan, array))
    frames = source.frames(0, clock.pause)
    got = [frame for frame in (next(frames) for _ in range(50)) if frame is not None]
    assert len(got) == 1
    assert (got[0].image == array).all()
    assert told == ["b.npy skipped: it holds values that are not finite"]
