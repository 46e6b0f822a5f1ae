"""Large files of a bundle stay on the disk, and every use of them is checked."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from edgeadapt.bundle import Bundle, read_folder
from edgeadapt.errors import BundleError
from tests.core import bundles


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    out = tmp_path / "bundle"
    out.mkdir()
    for name, data in bundles.files().items():
        (out / name).write_bytes(data)
    return out


def model(bundle: Bundle) -> bytes:
    return bundle.probe_model(bundle.artifact("onnxruntime"), {})


def test_the_bytes_are_the_same_wherever_they_are_kept(folder: Path) -> None:
    kept, stored = read_folder(folder), read_folder(folder, keep_bytes=8)
    assert isinstance(kept.files, dict)
    assert not isinstance(stored.files, dict)
    assert dict(stored.files) == dict(kept.files)
    assert len(stored.files) == len(kept.files)
    assert model(stored) == model(kept) == model(bundles.bundle())
    assert stored.digest == kept.digest
    with pytest.raises(KeyError):
        stored.files["other"]


def test_only_listed_files_of_the_folder_are_read(folder: Path) -> None:
    with (folder / "film.mp4").open("wb") as file:
        file.truncate(3 << 30)
    assert read_folder(folder).digest == bundles.bundle().digest
    outside = folder.with_name("secret")
    outside.write_bytes((folder / "model.onnx").read_bytes())
    manifest = (folder / "manifest.json").read_bytes()
    (folder / "manifest.json").write_bytes(manifest.replace(b'"name": "model.onnx"', b'"name": "../secret"'))
    with pytest.raises(BundleError, match=r"\.\./secret is missing from the bundle"):
        read_folder(folder)


def test_a_path_that_no_file_system_takes_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="cannot be read"):
        read_folder(tmp_path / ("x" * 300))


def test_a_small_file_is_not_read_again(folder: Path) -> None:
    bundle = read_folder(folder)
    before = model(bundle)
    (folder / "model.onnx").write_bytes(b"")
    assert model(bundle) == before


def test_a_bundle_that_is_replaced_can_still_be_read(folder: Path) -> None:
    bundle = read_folder(folder, keep_bytes=8)
    before = model(bundle)
    fresh = folder.with_name("new")
    fresh.mkdir()
    (fresh / "model.onnx").write_bytes(b"another model")
    shutil.rmtree(folder)
    fresh.rename(folder)
    assert model(bundle) == before


@pytest.mark.parametrize("damage", ["edited", "truncated"])
def test_a_file_that_is_changed_in_place_is_named(folder: Path, damage: str) -> None:
    bundle = read_folder(folder, keep_bytes=8)
    path = folder / "model.onnx"
    if damage == "edited":
        data = bytearray(path.read_bytes())
        data[5] ^= 1
        with path.open("r+b") as file:
            file.write(data)
    else:
        os.truncate(path, 9)
    with pytest.raises(BundleError, match=r"model\.onnx was edited or truncated while it was in use"):
        model(bundle)


def test_files_are_closed_with_the_bundle(folder: Path) -> None:
    def count() -> int:
        return sum(os.readlink(f"/proc/self/fd/{n}").endswith("model.onnx") for n in handles())

    def handles() -> list[str]:
        return [n for n in os.listdir("/proc/self/fd") if os.path.islink(f"/proc/self/fd/{n}")]

    bundle = read_folder(folder, keep_bytes=8)
    assert count() == 1
    del bundle
    assert count() == 0
