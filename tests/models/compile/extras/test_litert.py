"""The same slots in LiteRT: the artifact made from the ONNX one returns what that returns, base and moved."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgeadapt.bundle import Bundle, materialise
from edgeadapt.bundle.fit_writes import check_artifact
from edgeadapt_models.compile.runtime import Runner, frames_to_input
from edgeadapt_models.compile.tflite import TfliteModel, tflite_model
from edgeadapt_models.compile.tflite.runtime import TfliteRunner
from tests.models.compile.extras import networks
from tests.models.compile.extras.networks import Normalised
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


def made(bundle: Bundle) -> TfliteModel:
    """The LiteRT model of a bundle."""
    source, manifest = bundle.artifact("onnxruntime"), bundle.manifest
    data, suffix = bundle.files[source.file], bundle.files[source.probe_suffix]
    image = manifest.input.kind == "image"
    return tflite_model(data, suffix, source, manifest.norm_layers, image=image)


def test_folded_slots_add_no_operator(tmp_path: Path) -> None:
    module, spec, _ = networks.network("resnet18")
    normal = Normalised(module, spec.shape[0]).eval()
    plain = networks.compiled("resnet18", networks.wanted(head=False), tmp_path / "a", module=normal)
    full = networks.compiled("resnet18", networks.wanted("full", "conv:all"), tmp_path / "b", module=normal)
    counts = [[o.code for o in made(bundle).program.subgraphs[0].operators] for bundle in (plain, full)]
    assert counts[0] == counts[1]


@pytest.mark.parametrize("case", CASES)
def test_litert_equals_onnx(case: str, tmp_path: Path) -> None:
    name, prompt, adapters = CASES[case]
    bundle = networks.compiled(name, networks.wanted(prompt, *adapters), tmp_path / "b")
    manifest, onnx = bundle.manifest, bundle.artifact("onnxruntime")
    lite = made(bundle)
    check_artifact(lite.artifact, manifest, {**bundle.files, lite.artifact.file: lite.data})
    x = frames_to_input(manifest.input, networks.frames(name, 2, seed=5))
    turned = np.ascontiguousarray(x.transpose(0, 2, 3, 1)) if lite.artifact.layout == "NHWC" else x
    for values in ({}, networks.moved(bundle)):
        data = materialise(lite.data, lite.artifact, manifest.norm_layers, values, bundle.slots)
        runner = TfliteRunner(data)
        expected = Runner(bundle.probe_model(onnx, values)).run(x)
        for signature in ("fast", "probe"):
            actual = runner.run(signature, turned)
            close(actual["logits"], expected["logits"])
            close(actual["embedding"], expected["embedding"])
        inversion = bundle.inversion(lite.artifact, values)
        mean, _ = inversion.apply(actual["probe_mean"], actual["probe_mean_square"])
        close(mean, expected["probe_mean"], 1e-4)
