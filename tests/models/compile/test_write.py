"""A bundle is replaced whole; anything else is left alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgeadapt.bundle import MANIFEST_NAME
from edgeadapt.errors import CompileError
from edgeadapt_models.compile.write import _swap, write_folder


def test_a_bundle_is_replaced_whole(tmp_path: Path) -> None:
    out = tmp_path / "deep" / "bundle"
    write_folder({MANIFEST_NAME: b"old", "gone": b"x"}, out)
    write_folder({MANIFEST_NAME: b"new", "fresh": b"y"}, out)
    assert {path.name: path.read_bytes() for path in out.iterdir()} == {MANIFEST_NAME: b"new", "fresh": b"y"}
    assert list(out.parent.iterdir()) == [out]


def test_the_old_bundle_is_put_back_when_the_new_one_cannot_be_moved_in(tmp_path: Path) -> None:
    out = tmp_path / "bundle"
    write_folder({MANIFEST_NAME: b"old"}, out)
    with pytest.raises(FileNotFoundError):
        _swap(tmp_path / "was-never-written", out, tmp_path / "aside")
    assert (out / MANIFEST_NAME).read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [out]


def test_a_folder_that_is_no_bundle_is_left_alone(tmp_path: Path) -> None:
    precious = tmp_path / "thesis.txt"
    precious.write_text("years of work")
    with pytest.raises(CompileError, match="is no bundle"):
        write_folder({MANIFEST_NAME: b""}, tmp_path)
    with pytest.raises(CompileError, match="is no bundle"):
        write_folder({MANIFEST_NAME: b""}, precious)
    assert precious.read_text() == "years of work"


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(CompileError, match="cannot be written"):
        write_folder({MANIFEST_NAME: b""}, tmp_path / "file" / "bundle")
