"""The state survives whatever a disk does to one file."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from edgeadapt.digest import sha256_hex
from edgeadapt.errors import TransportError
from edgeadapt_device.core.state import BankRecord, DeviceState, TrialRecord
from edgeadapt_device.io.store import GenerationStore
from tests.device import disk

PATCHES = {sha256_hex(data): data for data in (b"one", b"two", b"three")}
ONE, TWO, THREE = PATCHES


def state(patch: str = "", frames: int = 0, bank: tuple[str, ...] = ()) -> DeviceState:
    return DeviceState(
        bundle="b", epoch=1, segment=2, frames=frames, patch=patch, mean=b"m", var=b"v", reference=b"r",
        reference_frames=3, serials={"c": 4}, assignments=(), blocked=(),
        bank=tuple(BankRecord("c", digest, b"s", b"m", b"v", True) for digest in bank),
    )  # fmt: skip


def test_an_empty_folder_holds_nothing(tmp_path: Path) -> None:
    store = GenerationStore(tmp_path / "state")
    assert store.load() == (None, {})
    assert store.notes == []


def test_what_is_committed_is_loaded_with_the_envelopes_it_names(tmp_path: Path) -> None:
    GenerationStore(tmp_path).commit(state(ONE, 7, (TWO,)), PATCHES)
    loaded, envelopes = GenerationStore(tmp_path).load()
    assert loaded == state(ONE, 7, (TWO,))
    assert envelopes == {ONE: b"one", TWO: b"two"}


def test_envelopes_of_a_trial_are_kept_and_need_not_be_given_again(tmp_path: Path) -> None:
    store = GenerationStore(tmp_path)
    store.commit(state(ONE), {ONE: b"one"})
    trial = msgspec.structs.replace(state(TWO), trial=TrialRecord("c", 1, TWO, ONE, 9.0))
    store.commit(trial, {TWO: b"two"})
    assert store.load() == (trial, {ONE: b"one", TWO: b"two"})


def test_unreferenced_envelopes_go_one_commit_later(tmp_path: Path) -> None:
    store = GenerationStore(tmp_path)
    store.commit(state(ONE), PATCHES)
    store.commit(state(TWO), PATCHES)
    assert {p.stem for p in (tmp_path / "patches").iterdir()} == {ONE, TWO}
    store.commit(state(TWO), PATCHES)
    assert {p.stem for p in (tmp_path / "patches").iterdir()} == {TWO}


@pytest.mark.parametrize("keep", [0, 10, 80])
def test_a_damaged_state_gives_the_one_before(tmp_path: Path, keep: int) -> None:
    store = GenerationStore(tmp_path)
    store.commit(state(ONE, 1), PATCHES)
    store.commit(state(TWO, 2), PATCHES)
    path = tmp_path / "state.msgpack"
    path.write_bytes(path.read_bytes()[:keep])
    assert store.load() == (state(ONE, 1), {ONE: b"one"})
    assert len(store.notes) == 1
    assert "damaged" in store.notes[0]
    (tmp_path / "state.msgpack.1").write_bytes(b"x")
    assert store.load() == (None, {})
    assert len(store.notes) == 2


@pytest.mark.parametrize("damaged", [ONE, TWO])
def test_a_damaged_patch_is_left_out_and_the_state_stays(tmp_path: Path, damaged: str) -> None:
    store = GenerationStore(tmp_path)
    store.commit(state("", 1), {})
    store.commit(state(ONE, 2, (TWO,)), PATCHES)
    (tmp_path / "patches" / f"{damaged}.patch").write_bytes(b"bad")
    kept = TWO if damaged == ONE else ONE
    assert store.load() == (state(ONE, 2, (TWO,)), {kept: PATCHES[kept]})
    assert store.notes == [f"patch {damaged[:12]} is missing or damaged"]


def test_a_damaged_patch_is_whole_again_after_it_is_committed_again(tmp_path: Path) -> None:
    store = GenerationStore(tmp_path)
    store.commit(state(ONE), PATCHES)
    (tmp_path / "patches" / f"{ONE}.patch").write_bytes(b"0ne")
    store.commit(state(ONE), PATCHES)
    assert store.load() == (state(ONE), {ONE: b"one"})


def test_a_state_of_another_format_is_not_used(tmp_path: Path) -> None:
    store = GenerationStore(tmp_path)
    store.commit(msgspec.structs.replace(state(), format=99), {})
    assert store.load() == (None, {})
    assert "format 99" in store.notes[0]


def test_a_disk_that_refuses_is_a_transport_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(TransportError, match="cannot be written"):
        GenerationStore(tmp_path / "file" / "generation").commit(state(), {})
    with disk.full(10), pytest.raises(TransportError, match="File too large"):
        GenerationStore(tmp_path / "generation").commit(state(), {})


def test_a_file_system_without_links_keeps_the_state_before_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuses(source: Path, target: Path) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr("os.link", refuses)
    store = GenerationStore(tmp_path)
    for frames in (1, 2, 3):
        store.commit(state(ONE, frames), PATCHES)
    assert store.load()[0] == state(ONE, 3)
    (tmp_path / "state.msgpack").write_bytes(b"damaged")
    assert store.load()[0] == state(ONE, 2)
    assert {p.name for p in tmp_path.iterdir()} == {"patches", "state.msgpack", "state.msgpack.1"}
