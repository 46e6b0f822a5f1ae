"""What people's torch models and checkpoints are like: each compiles, or is told why not."""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from edgeadapt.bundle import InputSpec
from edgeadapt.errors import CompileError
from edgeadapt_models.compile import tiny_images, tiny_module
from edgeadapt_models.compile.compiler import Compilation, compile_draft, parity_inputs
from edgeadapt_models.compile.runtime import Runner, to_input
from edgeadapt_models.compile.source.factory import load_weights
from edgeadapt_models.compile.source.frames import Frames
from edgeadapt_models.compile.source.modules import draft_module, module_classes
from edgeadapt_models.compile.source.program import draft_program
from edgeadapt_models.compile.tiny import CLASSES, TinyNet

SPEC = InputSpec((1, 28, 28))
Saved = dict[str, Tensor]


class Probabilities(TinyNet):
    """Ends as many published models do."""

    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]
        """[N, 10], positive, of sum 1."""
        return super().forward(x)[0].softmax(dim=1)


class Encoder(nn.Module):
    """torch's own transformer layers, which run as one kernel when they do not train."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(1, 8, 7, 7)
        layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, norm_first=True)
        self.encoder = nn.TransformerEncoder(layer, 1, enable_nested_tensor=False)
        self.head = nn.Linear(8, 10)

    def forward(self, x: Tensor) -> Tensor:
        """Logits [N, 10]."""
        tokens = self.patches(x).flatten(2).transpose(1, 2)
        logits: Tensor = self.head(self.encoder(tokens).mean(dim=1))
        return logits


class Wrapped(nn.Module):
    """Names of its own that begin like those of DataParallel."""

    def __init__(self) -> None:
        super().__init__()
        self.module = TinyNet("batch")


def probabilities() -> Probabilities:
    module = Probabilities("batch")
    module.load_state_dict(tiny_module(0).state_dict())
    return module.eval()


def compiled(module: nn.Module, out: Path, *, program: bool = False, moved: int = 0) -> Compilation:
    """With the right labels, or those of other classes."""
    images, labels = tiny_images(40, seed=1)
    data = Frames(images, (labels + moved) % 10)
    x = parity_inputs(SPEC, data)
    if program:
        captured = torch.export.export(module, (torch.from_numpy(x[:1]),))
        draft = draft_program(captured, SPEC, x, classes=10)
    else:
        draft = draft_module(module, SPEC, x, classes=10)
    return compile_draft(draft, name="own", classes=CLASSES, data=data, out=out)


@pytest.mark.parametrize("program", [False, True])
def test_a_softmax_at_the_end_is_taken_off(program: bool, tmp_path: Path) -> None:
    module = probabilities()
    x = to_input(tiny_images(4, seed=9)[0])
    compilation = compiled(module, tmp_path / "b", program=program)
    with torch.no_grad():
        expected = tiny_module(0)(torch.from_numpy(x))[0].numpy()
    bundle = compilation.bundle
    found = Runner(bundle.fast_model(bundle.artifact("onnxruntime"), {})).run(x)["logits"]
    centred = [logits - logits.mean(axis=1, keepdims=True) for logits in (found, expected)]
    np.testing.assert_allclose(centred[0], centred[1], atol=1e-3)
    assert "Softmax at the end taken off" in compilation.notes
    assert {"torch"} <= {figure.against for figure in compilation.parity if figure.values == "patch"}


def test_what_the_model_gets_right_is_told(tmp_path: Path) -> None:
    right = compiled(tiny_module(0), tmp_path / "right").notes[-1]
    assert right.startswith("the model is right on ")
    assert "guessing" not in right
    wrong = compiled(tiny_module(0), tmp_path / "wrong", moved=3).notes[-1]
    assert "no better than guessing: check how it is prepared (images: --mean" in wrong


def test_a_program_in_training_mode(tmp_path: Path) -> None:
    with pytest.raises(CompileError, match=r"training mode \(.*call module\.eval\(\)"):
        compiled(tiny_module(0).train(), tmp_path / "b", program=True)


def test_instance_norm_of_a_program_does_not_train(tmp_path: Path) -> None:
    module = tiny_module(0)
    module.add_module("norm2", nn.InstanceNorm2d(module.conv2.out_channels, affine=True))
    compilation = compiled(module.eval(), tmp_path / "b", program=True)
    assert [layer.kind for layer in compilation.bundle.manifest.norm_layers] == ["batch", "instance"]


def test_transformer_layers_of_torch(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    bundle = compiled(Encoder().eval(), tmp_path / "b").bundle
    names = [layer.name for layer in bundle.manifest.norm_layers]
    assert names == ["encoder.layers.0.norm1", "encoder.layers.0.norm2"]
    assert capfd.readouterr().out == ""  # the exporter prints graphs when it meets that kernel


def test_half_precision_is_told_first() -> None:
    with pytest.raises(CompileError, match=r"torch\.float16; float32 is needed: call \.float\(\)"):
        module_classes(tiny_module(0).half(), np.zeros((2, 1, 28, 28), np.float32))


def _renamed(*prefixes: str) -> Callable[[Saved], object]:
    before = "".join(f"{prefix}." for prefix in prefixes)
    return lambda state: {f"{before}{name}": value for name, value in state.items()}


@pytest.mark.parametrize(
    "saved",
    [
        _renamed("module"),
        _renamed("_orig_mod", "module"),
        _renamed("module", "_orig_mod"),
        lambda state: {"state_dict": _renamed("model")(state), "epoch": 3},
    ],
)
def test_prefixes_of_wrappers(saved: Callable[[Saved], object], tmp_path: Path) -> None:
    trained, module = tiny_module(0), TinyNet("batch")
    torch.save(saved(trained.state_dict()), tmp_path / "state.pt")
    assert any("taken off" in note for note in load_weights(module, tmp_path / "state.pt"))
    assert torch.equal(module.conv1.weight, trained.conv1.weight)


def test_a_prefix_that_is_the_module_s_own_stays(tmp_path: Path) -> None:
    trained, module = tiny_module(0), Wrapped()
    torch.save(_renamed("module")(trained.state_dict()), tmp_path / "state.pt")
    assert load_weights(module, tmp_path / "state.pt") == ()
    assert torch.equal(module.module.conv1.weight, trained.conv1.weight)


def test_files_that_are_no_weights(tmp_path: Path) -> None:
    torch.save(tiny_module(0), tmp_path / "whole.pt")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.jit.save(torch.jit.script(nn.Linear(2, 2)), tmp_path / "script.pt")
    (tmp_path / "hello.pt").write_bytes(b"hello" * 100)  # reads as a pickle that asks for what is not there
    (tmp_path / "empty.pt").write_bytes(b"")
    (tmp_path / "list.pt").write_bytes(pickle.dumps([1, 2, 3]))
    for name, message in {
        "whole.pt": r"more than tensors \(a edgeadapt_models\..*\.TinyNet\).*model\.state_dict\(\) instead$",
        "script.pt": "TorchScript: save",
        "hello.pt": "cannot be read as weights, or is cut short",
        "empty.pt": "cannot be read as weights, or is cut short",
        "list.pt": "list.pt",
    }.items():
        with pytest.raises(CompileError, match=message):
            load_weights(TinyNet("batch"), tmp_path / name)
