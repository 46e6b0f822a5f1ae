"""Every structure compiles from torch: its parameters are the slots, and any values act as in torch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from edgeadapt.bundle import Bundle, InputSpec
from edgeadapt.tensors import FloatArray
from edgeadapt_models.compile import compile_module
from edgeadapt_models.compile.parity import random_patch
from edgeadapt_models.compile.runtime import Runner, frames_to_input
from edgeadapt_models.compile.source.frames import Frames
from edgeadapt_models.zoo.structures import build, examples, structure, structure_names

LAYERS = {
    "convnext_tiny": {"layer": 11},
    "deit_tiny": {"layer": 5},
    "densenet121": {"batch": 17},
    "ds_cnn": {"batch": 5},
    "efficientnet_lite0": {"batch": 22},
    "mobilenet_v2": {"batch": 22},
    "mobilenet_v3_small": {"batch": 16},
    "preact_resnet18": {"batch": 9},
    "resnet18": {"batch": 12},
    "resnet18_group": {"group": 12},
    "resnet18_instance": {"instance": 12},
    "series_fcn": {"batch": 3},
}


@pytest.mark.parametrize("name", structure_names())
def test_structure(name: str, tmp_path: Path) -> None:
    kind = structure(name)
    module, small = build(kind), kind.small
    x = examples(kind, small, 10, seed=3)
    frames = np.rint(x.transpose(0, 2, 3, 1) * 255).astype(np.uint8) if kind.kind == "image" else x
    compilation = compile_module(
        module,
        name=name,
        classes=[str(index) for index in range(small.classes)],
        spec=InputSpec(small.shape, kind.kind),
        data=Frames(frames),
        out=tmp_path / "bundle",
    )
    bundle = compilation.bundle
    assert not compilation.findings.unusable
    kinds = [layer.kind for layer in bundle.manifest.norm_layers]
    assert {kind: kinds.count(kind) for kind in set(kinds)} == LAYERS[name]
    state = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    patch = {
        slot: v for slot, v in random_patch(bundle.manifest.slots, bundle.slots).items() if slot in state
    }
    assert len(patch) == sum(slot.kind.startswith("norm_") for slot in bundle.manifest.slots)
    with torch.no_grad():
        for slot, value in patch.items():
            state[slot].copy_(torch.from_numpy(value))
        inputs = frames_to_input(bundle.manifest.input, frames[:4])
        expected = [output.numpy() for output in module(torch.from_numpy(inputs))]
    for output, wanted in zip(_run(bundle, patch, inputs), expected, strict=True):
        scale = max(1.0, float(np.abs(wanted).max()))
        np.testing.assert_allclose(output, wanted, atol=1e-4 * scale, rtol=0)


def _run(bundle: Bundle, patch: dict[str, FloatArray], x: FloatArray) -> tuple[FloatArray, FloatArray]:
    outputs = Runner(bundle.fast_model(bundle.artifact("onnxruntime"), patch)).run(x)
    return outputs["logits"], outputs["embedding"]
