"""What an int8 artifact refuses of a patch, and what it never refuses."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeadapt.bundle import Artifact, Bundle, FileDigest, Region, decode_manifest, encode_manifest
from edgeadapt.bundle.limits import check_values, keep_signs
from edgeadapt.bundle.writes import FoldNormInt8
from edgeadapt.digest import sha256_hex
from edgeadapt.errors import BundleError
from edgeadapt.tensors import FloatArray
from tests.core import bundles

MODEL = np.array([0.01, 0.02, 0.0, 0.0, 0.0, 0.0], "<f4").tobytes()


def int8_bundle(
    scale: tuple[float, float] = (1.0, -1.0), low: float | None = -3.0, high: float | None = 3.0
) -> Bundle:
    """The bundle of `bundles` with an int8 artifact beside the float one; base biases are 0."""
    files = bundles.files()
    manifest = decode_manifest(files["manifest.json"])
    write = FoldNormInt8(
        "bn",
        Region(0, (2,)),
        Region(8, (2,), "int32"),
        0.05,
        tuple(channel for channel, value in enumerate(scale) if value < 0),
        Region(16, (2,)),
        low,
        high,
    )
    artifact = Artifact("onnxruntime", "model.int8.onnx", "", (write,), ("output",), "int8")
    digest = FileDigest("model.int8.onnx", sha256_hex(MODEL), len(MODEL))
    manifest = msgspec.structs.replace(
        manifest, artifacts=(*manifest.artifacts, artifact), files=(*manifest.files, digest)
    )
    bundle = Bundle.from_files(
        {**files, "manifest.json": encode_manifest(manifest), "model.int8.onnx": MODEL}
    )
    return replace(bundle, slots={**bundle.slots, "bn.weight": np.array(scale, np.float32)})


def check(bundle: Bundle, **values: list[float]) -> None:
    named: dict[str, FloatArray] = {f"bn.{name}": np.array(v, np.float32) for name, v in values.items()}
    check_values(bundle, bundle.artifact("onnxruntime", "int8"), named)


def test_what_fits_is_let_through_and_can_be_written() -> None:
    bundle = int8_bundle()
    check(bundle)
    check(bundle, weight=[2.0, -0.1], bias=[1.0, -1.5])
    check(bundle, weight=[0.0, 0.0])  # switched off: no sign
    values = {"bn.weight": np.array([2.0, -0.1], np.float32)}
    artifact = bundle.artifact("onnxruntime", "int8")
    assert bundle.fast_model(artifact, values) != bundle.fast_model(artifact, {})


def test_a_turned_sign_names_layer_and_channel() -> None:
    with pytest.raises(BundleError, match=r"norm layer bn: channel 0 would change its sign.*1 of 2"):
        check(int8_bundle(), weight=[-0.01, -1.0])
    with pytest.raises(BundleError, match="channel 1 would change"):
        check(int8_bundle(), weight=[1.0, 0.01])


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"weight": [3.5, -1.0]}, r"channel 0 would saturate: 0 and a standard deviation of 3\.5"),
        ({"bias": [0.0, 2.5]}, r"channel 1 would saturate: 2\.5 .* hold, -3 to 3"),
        ({"bias": [-2.5, 0.0]}, "channel 0 would saturate"),
        ({"weight": [2.0, -1.0], "bias": [1.5, 0.0]}, "channel 0 would saturate"),
    ],
)
def test_what_saturates_names_layer_and_channel(values: dict[str, list[float]], words: str) -> None:
    with pytest.raises(BundleError, match=words):
        check(int8_bundle(), **values)


def test_an_activation_that_cuts_is_no_limit() -> None:
    relu = int8_bundle(low=None)
    check(relu, bias=[-50.0, 0.0])
    with pytest.raises(BundleError, match="up to 3"):
        check(relu, bias=[50.0, 0.0])
    check(int8_bundle(low=None, high=None), weight=[1e3, -1e3], bias=[1e3, -1e3])


def test_what_the_base_cuts_already_a_patch_may_cut_too() -> None:
    wide = int8_bundle(scale=(4.0, -1.0))
    check(wide, weight=[4.0, -0.5])
    check(wide, weight=[3.5, -1.0])
    with pytest.raises(BundleError, match="channel 0 would saturate"):
        check(wide, weight=[4.5, -1.0])


@given(
    st.lists(st.floats(-1e6, 1e6, width=32), min_size=2, max_size=2),
    st.lists(st.floats(0, 1e6, width=32), min_size=2, max_size=2),
)
def test_own_statistics_are_never_refused(mean: list[float], var: list[float]) -> None:
    for scale in ((1.0, -1.0), (4.0, -40.0)):
        bundle = int8_bundle(scale)
        check(bundle, mean=mean, var=var)
        check(bundle, mean=mean, var=var, weight=list(scale), bias=[0.0, 0.0])


def test_float_artifacts_take_everything() -> None:
    bundle = int8_bundle()
    values = {"bn.weight": np.array([-9.0, 9.0], np.float32)}
    check_values(bundle, bundle.artifact("onnxruntime"), values)


def test_kept_signs_are_the_nearest_values_that_can_run() -> None:
    bundle = int8_bundle()
    values = {
        "bn.weight": np.array([-0.5, -2.0], np.float32),
        "bn.bias": np.array([0.5, 0.5], np.float32),
    }
    kept = keep_signs(bundle, values)
    assert kept["bn.weight"].tolist() == [0.0, -2.0]
    assert kept["bn.weight"].dtype == np.float32
    assert kept["bn.bias"].tolist() == [0.5, 0.5]
    check_values(bundle, bundle.artifact("onnxruntime", "int8"), kept)
    assert values["bn.weight"].tolist() == [-0.5, -2.0]
    assert keep_signs(bundles.bundle(), values)["bn.weight"].tolist() == [-0.5, -2.0]
    assert keep_signs(bundle, {}) == {}


def changed(**fields: object) -> dict[str, bytes]:
    """The files of `int8_bundle` with fields of its write replaced."""
    bundle = int8_bundle()
    manifest = bundle.manifest
    artifact = bundle.artifact("onnxruntime", "int8")
    write = msgspec.structs.replace(artifact.writes[0], **fields)
    artifact = msgspec.structs.replace(artifact, writes=(write,))
    manifest = msgspec.structs.replace(manifest, artifacts=(manifest.artifacts[0], artifact))
    return {**bundles.files(), "manifest.json": encode_manifest(manifest), "model.int8.onnx": MODEL}


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"low": 0.5}, "low and high: expected 0 between them"),
        ({"high": -0.5}, "low and high: expected 0 between them"),
        ({"weight_scale": Region(0, (2,), "int32")}, "expected float32 scales"),
        ({"bias_scale": Region(16, (2,), "int32")}, "expected float32 scales"),
        ({"bias": Region(8, (2,))}, "expected an int32 bias"),
        ({"input_scale": 0.0}, "an input scale above 0"),
        ({"negative": (2,)}, "negative names a channel that is not there"),
        ({"weight_scale": Region(0, (1,))}, "a tensor of 1 values for 2 channels"),
        ({"layer": "other"}, "no such layer"),
    ],
)
def test_a_write_that_does_not_fit_is_refused(fields: dict[str, object], words: str) -> None:
    with pytest.raises(BundleError, match=words):
        Bundle.from_files(changed(**fields))
