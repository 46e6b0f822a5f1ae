"""What is folded into a graph equals branches beside it in torch, at the base and moved, fast and probe."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import nn

from edgeadapt.bundle import Bundle
from edgeadapt.tensors import FloatArray
from edgeadapt_models.compile.runtime import Runner, frames_to_input
from tests.models.compile.extras import networks
from tests.models.compile.extras.reference import Values, branched

CASES = {
    "resnet18": ("resnet18", "low:4x6", ("conv:all",), 0),
    "resnet18 bottleneck": ("resnet18", "full", ("bottleneck:all:4",), 0),
    "mobilenet_v2": ("mobilenet_v2", "border:3", ("conv:all",), 3),
    "mobilenet_v3": ("mobilenet_v3_small", "border:2", ("conv", "lowrank:all"), 2),
    "convnext": ("convnext_tiny", "full", ("lowrank:all:3", "conv:all"), 0),
    "deit": ("deit_tiny", "low:8", ("lowrank:all:2",), 0),
    "group norm": ("resnet18_group", "full", ("conv:stages.*",), 0),
    "series": ("series_fcn", "low:1x8", ("conv:all",), 0),
    "spectrogram": ("ds_cnn", "full", ("conv:all",), 0),
}
BLOCKS = ("stages.0.0", "stages.1.0", "stages.2.0", "stages.3.0")


def close(actual: FloatArray, expected: npt.NDArray[Any], tolerance: float = 1e-5) -> None:
    scale = max(1.0, float(np.abs(expected).max()))
    assert float(np.abs(actual - expected).max()) <= tolerance * scale


def torch_outputs(module: nn.Module, x: FloatArray) -> list[npt.NDArray[Any]]:
    """In the module's own precision."""
    with torch.no_grad():
        return [output.numpy() for output in module(torch.from_numpy(x).to(next(module.parameters()).dtype))]


@pytest.mark.parametrize("case", CASES)
def test_folded_equals_branches(case: str, tmp_path: Path) -> None:
    name, prompt, adapters, border = CASES[case]
    bundle = networks.compiled(name, networks.wanted(prompt, *adapters), tmp_path / "b")
    module = networks.exact(name)
    x = frames_to_input(bundle.manifest.input, networks.frames(name, 4, seed=5))
    base = torch_outputs(module, x)
    for values in ({}, networks.moved(bundle)):
        expected = base
        if values:
            with branched(module, bundle.manifest.slots, values, border=border, blocks=BLOCKS) as changed:
                expected = torch_outputs(changed, x)
            assert np.abs(expected[0] - base[0]).max() > 0.01
        for outputs in both_graphs(bundle, values, x):
            close(outputs["logits"], expected[0])
            close(outputs["embedding"], expected[1])


@pytest.mark.parametrize("case", ["resnet18", "mobilenet_v2", "deit", "series"])
def test_every_slot_by_itself_equals_its_branch(case: str, tmp_path: Path) -> None:
    """So that no slot hides behind another: a patch of one slot alone moves what it should, as it should."""
    name, prompt, adapters, border = CASES[case]
    bundle = networks.compiled(name, networks.wanted(prompt, *adapters), tmp_path / "b")
    module = networks.exact(name)
    artifact, base = bundle.artifact("onnxruntime"), bundle.base_slots()
    x = frames_to_input(bundle.manifest.input, networks.frames(name, 2, seed=5))
    before = torch_outputs(module, x)[0]
    for slot, value in networks.moved(bundle, share=0.1).items():
        with branched(module, bundle.manifest.slots, {**base, slot: value}, border=border) as changed:
            expected = torch_outputs(changed, x)[0]
        close(Runner(bundle.fast_model(artifact, {slot: value})).run(x)["logits"], expected)
        if not slot.endswith(".down"):  # without `up`, which is zero, `down` moves nothing
            assert np.abs(expected - before).max() > 1e-4, slot


def both_graphs(bundle: Bundle, values: Values, x: FloatArray) -> list[dict[str, FloatArray]]:
    artifact = bundle.artifact("onnxruntime")
    return [Runner(model(artifact, values)).run(x) for model in (bundle.fast_model, bundle.probe_model)]
