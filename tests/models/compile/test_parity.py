"""The parity check lets a right graph pass and refuses wrong offsets and wrong weights, with the numbers."""

from __future__ import annotations

import msgspec
import pytest
import torch

from edgeadapt.bundle import Artifact, Bundle, Copy
from edgeadapt.errors import CompileError
from edgeadapt_models.compile import ParityFigure, tiny_images, tiny_module
from edgeadapt_models.compile.parity import TOLERANCE, check_parity, random_patch, random_patches
from edgeadapt_models.compile.reference.torch_module import TorchReference
from edgeadapt_models.compile.runtime import to_input
from edgeadapt_models.compile.tiny import TinyNet


def check(module: TinyNet, bundle: Bundle, artifact: Artifact) -> tuple[ParityFigure, ...]:
    x = to_input(tiny_images(4, seed=2)[0])
    manifest = bundle.manifest
    reference = TorchReference(module, lambda batch: batch)
    return check_parity(
        artifact, bundle.files, manifest.norm_layers, manifest.slots, bundle.slots, (reference,), x
    )


def test_a_right_graph_passes(bundles: dict[str, Bundle]) -> None:
    figures = check(tiny_module(0), bundles["batch"], bundles["batch"].artifact("onnxruntime"))
    assert [(figure.values, figure.graph, figure.output) for figure in figures] == [
        (values, graph, output)
        for values in ("base", "patch")
        for graph in ("fast", "probe")
        for output in ("logits", "embedding")
    ]
    assert max(figure.difference for figure in figures) <= TOLERANCE


def test_the_patch_moves_every_slot_and_keeps_variances_positive(bundles: dict[str, Bundle]) -> None:
    bundle = bundles["batch"]
    patch = random_patch(bundle.manifest.slots, bundle.slots)
    norms = [slot for slot in bundle.manifest.slots if slot.kind.startswith("norm_")]
    assert patch.keys() == {slot.name for slot in norms}
    every = random_patches(bundle.manifest.slots, bundle.slots)["every slot"]
    assert every.keys() == bundle.slots.keys()
    assert all((every[name] != base).any() for name, base in bundle.slots.items())
    for slot in norms:
        assert (patch[slot.name] != bundle.slots[slot.name]).any()
        assert slot.kind != "norm_var" or patch[slot.name].min() > 0


def test_swapped_offsets_show_under_a_patch(bundles: dict[str, Bundle]) -> None:
    artifact = bundles["batch"].artifact("onnxruntime")
    other = {"norm1.weight": "norm1.bias", "norm1.bias": "norm1.weight"}
    swapped = tuple(
        msgspec.structs.replace(write, slot=other[write.slot])
        if isinstance(write, Copy) and write.slot in other
        else write
        for write in artifact.writes
    )
    with pytest.raises(CompileError, match=r"torch/patch/fast/logits [\d.e+]+") as caught:
        check(tiny_module(0), bundles["batch"], msgspec.structs.replace(artifact, writes=swapped))
    assert "base/" not in str(caught.value)


def test_other_weights_show(bundles: dict[str, Bundle]) -> None:
    module = tiny_module(0)
    with torch.no_grad():
        module.conv1.weight.mul_(1 + 5e-3)
    with pytest.raises(CompileError, match="torch/base/fast/embedding"):
        check(module, bundles["batch"], bundles["batch"].artifact("onnxruntime"))


def test_nan_is_a_difference(bundles: dict[str, Bundle]) -> None:
    module = tiny_module(0)
    with torch.no_grad():
        module.head.bias[0] = float("nan")
    with pytest.raises(CompileError, match="base/fast/logits nan"):
        check(module, bundles["batch"], bundles["batch"].artifact("onnxruntime"))
