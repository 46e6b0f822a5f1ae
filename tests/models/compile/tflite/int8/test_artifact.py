"""The int8 LiteRT model: near the float one before and after a patch, of which it takes scales and biases."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgeadapt.bundle import Bundle, SlotValues
from edgeadapt.bundle.limits import check_values
from edgeadapt.bundle.writes import FoldNorm, FoldNormInt8
from edgeadapt.errors import BundleError, CompileError
from edgeadapt.tensors import FloatArray
from edgeadapt_models.compile import tiny_bundle, tiny_images
from edgeadapt_models.compile.quantise.compare import compare
from edgeadapt_models.compile.runtime import to_input
from edgeadapt_models.compile.targets import TargetRequest, extend
from edgeadapt_models.compile.tflite.extend import tflite_int8_of, tflite_of
from edgeadapt_models.compile.tflite.runtime import TfliteRunner, to_layout

IMAGES, LABELS = tiny_images(400)
X = to_input(IMAGES)
PROBED = ("probe_mean", "probe_mean_square")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """The tiny BatchNorm bundle with LiteRT models in float and in 8 bits."""
    tiny = tiny_bundle(tmp_path_factory.mktemp("tiny") / "bundle")
    return extend(tiny, TargetRequest(frozenset({"tflite"}), int8=True), X).bundle


def outputs(
    bundle: Bundle, precision: str, values: SlotValues, signature: str = "fast"
) -> dict[str, FloatArray]:
    """What a LiteRT model says of all images."""
    artifact = bundle.artifact("tflite", precision)
    return dict(TfliteRunner(bundle.fast_model(artifact, values)).run(signature, to_layout(artifact, X)))


def accuracy(logits: FloatArray) -> float:
    return float((logits.argmax(axis=1) == LABELS).mean())


def patch(bundle: Bundle, seed: int) -> dict[str, FloatArray]:
    """New scales, biases and statistics for every norm layer."""
    rng = np.random.default_rng(seed)
    values = {}
    for slot in bundle.manifest.slots:
        base = bundle.slots[slot.name]
        if slot.kind in ("norm_scale", "norm_var"):
            values[slot.name] = (base * np.exp(0.15 * rng.standard_normal(base.shape))).astype(np.float32)
        elif slot.kind in ("norm_bias", "norm_mean"):
            values[slot.name] = (base + 0.1 * rng.standard_normal(base.shape)).astype(np.float32)
    return values


def test_integers_cost_next_to_nothing_on_the_source(bundle: Bundle) -> None:
    found = compare(bundle, X, "tflite")
    assert found.agreement > 0.98
    assert found.logits < 0.04
    assert found.mean < 0.03
    assert found.deviation < 0.05


def test_the_signature_is_that_of_the_float_model(bundle: Bundle) -> None:
    """What the input alone decides is measured in float."""
    assert compare(bundle, X, "tflite").signature < 1e-3


@pytest.mark.parametrize("seed", [-1, *range(4)], ids=lambda seed: "base" if seed < 0 else f"patch-{seed}")
def test_accuracy_stays_within_a_point_of_float(bundle: Bundle, seed: int) -> None:
    values = patch(bundle, seed) if seed >= 0 else {}
    plain, int8 = (outputs(bundle, precision, values)["logits"] for precision in ("float32", "int8"))
    assert accuracy(int8) > accuracy(plain) - 0.01
    assert (plain.argmax(1) == int8.argmax(1)).mean() > 0.96


def test_a_patch_moves_the_integers_as_it_moves_the_floats(bundle: Bundle) -> None:
    values = patch(bundle, 7)
    base, plain = (outputs(bundle, "float32", v)["logits"] for v in ({}, values))
    int8 = outputs(bundle, "int8", values)["logits"]
    assert np.abs(plain - int8).mean() < 0.2 * np.abs(plain - base).mean()


def test_a_patch_changes_scales_and_biases_only(bundle: Bundle) -> None:
    artifact = bundle.artifact("tflite", "int8")
    before, after = (bundle.fast_model(artifact, values) for values in ({}, patch(bundle, 1)))
    changed = np.flatnonzero(np.frombuffer(before, np.uint8) != np.frombuffer(after, np.uint8))
    allowed = np.zeros(len(before), np.bool_)
    for write in artifact.writes:
        for region in (getattr(write, field) for field in write.__struct_fields__):
            if hasattr(region, "offset"):
                allowed[region.offset : region.end] = True
    assert len(changed)
    assert allowed[changed].all()
    kernels = [write for write in artifact.writes if isinstance(write, FoldNormInt8)]
    assert [write.layer for write in kernels] == ["norm1", "norm2"]
    assert all(write.bias_scale is not None for write in kernels)


def test_the_probe_says_what_the_fast_graph_does_and_measures_well(bundle: Bundle) -> None:
    values = patch(bundle, 3)
    fast, probe = (outputs(bundle, "int8", values, name) for name in ("fast", "probe"))
    assert (fast["logits"].argmax(1) == probe["logits"].argmax(1)).mean() > 0.98
    plain = outputs(bundle, "float32", values, "probe")
    found = [
        bundle.inversion(bundle.artifact("tflite", precision), values).apply(*(run[name] for name in PROBED))
        for precision, run in (("float32", plain), ("int8", probe))
    ]
    (mean, square), (int8_mean, _) = ([part.mean(axis=0) for part in pair] for pair in found)
    deviation = np.sqrt(square - mean**2)
    assert np.abs((int8_mean - mean) / deviation).max() < 0.05


def test_only_the_first_kernel_has_a_float_twin(bundle: Bundle) -> None:
    folds = [write for write in bundle.artifact("tflite", "int8").writes if isinstance(write, FoldNorm)]
    assert [write.layer for write in folds] == ["norm1"]


def test_a_sign_that_turns_and_values_that_saturate_are_refused(bundle: Bundle) -> None:
    artifact = bundle.artifact("tflite", "int8")
    scale = bundle.slots["norm2.weight"].copy()
    scale[3] *= -1
    with pytest.raises(BundleError, match="channel 3 would change its sign"):
        bundle.fast_model(artifact, {"norm2.weight": scale})
    bias = bundle.slots["norm2.bias"].copy()
    bias[5] += 100
    with pytest.raises(BundleError, match="channel 5 would saturate"):
        check_values(bundle, artifact, {"norm2.bias": bias})


def test_a_channel_that_is_switched_off_is_off(bundle: Bundle) -> None:
    """Scale 0: its step would be 0, which no integer kernel takes."""
    scale = bundle.slots["norm1.weight"].copy()
    scale[::2] = 0
    values = {"norm1.weight": scale}
    plain, int8 = (outputs(bundle, precision, values)["embedding"] for precision in ("float32", "int8"))
    assert np.abs(plain - int8).max() < 0.05 * np.abs(plain).max()


def test_a_negative_scale_is_kept_in_the_weights(tmp_path: Path) -> None:
    import torch

    from edgeadapt_models.compile import compile_model, tiny_module

    module = tiny_module()
    with torch.no_grad():
        for name, channel in (("norm1.weight", 1), ("norm2.weight", 4)):
            module.get_parameter(name)[channel].neg_()
    tiny = compile_model(
        module,
        name="negative",
        classes=[str(index) for index in range(10)],
        input_shape=(1, 28, 28),
        calibration_images=IMAGES,
        calibration_labels=LABELS,
        out=tmp_path / "bundle",
    )
    made = extend(tiny, TargetRequest(frozenset({"tflite"}), int8=True), X).bundle
    kernels = [w for w in made.artifact("tflite", "int8").writes if isinstance(w, FoldNormInt8)]
    assert [write.negative for write in kernels] == [(1,), (4,)]
    plain, int8 = (outputs(made, precision, {})["logits"] for precision in ("float32", "int8"))
    assert (plain.argmax(1) == int8.argmax(1)).mean() > 0.97


def test_too_few_frames_are_refused(bundle: Bundle) -> None:
    with pytest.raises(CompileError, match="at least 16"):
        tflite_int8_of(bundle, tflite_of(bundle), X[:8])
