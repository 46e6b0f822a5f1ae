"""Calibration holds what numpy computes from torch's activations."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import nn

from edgeadapt.bundle import Bundle, InputSpec
from edgeadapt.errors import CompileError
from edgeadapt_models.compile import tiny_images, tiny_module
from edgeadapt_models.compile.calibrate import measure
from edgeadapt_models.compile.compiler import Compilation, compile_module
from edgeadapt_models.compile.runtime import to_input
from edgeadapt_models.compile.source.frames import Frames
from edgeadapt_models.compile.tiny import CLASSES


def test_source_statistics(bundles: dict[str, Bundle]) -> None:
    images, labels = tiny_images(400, seed=0)
    module = tiny_module(0)
    x = torch.from_numpy(to_input(images))
    with torch.no_grad():
        first = module.conv1(x)
        logits, embedding = module(x)
    calibration, width = bundles["batch"].calibration, first.shape[1]
    pooled = first.numpy().astype(np.float64)
    np.testing.assert_allclose(calibration.norm_mean[:width], pooled.mean((0, 2, 3)), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(calibration.norm_var[:width], pooled.var((0, 2, 3)), rtol=1e-3, atol=1e-6)
    features = np.concatenate([pooled.mean((2, 3)), pooled.std((2, 3))], axis=1)
    np.testing.assert_allclose(calibration.signature_mean, features.mean(0), rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(calibration.signature_std, features.std(0), rtol=1e-2, atol=1e-4)
    for label in range(10):
        taken = features[logits.numpy().argmax(axis=1) == label]
        expected = (taken.sum(0) + 4.0 * features.mean(0)) / (len(taken) + 4.0)
        np.testing.assert_allclose(calibration.class_signatures[label], expected, rtol=1e-3, atol=1e-4)
    third = embedding.numpy()[labels == 3].mean(axis=0)
    np.testing.assert_allclose(calibration.prototypes[3], third, rtol=1e-3, atol=1e-4)
    share = torch.softmax(logits.double(), dim=1)
    entropy = -(share * share.clamp_min(1e-30).log()).sum(dim=1).numpy()
    quantiles = calibration.entropy_quantiles
    assert quantiles.shape == (65,)
    np.testing.assert_allclose(quantiles[[0, 32, 64]], np.quantile(entropy, [0, 0.5, 1]), atol=1e-3)


def test_outputs_that_are_not_finite_are_refused(bundles: dict[str, Bundle]) -> None:
    bundle = bundles["batch"]
    images, labels = tiny_images(20, seed=1)
    broken = {"norm2.bias": np.full(bundle.base_slots()["norm2.bias"].shape, np.inf, np.float32)}
    probe = bundle.probe_model(bundle.artifact("onnxruntime"), broken)
    with pytest.raises(CompileError, match="'logits' holds NaN or infinity"):
        measure(probe, bundle.manifest, Frames(images, labels))


def test_classes_without_data_get_a_prototype_from_predictions(tmp_path: Path) -> None:
    images, labels = tiny_images(60, seed=1)
    module = tiny_module()
    with torch.no_grad():
        logits, embedding = module(torch.from_numpy(to_input(images)))
    weights = torch.softmax(logits, dim=1)
    soft = (weights.T @ embedding) / weights.sum(dim=0)[:, None]
    kept = labels < 5
    unlabelled = compile_small(module, tmp_path / "none", images, None)
    np.testing.assert_allclose(unlabelled.bundle.calibration.prototypes, soft.numpy(), rtol=1e-4, atol=1e-5)
    half = compile_small(module, tmp_path / "half", images[kept], labels[kept])
    prototypes = half.bundle.calibration.prototypes
    third = embedding.numpy()[labels == 3].mean(axis=0)
    np.testing.assert_allclose(prototypes[3], third, rtol=1e-4, atol=1e-5)
    assert np.isfinite(prototypes[7]).all()
    assert "prototypes of 10 of 10 classes" in " ".join(unlabelled.notes)
    assert "prototypes of 5 of 10 classes" in " ".join(half.notes)


def compile_small(
    module: nn.Module, out: Path, images: npt.NDArray[np.uint8], labels: npt.NDArray[np.int64] | None
) -> Compilation:
    data, spec = Frames(images, labels), InputSpec((1, 28, 28))
    return compile_module(module, name="small", classes=CLASSES, spec=spec, data=data, out=out)
