"""The parity check lets a right graph pass and refuses wrong offsets and wrong weights, with the numbers."""

from __future__ import annotations

import msgspec
import pytest
import torch

from edgeadapt.bundle import Artifact, Bundle, Copy
from edgeadapt.errors import CompileError
from edgeadapt_models.compile import ParityFigure, tiny_images, tiny_module
from edgeadapt_models.compile.graph.norms import find_norm_sites, read_values, record_norm_inputs
from edgeadapt_models.compile.parity import TOLERANCE, check_parity
from edgeadapt_models.compile.runtime import to_input
from edgeadapt_models.compile.tiny import TinyNet


def check(module: TinyNet, bundle: Bundle, artifact: Artifact) -> tuple[ParityFigure, ...]:
    x = to_input(tiny_images(4, seed=2)[0])
    sites = find_norm_sites(module, record_norm_inputs(module, torch.from_numpy(x))[1])
    return check_parity(
        module, sites, read_values(module, sites), bundle.files, artifact, bundle.manifest.norm_layers, x
    )


def test_a_right_graph_passes(bundles: dict[str, Bundle]) -> None:
    figures = check(tiny_module(0), bundles["batch"], bundles["batch"].artifact("onnxruntime"))
    assert len(figures) == 12
    assert {(figure.values, figure.graph) for figure in figures} == {
        ("base", "fast"),
        ("base", "probe"),
        ("patch", "fast"),
        ("patch", "probe"),
    }
    assert max(figure.difference for figure in figures) <= TOLERANCE


def test_swapped_offsets_show_under_a_patch(bundles: dict[str, Bundle]) -> None:
    artifact = bundles["batch"].artifact("onnxruntime")
    first, second, *others = artifact.writes
    assert isinstance(first, Copy)
    assert isinstance(second, Copy)
    swapped = (
        msgspec.structs.replace(first, slot=second.slot),
        msgspec.structs.replace(second, slot=first.slot),
        *others,
    )
    with pytest.raises(CompileError, match=r"patch/fast/logits [\d.e+]+") as caught:
        check(tiny_module(0), bundles["batch"], msgspec.structs.replace(artifact, writes=swapped))
    assert "base/" not in str(caught.value)


def test_other_weights_show(bundles: dict[str, Bundle]) -> None:
    module = tiny_module(0)
    with torch.no_grad():
        module.conv1.weight.mul_(1 + 2e-3)
    with pytest.raises(CompileError, match="base/probe/probe_mean_square"):
        check(module, bundles["batch"], bundles["batch"].artifact("onnxruntime"))


def test_nan_is_a_difference(bundles: dict[str, Bundle]) -> None:
    module = tiny_module(0)
    with torch.no_grad():
        module.head.bias[0] = float("nan")
    with pytest.raises(CompileError, match="base/fast/logits nan"):
        check(module, bundles["batch"], bundles["batch"].artifact("onnxruntime"))
