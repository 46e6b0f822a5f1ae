"""Learnt tokens: shut they are not there at all, open they are what VPT puts beside those of the image."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor, nn

from edgeadapt.bundle import Bundle
from edgeadapt.errors import CompileError
from edgeadapt.tensors import FloatArray
from edgeadapt_models.compile.own import OwnModel, compile_own
from edgeadapt_models.compile.runtime import Runner, frames_to_input
from edgeadapt_models.compile.source.onnx_file import Chosen
from edgeadapt_models.zoo.structures.deit import VisionTransformer
from tests.models.compile.extras import networks
from tests.models.compile.extras.test_parity import both_graphs, close, torch_outputs

COUNT = 3


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    request = networks.wanted("", f"tokens:{COUNT}")
    return networks.compiled("deit_tiny", request, tmp_path_factory.mktemp("tokens") / "b")


@pytest.fixture(scope="module")
def module() -> VisionTransformer:
    found = networks.network("deit_tiny")[0]
    assert isinstance(found, VisionTransformer)
    return found


@pytest.fixture(scope="module")
def x(bundle: Bundle) -> FloatArray:
    return frames_to_input(bundle.manifest.input, networks.frames("deit_tiny", 4, seed=5))


def with_tokens(module: VisionTransformer, x: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
    """VPT-shallow around DeiT: the class token and the image's as they are, the learnt ones behind them."""
    patches = module.patch_embed(x).flatten(2).transpose(1, 2)
    tokens = torch.cat([module.cls_token.expand(len(x), -1, -1), patches], dim=1) + module.pos_embed
    longer = torch.cat([tokens, values.expand(len(x), -1, -1)], dim=1)
    embedding = module.norm(module.blocks(longer))[:, 0]
    return module.head(embedding), embedding


def test_shut_tokens_change_nothing(bundle: Bundle, module: VisionTransformer, x: FloatArray) -> None:
    """Whatever their values: only a gate lets them in."""
    expected = torch_outputs(module, x)
    rng = np.random.default_rng(2)
    value = rng.normal(0, 3, bundle.base_slots()["tokens.value"].shape).astype(np.float32)
    for values in ({}, {"tokens.value": value}):
        for outputs in both_graphs(bundle, values, x):
            close(outputs["logits"], expected[0])
            close(outputs["embedding"], expected[1])


@pytest.mark.parametrize("shut", [0, 2])
def test_open_tokens_are_vpts(bundle: Bundle, module: VisionTransformer, x: FloatArray, shut: int) -> None:
    """`shut` of them stay shut, and are then as if they were not there."""
    value = (
        np.random.default_rng(3).normal(0, 1, bundle.base_slots()["tokens.value"].shape).astype(np.float32)
    )
    gate = np.zeros(COUNT, np.float32)
    gate[COUNT - shut :] = bundle.base_slots()["tokens.gate"][0]
    with torch.no_grad():
        tokens = torch.from_numpy(value[: COUNT - shut])
        expected = [output.numpy() for output in with_tokens(module, torch.from_numpy(x), tokens)]
    assert np.abs(expected[0] - torch_outputs(module, x)[0]).max() > 0.05
    for outputs in both_graphs(bundle, {"tokens.value": value, "tokens.gate": gate}, x):
        close(outputs["logits"], expected[0])
        close(outputs["embedding"], expected[1])


def open_tokens(bundle: Bundle) -> tuple[dict[str, FloatArray], Tensor]:
    """Slot values that let tokens in, and the tokens."""
    value = np.random.default_rng(4).normal(0, 1, bundle.base_slots()["tokens.value"].shape)
    values = {"tokens.value": value.astype(np.float32), "tokens.gate": np.zeros(COUNT, np.float32)}
    return values, torch.from_numpy(values["tokens.value"])


def test_numbers_of_tokens_that_an_exporter_wrote_in(
    module: VisionTransformer, x: FloatArray, tmp_path: Path
) -> None:
    """Every reshape of a file for one image has them."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(module, (torch.from_numpy(x[:1]),), tmp_path / "m.onnx", dynamo=False)
    np.save(tmp_path / "x.npy", networks.frames("deit_tiny", 4, seed=5))
    own = OwnModel(
        tmp_path / "x.npy",
        onnx=tmp_path / "m.onnx",
        chosen=Chosen(logits=onnx.load(tmp_path / "m.onnx").graph.output[0].name),
        extras=networks.wanted("", f"tokens:{COUNT}"),
    )
    bundle = compile_own(own, tmp_path / "b").bundle
    values, tokens = open_tokens(bundle)
    with torch.no_grad():
        expected = with_tokens(module, torch.from_numpy(x), tokens)[0].numpy()
    for outputs in both_graphs(bundle, values, x):
        close(outputs["logits"], expected)


class Encoder(nn.Module):
    """torch's own layers: heads and batch share an axis, of a size that is computed from both."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 8, 8, 8)
        layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, norm_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.norm = nn.LayerNorm(8)
        self.head = nn.Linear(8, 10)

    def forward(self, x: Tensor, learnt: Tensor | None = None) -> Tensor:
        """Logits [N, 10]; `learnt` tokens are beside those of the image."""
        tokens = self.patches(x).flatten(2).transpose(1, 2)
        longer = tokens if learnt is None else torch.cat([tokens, learnt.expand(len(x), -1, -1)], dim=1)
        logits: Tensor = self.head(self.norm(self.encoder(longer)[:, : tokens.shape[1]]).mean(dim=1))
        return logits


def test_numbers_of_tokens_that_are_factors(x: FloatArray, tmp_path: Path) -> None:
    torch.manual_seed(0)
    module = Encoder().eval()
    request = networks.wanted("", f"tokens:{COUNT}")
    bundle = networks.compiled("deit_tiny", request, tmp_path / "b", module=module)
    values, tokens = open_tokens(bundle)
    with torch.no_grad():
        expected = module(torch.from_numpy(x), tokens).numpy()
    for outputs in both_graphs(bundle, values, x):
        close(outputs["logits"], expected)


def test_norm_layers_are_measured_on_the_image_alone(
    bundle: Bundle, module: VisionTransformer, x: FloatArray
) -> None:
    """The signature among them: tokens that a patch brings are no change of the world."""
    seen: list[Tensor] = []
    norms = [layer for layer in module.modules() if isinstance(layer, nn.LayerNorm)]
    handles = [n.register_forward_pre_hook(lambda _, args: seen.append(args[0])) for n in norms]
    torch_outputs(module, x)
    for handle in handles:
        handle.remove()
    expected = np.concatenate([t.detach().numpy().mean(axis=1) for t in seen], axis=1)
    artifact = bundle.artifact("onnxruntime")
    shut = Runner(bundle.probe_model(artifact, {})).run(x)["probe_mean"]
    close(shut, expected)
    opened = Runner(bundle.probe_model(artifact, networks.moved(bundle, share=1.0))).run(x)["probe_mean"]
    first = bundle.manifest.norm_layers[0].channels
    close(opened[:, :first], expected[:, :first])
    assert np.abs(opened - shut).max() > 0.01


def test_a_convolutional_network_has_no_place_for_tokens(tmp_path: Path) -> None:
    with pytest.raises(CompileError, match=r"norm layers.*see tokens \[N, T, D\]"):
        networks.compiled("resnet18", networks.wanted("", "tokens:4"), tmp_path / "b")
