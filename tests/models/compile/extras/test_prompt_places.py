"""Where a prompt joins a model: merged into whatever it adds to its input, else one Add behind the input."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor, nn

from edgeadapt.bundle import Bundle, InputSpec
from edgeadapt.bundle.writes import Prompt
from edgeadapt.errors import CompileError
from edgeadapt_models.compile.compiler import compile_module
from edgeadapt_models.compile.extras.request import ExtrasRequest, parse_prompt
from edgeadapt_models.compile.runtime import Runner, frames_to_input
from edgeadapt_models.compile.source.frames import Frames
from tests.models.compile.extras import networks
from tests.models.compile.extras.reference import branched
from tests.models.compile.extras.test_parity import both_graphs, close, torch_outputs

SHAPE = (3, 12, 10)


class Small(nn.Module):
    """A convolution with a norm layer behind whatever `enter` does to the input."""

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(4)
            self.conv = nn.Conv2d(3, 6, 3, padding=1)
            self.norm = nn.BatchNorm2d(6)
            self.head = nn.Linear(6, 4)
            self.picture = nn.Parameter(torch.rand(1, *SHAPE))
            self.entry = nn.BatchNorm2d(3)

    def enter(self, x: Tensor) -> Tensor:
        return x

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        embedding = self.norm(self.conv(self.enter(x))).relu().mean(dim=(2, 3))
        return self.head(embedding), embedding


class Last(Small):
    """Mean and deviation with the channels last, as TensorFlow's exporters leave them."""

    def enter(self, x: Tensor) -> Tensor:
        mean, std = torch.tensor([0.4, 0.5, 0.6]), torch.tensor([0.2, 0.25, 0.3])
        return ((x.permute(0, 2, 3, 1) - mean) / std).permute(0, 3, 1, 2)


class Symmetric(Small):
    """To [-1, 1], with numbers rather than vectors."""

    def enter(self, x: Tensor) -> Tensor:
        return x * 2.0 - 1.0


class Negative(Small):
    """The input is subtracted."""

    def enter(self, x: Tensor) -> Tensor:
        return 1.0 - x / 0.5


class MeanPicture(Small):
    """What is added varies over pixels already."""

    def enter(self, x: Tensor) -> Tensor:
        return x - self.picture


class Twice(Small):
    """Read in two places: a sum would reach one of them."""

    def enter(self, x: Tensor) -> Tensor:
        return (x - 0.5) + x.flip(2)


class Scaled(Small):
    """Nothing is added."""

    def enter(self, x: Tensor) -> Tensor:
        return x * 3.0


class NormFirst(Small):
    """A norm layer on the input itself."""

    def enter(self, x: Tensor) -> Tensor:
        result: Tensor = self.entry(x)
        return result


MERGED = (Last, Symmetric, Negative, MeanPicture)
ADDED = (Small, Twice, Scaled, NormFirst)


def pictures(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, 12, 10, 3), dtype=np.uint8)


def compiled(module: nn.Module, prompt: str, out: Path) -> Bundle:
    return compile_module(
        module.eval(),
        name="small",
        classes=["a", "b", "c", "d"],
        spec=InputSpec(SHAPE),
        data=Frames(pictures(8)),
        out=out,
        extras=ExtrasRequest(parse_prompt(prompt), head=False),
    ).bundle


def nodes(bundle: Bundle) -> int:
    return len(onnx.load_from_string(bundle.files["model.onnx"]).graph.node)


@pytest.mark.parametrize("kind", [*MERGED, *ADDED])
@pytest.mark.parametrize("prompt", ["full", "border:2", "low:3x2"])
def test_a_prompt_is_what_torch_adds(kind: type[Small], prompt: str, tmp_path: Path) -> None:
    module = kind()
    bundle = compiled(module, prompt, tmp_path / "b")
    x = frames_to_input(bundle.manifest.input, pictures(3, seed=2))
    values = networks.moved(bundle, share=0.2)
    border = 2 if prompt.startswith("border") else 0
    with branched(module, bundle.manifest.slots, values, border=border) as changed:
        expected = torch_outputs(changed, x)
    assert np.abs(expected[0] - torch_outputs(module, x)[0]).max() > 1e-3
    for outputs in both_graphs(bundle, values, x):
        close(outputs["logits"], expected[0])


@pytest.mark.parametrize("kind", MERGED)
def test_what_is_added_anyway_takes_the_prompt(kind: type[Small], tmp_path: Path) -> None:
    plain = compile_module(
        kind().eval(),
        name="small",
        classes=["a", "b", "c", "d"],
        spec=InputSpec(SHAPE),
        data=Frames(pictures(8)),
        out=tmp_path / "a",
        extras=ExtrasRequest(head=False),
    ).bundle
    bundle = compiled(kind(), "full", tmp_path / "b")
    assert nodes(bundle) == nodes(plain)
    (write,) = (w for w in bundle.artifact("onnxruntime").writes if isinstance(w, Prompt))
    assert write.layout == ("NHWC" if kind is Last else "NCHW")


def test_a_norm_layer_on_the_input_is_measured_with_the_prompt_and_the_signature_without(
    tmp_path: Path,
) -> None:
    bundle = compiled(NormFirst(), "full", tmp_path / "b")
    x = frames_to_input(bundle.manifest.input, pictures(3, seed=2))
    prompt = np.linspace(0, 1, 360, dtype=np.float32).reshape(SHAPE)
    model = bundle.probe_model(bundle.artifact("onnxruntime"), {"input_prompt": prompt})
    mean = Runner(model).run(x)["probe_mean"]
    close(mean[:, :3], (x + prompt).mean(axis=(2, 3)))
    close(mean[:, bundle.manifest.signature_offset :], x.mean(axis=(2, 3)))


@pytest.mark.parametrize(("prompt", "words"), [("border:6", "at most 5"), ("low:13", "finer than the input")])
def test_a_prompt_that_does_not_fit_is_refused(prompt: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(CompileError, match=words):
        compiled(Small(), prompt, tmp_path / "b")
