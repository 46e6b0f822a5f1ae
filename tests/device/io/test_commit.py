"""A commit that is cut off anywhere, by a kill or by the power, leaves the old generation or the new one."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from edgeadapt.digest import sha256_hex
from edgeadapt_device.core.state import BankRecord, DeviceState
from edgeadapt_device.io.durable import Disk
from edgeadapt_device.io.store import GenerationStore
from tests.device.disks import KillingDisk, RecordingDisk
from tests.device.io.test_store import ONE, PATCHES, THREE, TWO, state

BEFORE = state(ONE, 1, (TWO,))
AFTER = state(THREE, 2, (ONE,))
Whole = tuple[DeviceState | None, dict[str, bytes]]
OLD: Whole = (BEFORE, {ONE: b"one", TWO: b"two"})
NEW: Whole = (AFTER, {THREE: b"three", ONE: b"one"})


def _lived(folder: Path, disk: Disk | None = None) -> None:
    """Two commits before the one in question, so that there is a previous state, too."""
    store = GenerationStore(folder, disk)
    store.commit(state(TWO, 0), PATCHES)
    store.commit(BEFORE, PATCHES)


def _no_links(disk: Disk) -> None:
    def refuses(source: Path, target: Path) -> None:
        raise PermissionError(1, "Operation not permitted")

    disk.link = refuses  # type: ignore[method-assign]


def _ended(work: Callable[[], None]) -> int:
    """Run `work` in a process of its own; returns the signal that ended it, or 0."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            work()
            status = 0
        finally:
            os._exit(status)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0
    return os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0


@pytest.mark.parametrize("links", [True, False], ids=["links", "no links"])
def test_a_kill_at_any_step_of_a_commit(tmp_path: Path, links: bool) -> None:
    step, seen = 0, list[str]()
    while True:
        folder = tmp_path / str(step)
        _lived(folder)

        def commit(folder: Path = folder, step: int = step) -> None:
            disk = KillingDisk(step)
            if not links:
                _no_links(disk)
            GenerationStore(folder, disk).commit(AFTER, PATCHES)

        ended = _ended(commit)
        store = GenerationStore(folder)
        found = store.load()
        assert found in (OLD, NEW), f"after step {step}: {store.notes}"
        assert store.notes == []
        seen.append("new" if found == NEW else "old")
        # The next process goes on from there, and lacks nothing.
        store.commit(AFTER, PATCHES)
        assert GenerationStore(folder).load() == NEW
        if ended == 0:
            break
        assert ended == signal.SIGKILL
        step += 1
    assert step > 8
    assert seen == sorted(seen, reverse=True), "once it is there, it stays"
    assert {"old", "new"} == set(seen)


def test_a_kill_at_any_step_of_the_first_commit_of_all(tmp_path: Path) -> None:
    step = 0
    while True:
        folder = tmp_path / str(step) / "state" / "generation"

        def commit(folder: Path = folder, step: int = step) -> None:
            GenerationStore(folder, KillingDisk(step)).commit(BEFORE, PATCHES)

        ended = _ended(commit)
        assert GenerationStore(folder).load() in ((None, {}), OLD)
        if ended == 0:
            break
        step += 1
    assert step > 8


@pytest.mark.parametrize("names_survive", [True, False], ids=["all names", "synced names"])
def test_the_power_goes_at_any_step_of_a_commit(tmp_path: Path, names_survive: bool) -> None:
    folder = tmp_path / "lived"
    disk = RecordingDisk(folder)
    _lived(folder, disk)
    begin = len(disk.steps)
    GenerationStore(folder, disk).commit(AFTER, PATCHES)
    for count in range(begin, len(disk.steps) + 1):
        left = tmp_path / f"{count}-{names_survive}"
        disk.cut(count, left, names_survive=names_survive)
        store = GenerationStore(left)
        found = store.load()
        assert found in (OLD, NEW), f"after step {count - begin}: {store.notes}"
    assert found == NEW, "a commit that has returned is durable"


