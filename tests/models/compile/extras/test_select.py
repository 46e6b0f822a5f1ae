"""Which layers `last-stage`, `all` and patterns mean."""

from __future__ import annotations

import pytest
from onnx import helper

from edgeadapt.errors import CompileError
from edgeadapt_models.compile.analyse.view import GraphView
from edgeadapt_models.compile.extras.select import Candidate, choose, layer_name


def names(candidates: list[Candidate], where: str) -> list[str]:
    return [candidate.name for candidate in choose(candidates, where, "convolution")]


MAPS = [
    Candidate("stem", "a", (2, 8, 32, 32)),
    Candidate("layer1.conv", "b", (2, 8, 16, 16)),
    Candidate("layer2.conv", "c", (2, 16, 8, 8)),
    Candidate("layer2.down", "d", (2, 16, 8, 8)),
    Candidate("gate", "e", (2, 4, 1, 1)),
]


def test_the_last_stage_is_the_last_resolution_before_pooling() -> None:
    assert names(MAPS, "last-stage") == ["layer2.conv", "layer2.down"]


def test_a_transformers_last_stage_is_its_last_quarter() -> None:
    tokens = [Candidate(f"blocks.{i}", f"t{i}", (2, 50, 64), channels_last=True) for i in range(8)]
    assert names(tokens, "last-stage") == ["blocks.6", "blocks.7"]
    assert names(tokens[:1], "last-stage") == ["blocks.0"]


def test_patterns_and_all() -> None:
    assert names(MAPS, "all") == [candidate.name for candidate in MAPS]
    assert names(MAPS, "layer2.*") == ["layer2.conv", "layer2.down"]


def test_nothing_that_fits_lists_what_there_is() -> None:
    with pytest.raises(CompileError, match=r"no convolution for 'layer9'; .* there are: stem, layer1\.conv"):
        choose(MAPS, "layer9", "convolution")
    with pytest.raises(CompileError, match="there are: none"):
        choose([], "last-stage", "convolution")


@pytest.mark.parametrize(
    ("weight", "node", "wanted"),
    [
        ("layer1.0.conv1.weight", "/layer1/layer1.0/conv1/Conv", "layer1.0.conv1"),
        ("onnx::MatMul_371", "/blocks/blocks.0/attn/qkv/MatMul", "blocks.0.attn.qkv"),
        ("val_12", "node_linear_3", "node_linear_3"),
        ("W", "", "y"),
    ],
)
def test_layers_are_called_as_in_the_module_tree(weight: str, node: str, wanted: str) -> None:
    made = helper.make_node("MatMul", ["x", weight], ["y"], name=node)
    held = helper.make_tensor(weight, 1, [1, 1], [1.0])
    graph = helper.make_graph([made], "g", [], [], [held])
    assert layer_name(GraphView(graph, {}), made) == wanted
