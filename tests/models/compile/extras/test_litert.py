"""The same slots in LiteRT: the artifact made from the ONNX one returns what that returns, base and moved."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgeadapt.bundle import materialise
from edgeadapt.bundle.fit_writes import check_artifact
from edgeadapt_models.compile.runtime import Runner, frames_to_input
from edgeadapt_models.compile.tflite import tflite_model
from edgeadapt_models.compile.tflite.runtime import TfliteRunner
from tests.models.compile.extras import networks
from tests.models.compile.extras.test_parity import close

CASES = {
    "resnet18": ("resnet18", "low:4x6", ("conv:all",)),
    "resnet18 bottleneck": ("resnet18", "full", ("bottleneck:all:4",)),
    "mobilenet_v2": ("mobilenet_v2", "border:3", ("conv:all",)),
    "deit": ("deit_tiny", "low:8", ("lowrank:all:2",)),
    "deit tokens": ("deit_tiny", "", ("tokens:3", "bottleneck:all:4")),
    "series": ("series_fcn", "low:1x8", ("conv:all",)),
    "spectrogram": ("ds_cnn", "full", ("conv:all",)),
}


@pytest.mark.parametrize("case", CASES)
def test_litert_equals_onnx(case: str, tmp_path: Path) -> None:
    name, prompt, adapters = CASES[case]
    bundle = networks.compiled(name, networks.wanted(prompt, *adapters), tmp_path / "b")
    manifest, onnx = bundle.manifest, bundle.artifact("onnxruntime")
    made = tflite_model(
        bundle.files[onnx.file],
        bundle.files[onnx.probe_suffix],
        onnx,
        manifest.norm_layers,
        image=manifest.input.kind == "image",
    )
    check_artifact(made.artifact, manifest, {**bundle.files, made.artifact.file: made.data})
    x = frames_to_input(manifest.input, networks.frames(name, 2, seed=5))
    turned = np.ascontiguousarray(x.transpose(0, 2, 3, 1)) if made.artifact.layout == "NHWC" else x
    for values in ({}, networks.moved(bundle)):
        data = materialise(made.data, made.artifact, manifest.norm_layers, values, bundle.slots)
        runner = TfliteRunner(data)
        expected = Runner(bundle.probe_model(onnx, values)).run(x)
        for signature in ("fast", "probe"):
            actual = runner.run(signature, turned)
            close(actual["logits"], expected["logits"])
            close(actual["embedding"], expected["embedding"])
        inversion = bundle.inversion(made.artifact, values)
        mean, _ = inversion.apply(actual["probe_mean"], actual["probe_mean_square"])
        close(mean, expected["probe_mean"], 1e-4)
