"""A real bundle with both artifacts: one patch for both, equal in what a device does with them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgeadapt.bundle import Bundle
from edgeadapt.bundle.limits import check_values
from edgeadapt.errors import BundleError
from edgeadapt_models.compile import tiny_bundle, tiny_images
from edgeadapt_models.compile.quantise.compare import compare
from edgeadapt_models.compile.runtime import Runner, to_input
from edgeadapt_models.compile.targets import TargetRequest, extend

IMAGES, LABELS = tiny_images(400)
X = to_input(IMAGES)


@pytest.fixture(scope="module", params=["batch", "layer"])
def both(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    tiny = tiny_bundle(Path(tmp_path_factory.mktemp("tiny")), norm=request.param)
    return extend(tiny, TargetRequest(int8=True), X).bundle


def logits(bundle: Bundle, precision: str, values: dict[str, np.ndarray]) -> np.ndarray:
    return Runner(bundle.fast_model(bundle.artifact("onnxruntime", precision), values)).run(X)["logits"]


def test_the_bundle_has_both_and_they_say_the_same(both: Bundle) -> None:
    assert [entry.title for entry in both.manifest.artifacts] == ["onnxruntime float32", "onnxruntime int8"]
    found = compare(both, X)
    # The head of the net with LayerNorms inverts a covariance that is all but singular.
    sharp = both.manifest.norm_layers[0].kind == "layer"
    assert found.agreement > (0.9 if sharp else 0.98)
    assert found.logits < (0.4 if sharp else 0.04)
    assert found.mean < 0.03
    assert found.deviation < 0.05
    # In whitened distances, which stretch what the source hardly varies in.
    assert found.signature < 0.15


def test_one_patch_serves_both(both: Bundle) -> None:
    rng = np.random.default_rng(0)
    values = {
        slot.name: (both.slots[slot.name] * rng.uniform(0.7, 1.4, slot.shape)).astype(np.float32)
        for slot in both.manifest.slots
        if slot.kind in ("norm_scale", "norm_bias")
    }
    check_values(both, both.artifact("onnxruntime", "int8"), values)
    plain, int8 = (logits(both, precision, values) for precision in ("float32", "int8"))
    assert (plain.argmax(1) == int8.argmax(1)).mean() > 0.97
    base = logits(both, "float32", {})
    assert np.abs(plain - int8).mean() < 0.2 * np.abs(plain - base).mean()


def test_it_is_another_bundle_and_can_be_made_again(both: Bundle) -> None:
    again = extend(both, TargetRequest(int8=True), X).bundle
    assert again.digest == both.digest


def test_a_comparison_needs_both(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="no artifact for onnxruntime int8"):
        compare(tiny_bundle(tmp_path / "tiny"), X[:8])
