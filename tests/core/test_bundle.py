"""Bundles: verified or refused by file name; slots written where the recipes say and nowhere else."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgeadapt.bundle import Bundle, materialise, read_folder
from edgeadapt.errors import BundleError
from tests.core import bundles


def test_a_good_bundle_gives_its_base_slots() -> None:
    bundle = bundles.bundle()
    base = bundle.base_slots()
    assert base["bn.mean"].tolist() == [1.0, -1.0]
    assert base["bn.var"].tolist() == [4.0, 0.25]
    assert bundle.manifest.probe_channels == 2
    assert len(bundle.digest) == 64


@pytest.mark.parametrize("name", ["model.onnx", "probe.bin", "calibration.safetensors"])
def test_an_edited_file_is_named(name: str) -> None:
    files = bundles.files()
    files[name] = files[name][:-1] + bytes([files[name][-1] ^ 1])
    with pytest.raises(BundleError, match=name.replace(".", r"\.")):
        Bundle.from_files(files)


@pytest.mark.parametrize("name", ["model.onnx", "manifest.json"])
def test_a_missing_file_is_named(name: str) -> None:
    files = bundles.files()
    del files[name]
    with pytest.raises(BundleError, match=name):
        Bundle.from_files(files)


def test_a_truncated_manifest_is_refused() -> None:
    files = bundles.files()
    files["manifest.json"] = files["manifest.json"][:-20]
    with pytest.raises(BundleError, match=r"manifest\.json"):
        Bundle.from_files(files)


def test_the_digest_covers_every_file() -> None:
    files = bundles.files()
    changed = files["manifest.json"].replace(b'"toy"', b'"toz"')
    assert Bundle.from_files({**files, "manifest.json": changed}).digest != bundles.bundle().digest


def test_materialise_writes_only_the_named_slot() -> None:
    bundle = bundles.bundle()
    artifact = bundle.artifact("onnxruntime")
    base = bundle.files["model.onnx"]
    out = materialise(base, artifact, {"bn.bias": np.array([7, 8], np.float32)})
    assert out[:3] == b"HDR"
    assert out[-4:] == b"TAIL"
    assert np.frombuffer(out, "<f4", 8, 3).tolist() == [1, 1, 7, 8, 1, -1, 4, 0.25]
    assert base == bundles.files()["model.onnx"]


def test_the_probe_model_is_the_patched_model_and_the_suffix() -> None:
    bundle = bundles.bundle()
    values = {"bn.weight": np.array([2, 3], np.float32)}
    assert bundle.probe_model("onnxruntime", values) == bundle.fast_model("onnxruntime", values) + b"PROBE"


@pytest.mark.parametrize(
    ("values", "message"),
    [({"other": np.zeros(2, np.float32)}, "other"), ({"bn.bias": np.zeros(3, np.float32)}, "takes 8 bytes")],
)
def test_values_that_do_not_fit_are_refused(values: dict[str, np.ndarray], message: str) -> None:
    bundle = bundles.bundle()
    with pytest.raises(BundleError, match=message):
        bundle.fast_model("onnxruntime", values)


def test_an_unknown_runtime_lists_those_there_are() -> None:
    with pytest.raises(BundleError, match="it has: onnxruntime"):
        bundles.bundle().artifact("tflite")


def test_reading_a_folder(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="edgeadapt model compile"):
        read_folder(tmp_path)
    for name, data in bundles.files().items():
        (tmp_path / name).write_bytes(data)
    assert read_folder(tmp_path).digest == bundles.bundle().digest


def test_a_recipe_outside_the_file_is_refused() -> None:
    files = bundles.files()
    files["manifest.json"] = files["manifest.json"].replace(b'"offset": 27', b'"offset": 2700')
    with pytest.raises(BundleError, match="outside the file"):
        Bundle.from_files(files)
