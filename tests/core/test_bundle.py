"""Bundles: verified or refused by file name; slots written where the recipes say and nowhere else."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import pytest

from edgeadapt.bundle import (
    CALIBRATION_NAME,
    SLOTS_NAME,
    Bundle,
    FileDigest,
    decode_manifest,
    encode_manifest,
    materialise,
    read_folder,
)
from edgeadapt.digest import sha256_hex
from edgeadapt.errors import BundleError
from edgeadapt.tensors import decode_tensors, encode_tensors
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
    layers = bundle.manifest.norm_layers
    out = materialise(base, artifact, layers, {"bn.bias": np.array([7, 8], np.float32)}, bundle.slots)
    assert out[:3] == b"HDR"
    assert out[-4:] == b"TAIL"
    assert np.frombuffer(out, "<f4", 8, 3).tolist() == [1, 1, 7, 8, 1, -1, 4, 0.25]
    assert base == bundles.files()["model.onnx"]


def test_the_probe_model_is_the_patched_model_and_the_suffix() -> None:
    bundle = bundles.bundle()
    values = {"bn.weight": np.array([2, 3], np.float32)}
    artifact = bundle.artifact("onnxruntime")
    assert bundle.probe_model(artifact, values) == bundle.fast_model(artifact, values) + b"PROBE"


@pytest.mark.parametrize(
    ("values", "message"),
    [({"other": np.zeros(2, np.float32)}, "other"), ({"bn.bias": np.zeros(3, np.float32)}, "does not fit")],
)
def test_values_that_do_not_fit_are_refused(values: dict[str, np.ndarray], message: str) -> None:
    bundle = bundles.bundle()
    with pytest.raises(BundleError, match=message):
        bundle.fast_model(bundle.artifact("onnxruntime"), values)


def test_an_unknown_runtime_lists_those_there_are() -> None:
    with pytest.raises(BundleError, match="it has: onnxruntime float32"):
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


def changed(path: str, value: Any) -> dict[str, bytes]:
    """The files with one field of the manifest replaced; `path` is like "slots.0.shape"."""
    files = bundles.files()
    manifest = json.loads(files["manifest.json"])
    *parts, last = path.split(".")
    place = manifest
    for part in parts:
        place = place[int(part) if part.isdigit() else part]
    place[int(last) if last.isdigit() else last] = value
    return {**files, "manifest.json": json.dumps(manifest).encode()}


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        ("input.shape", [0, 8, 8], "input"),
        ("input.shape", [8, 8], "an image has"),
        ("input.shape", [], "one to three axes"),
        ("classes", [], "classes"),
        ("embedding_dim", 6, "prototypes"),
        ("embedding_dim", 0, "embedding_dim"),
        ("classes", ["a", "b"], "class_signatures"),
        ("slots.0.shape", [3], "bn: scale"),
        ("slots.0.shape", [], "bn.weight: shape"),
        ("slots.0.shape", [2, -1], "bn.weight: shape"),
        ("slots.0.lower", 11.0, "bn.weight: lower"),
        ("slots.0.lower", 1.5, "bn.weight leaves its own bounds"),
        ("slots.3.upper", 0.5, "bn.var leaves its own bounds"),
        ("slots.0.shape", [1] * 9, "at most 8 axes"),
        ("slots.0.shape", [1 << 20, 1 << 20, 1 << 40], "at most 8 axes"),
        ("slots.0.name", "", "a slot has no name"),
        ("slots.0.kind", "norm_bias", "bn: scale"),
        ("slots.1.name", "bn.weight", "slots: 'bn.weight' is there twice"),
        ("norm_layers", [], "norm_layers is empty"),
        ("norm_layers.0.scale", "nowhere", "bn: scale: there is no slot 'nowhere'"),
        ("norm_layers.0.scale", "", "bn: scale: there is no slot ''"),
        ("norm_layers.0.bias", "", "bn: bias: there is no slot ''"),
        ("norm_layers.0.mean", "", "bn: mean and var"),
        ("norm_layers.0.channels", 0, "bn: channels"),
        ("norm_layers.0.channels", 3, "bn: scale"),
        ("norm_layers.0.epsilon", -1.0, "bn: channels and epsilon"),
        ("norm_layers.0.probe_offset", 1, "bn: probe_offset 1"),
        ("norm_layers.0.probe_offset", -2, "bn: probe_offset -2"),
        ("signature_offset", 1, "signature_offset 1, expected 0 or the layers' end 2"),
        ("signature_offset", 2, "norm_mean has shape (2,), the manifest asks for (4,)"),
        ("artifacts", [], "artifacts is empty"),
        ("artifacts.0.probe_suffix", "gone.bin", "gone"),
        ("artifacts.0.writes.0.at.shape", [1], "slot of shape (2,) does not fit the tensors (1,)"),
        ("artifacts.0.writes.0.at.shape", [3], "slot of shape (2,) does not fit the tensors (3,)"),
        ("artifacts.0.writes.0.at.shape", [-2], "bn.weight points outside the file"),
        ("artifacts.0.writes.0.at.dtype", "int32", "bn.weight names a tensor of int32, expected float32"),
        ("artifacts.0.writes.0.at.offset", -1, "bn.weight points outside the file"),
        ("artifacts.0.writes.0.at.offset", 12, "overlaps"),
        ("artifacts.0.writes.0.slot", "nowhere", "Copy of nowhere: there is no such slot"),
        ("artifacts.0.writes.0.slot", "bn.bias", "no write covers the slot 'bn.weight'"),
        ("artifacts.0.writes.0.fold", "other", "other"),
        ("artifacts.0.measured", [], "measured names 0 of 1 layers"),
        ("files.0.size_bytes", 1, "model.onnx has"),
    ],
)
def test_parts_that_do_not_fit_are_named(path: str, value: Any, words: str) -> None:
    with pytest.raises(BundleError, match=re.escape(words)):
        Bundle.from_files(changed(path, value))


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("norm_mean", np.zeros(3), "norm_mean has shape (3,)"),
        ("norm_var", np.zeros((1, 2)), "norm_var has shape (1, 2)"),
        ("norm_var", np.array([1.0, -1.0]), "norm_var holds a negative value"),
        ("signature_mean", np.zeros(2), "signature_mean has shape (2,)"),
        ("signature_std", np.zeros(0), "signature_std has shape (0,)"),
        ("signature_std", -np.ones(4), "signature_std holds a negative value"),
        ("class_signatures", np.zeros((4, 3)), "class_signatures has shape (4, 3)"),
        ("prototypes", np.zeros((5, 3)), "prototypes has shape (5, 3)"),
        ("entropy_quantiles", np.zeros(0), "entropy_quantiles"),
        ("entropy_quantiles", np.zeros((3, 3)), "entropy_quantiles"),
        ("entropy_quantiles", -np.ones(3), "entropy_quantiles holds a negative value"),
    ],
)
def test_calibration_that_does_not_fit_is_named(field: str, value: npt.NDArray[Any], words: str) -> None:
    changed: dict[str, Any] = {field: value.astype(np.float32)}
    odd = replace(bundles.calibration(), **changed).encode()
    with pytest.raises(BundleError, match=re.escape(words)):
        Bundle.from_files(exchanged(CALIBRATION_NAME, odd))


def test_a_calibration_without_signatures_of_classes_takes_that_of_all_for_each() -> None:
    tensors = decode_tensors(bundles.calibration().encode())
    del tensors["class_signatures"]
    tensors["signature_mean"] = np.arange(4, dtype=np.float32)
    found = Bundle.from_files(exchanged(CALIBRATION_NAME, encode_tensors(tensors))).calibration
    np.testing.assert_array_equal(found.class_signatures, [[0.0, 1.0, 2.0, 3.0]] * 3)
    assert not found.knows_classes


def test_classes_are_known_where_one_signature_differs() -> None:
    plain = bundles.calibration()
    assert not plain.knows_classes
    assert replace(plain, class_signatures=np.eye(3, 4, dtype=np.float32)).knows_classes
    assert replace(plain, class_signatures=np.zeros((1, 4), np.float32)).knows_classes, "there is but one"


@pytest.mark.parametrize("epsilon", [1e-5, 0.0])
def test_a_variance_that_cannot_be_divided_by_is_refused(epsilon: float) -> None:
    slots = dict(bundles.bundle().slots)
    slots["bn.var"] = np.array([1.0, 0.0], np.float32)
    files = exchanged(SLOTS_NAME, encode_tensors(slots))
    files["manifest.json"] = files["manifest.json"].replace(b"0.00001", str(epsilon).encode())
    if epsilon:
        assert Bundle.from_files(files).slots["bn.var"].tolist() == [1.0, 0.0]
        return
    with pytest.raises(BundleError, match=r"slots\.safetensors: bn\.var: a variance that is not above 0"):
        Bundle.from_files(files)


def exchanged(name: str, data: bytes) -> dict[str, bytes]:
    """The files with one of them exchanged, and its digest right."""
    files = {**bundles.files(), name: data}
    manifest = decode_manifest(files["manifest.json"])
    digests = tuple(
        FileDigest(f.name, sha256_hex(data), len(data)) if f.name == name else f for f in manifest.files
    )
    files["manifest.json"] = encode_manifest(msgspec.structs.replace(manifest, files=digests))
    return files


@pytest.mark.parametrize("classes", [1 << 40, 1 << 20])
def test_signatures_that_are_made_up_for_too_many_classes_are_refused(classes: int) -> None:
    """A tensor of no bytes may have any number of rows."""
    tensors = decode_tensors(bundles.calibration().encode())
    del tensors["class_signatures"]
    width = 0 if classes > 1 << 30 else 1
    tensors["prototypes"] = np.zeros((classes, width), np.float32)
    tensors["signature_mean"] = np.zeros(1 << 10, np.float32)
    with pytest.raises(BundleError, match="too many"):
        Bundle.from_files(exchanged(CALIBRATION_NAME, encode_tensors(tensors)))