def test_the_power_cut_of_these_tests_would_show_a_missing_sync(tmp_path: Path) -> None:
    """Or the test above would show nothing."""
    folder = tmp_path / "lived"
    disk = RecordingDisk(folder)
    _lived(folder, disk)
    GenerationStore(folder, disk).commit(AFTER, PATCHES)
    disk.steps = [step for step in disk.steps if step[0] != "sync"]
    disk.cut(len(disk.steps), tmp_path / "left", names_survive=True)
    assert GenerationStore(tmp_path / "left").load()[0] is None


def test_damage_before_a_kill_does_not_cost_the_last_whole_state(tmp_path: Path) -> None:
    """`state.msgpack` is damaged, `state.msgpack.1` is all there is, and the next commit is cut off."""
    for step in range(20):
        folder = tmp_path / str(step)
        _lived(folder)
        (folder / "state.msgpack").write_bytes(b"damaged")
        known = (state(TWO, 0), {TWO: b"two"})
        assert GenerationStore(folder).load() == known

        def commit(folder: Path = folder, step: int = step) -> None:
            GenerationStore(folder, KillingDisk(step)).commit(AFTER, PATCHES)

        ended = _ended(commit)
        assert GenerationStore(folder).load() in (known, NEW)
        if ended == 0:
            return
    raise AssertionError("it never came to its end")


def test_starts_are_counted_in_place_and_a_kill_leaves_one_count_or_the_other(tmp_path: Path) -> None:
    for step in range(10):
        folder = tmp_path / str(step)
        GenerationStore(folder).count_starts(1)

        def count(folder: Path = folder, step: int = step) -> None:
            GenerationStore(folder, KillingDisk(step)).count_starts(2)

        ended = _ended(count)
        assert GenerationStore(folder).failed_starts() in (1, 2)
        if ended == 0:
            assert GenerationStore(folder).failed_starts() == 2
            return
    raise AssertionError("it never came to its end")


def test_starts_that_cannot_be_read_are_none(tmp_path: Path) -> None:
    store = GenerationStore(tmp_path)
    assert store.failed_starts() == 0
    for content in (b"", b"x", b"\xff\xfe"):
        (tmp_path / "starts").write_bytes(content)
        assert store.failed_starts() == 0
    store.count_starts(30)
    assert store.failed_starts() == 9
    shutil.rmtree(tmp_path / "starts", ignore_errors=True)
    (tmp_path / "starts").unlink(missing_ok=True)
    (tmp_path / "starts").mkdir()
    assert store.failed_starts() == 0
    store.count_starts(1)
    assert store.failed_starts() == 1


@pytest.mark.parametrize(
    "path",
    ["generation", "generation/patches", "generation/state.msgpack", f"generation/patches/{ONE}.patch"],
)
@pytest.mark.parametrize("kind", ["file", "folder", "dangling link"])
def test_what_bears_a_name_that_is_needed_is_moved_aside(tmp_path: Path, path: str, kind: str) -> None:
    place = tmp_path / path
    place.parent.mkdir(parents=True, exist_ok=True)
    if kind == "file":
        place.write_bytes(b"in the way")
    elif kind == "folder":
        place.mkdir()
        (place / "something").write_bytes(b"in it")
    else:
        place.symlink_to(tmp_path / "nowhere")
    store = GenerationStore(tmp_path / "generation")
    assert store.load()[0] is None
    store.commit(BEFORE, PATCHES)
    assert GenerationStore(tmp_path / "generation").load() == OLD
    if kind == "folder" and path.endswith((".patch", "msgpack")):
        assert (place.with_name(place.name + ".damaged") / "something").read_bytes() == b"in it"


def test_a_file_where_the_state_folder_belongs_is_other_peoples_and_stays(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("mine")
    store = GenerationStore(tmp_path / "state" / "generation")
    assert store.load() == (None, {})
    with pytest.raises(Exception, match="state"):
        store.commit(BEFORE, PATCHES)
    assert (tmp_path / "state").read_text() == "mine"


def test_a_bank_of_many_is_committed_whole(tmp_path: Path) -> None:
    digests = [sha256_hex(bytes([n])) for n in range(20)]
    many = state("", 1, tuple(digests))
    assert all(isinstance(record, BankRecord) for record in many.bank)
    GenerationStore(tmp_path).commit(many, {d: bytes([n]) for n, d in enumerate(digests)})
    assert len(GenerationStore(tmp_path).load()[1]) == 20
