"""A bundle with an int8 model beside the float one: patches for both."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from edgeadapt.bundle import Bundle
from edgeadapt.bundle.limits import check_values
from edgeadapt.tensors import FloatArray
from edgeadapt_cloud.adapt import gate
from edgeadapt_models.compile import compile_model, tiny_images, tiny_module
from edgeadapt_models.compile.runtime import to_input
from edgeadapt_models.compile.targets import TargetRequest, extend
from edgeadapt_models.compile.tiny import CLASSES, TinyNet
from tests.cloud.adapt.conftest import Images, MakeAdapter, lanes_for, request_for
from tests.cloud.adapt.test_adapter import OPEN


@pytest.fixture(scope="module")
def faint() -> TinyNet:
    """A network with scales so near to zero that any lesson takes some of them across."""
    module = tiny_module()
    with torch.no_grad():
        for norm in (module.norm1, module.norm2):
            assert isinstance(norm, torch.nn.BatchNorm2d)
            norm.weight[::2] = torch.tensor([1e-4, -1e-4]).repeat(3)[: len(norm.weight[::2])]
    return module


@pytest.fixture(scope="module")
def bundles(faint: TinyNet, tmp_path_factory: pytest.TempPathFactory) -> tuple[Bundle, Bundle]:
    """Without and with an int8 model."""
    images, labels = tiny_images(400)
    plain = compile_model(
        faint,
        name="faint",
        classes=CLASSES,
        input_shape=(1, 28, 28),
        calibration_images=images,
        calibration_labels=labels,
        out=Path(tmp_path_factory.mktemp("faint")),
    )
    return plain, extend(plain, TargetRequest(int8=True), to_input(images)).bundle


def test_a_patch_for_int8_devices_turns_no_sign(
    make_adapter: MakeAdapter,
    faint: TinyNet,
    bundles: tuple[Bundle, Bundle],
    domain: tuple[Images, np.ndarray],
) -> None:
    found = []
    for bundle in bundles:
        adapter = make_adapter(bundle=bundle, student=faint, min_teacher_margin=-9.0, **OPEN)
        request = request_for(bundle, domain[0], network=faint)
        found.append(adapter.run(request, domain[0], lanes_for(domain[0])))
    free, bound = found
    assert free.verdict.passed, free.verdict.evidence
    assert bound.verdict.passed, bound.verdict.evidence
    assert "runs-in-int8" in [entry.check for entry in bound.verdict.evidence]
    assert "runs-in-int8" not in [entry.check for entry in free.verdict.evidence]
    both = bundles[1]
    check_values(both, both.artifact("onnxruntime", "int8"), bound.values)
    crossings = 0
    for layer in both.manifest.norm_layers:
        turned = free.values[layer.scale] * both.slots[layer.scale] < 0
        crossings += int(turned.sum())
        assert (bound.values[layer.scale][turned] == 0).all()
        np.testing.assert_array_equal(bound.values[layer.scale][~turned], free.values[layer.scale][~turned])
    assert crossings > 0


def test_the_gate_says_what_saturates(bundles: tuple[Bundle, Bundle]) -> None:
    both = bundles[1]
    layer = both.manifest.norm_layers[0]
    values: dict[str, FloatArray] = {layer.bias: both.slots[layer.bias].copy()}
    (fine,) = gate.runs_in_int8(both, values)
    assert (fine.passed, fine.detail) == (True, "model.int8.onnx")
    values[layer.bias][2] = 1e4
    (refused,) = gate.runs_in_int8(both, values)
    assert not refused.passed
    assert f"norm layer {layer.name}: channel 2 would saturate" in refused.detail
