"""`edgeadapt model compile` on one's own model, from each kind of source, as a person would call it."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

import click
import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from click.testing import CliRunner
from PIL import Image
from safetensors.torch import save_file
from torch import nn

from edgeadapt.bundle import Bundle, read_folder
from edgeadapt.errors import CompileError
from edgeadapt_models.cli import group
from edgeadapt_models.compile import tiny_images, tiny_module
from edgeadapt_models.compile.runtime import to_input
from edgeadapt_models.compile.source.factory import load_program, load_weights, make_module
from edgeadapt_models.compile.tiny import CLASSES, TinyNet

FACTORY = """
from torch import nn
from edgeadapt_models.compile.tiny import TinyNet

class LogitsOnly(TinyNet):
    def forward(self, x):
        return super().forward(x)[0]

def build():
    return LogitsOnly("batch")

def broken():
    raise RuntimeError("out of memory, say")

def number():
    return 7
"""


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The gratings as PNGs in folders named after their classes."""
    folder = tmp_path_factory.mktemp("own") / "pictures"
    images, labels = tiny_images(60, seed=1)
    for index, (image, label) in enumerate(zip(images, labels, strict=True)):
        target = folder / CLASSES[label]
        target.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image[..., 0]).save(target / f"{index:03}.png")
    return folder


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A working directory with a module of somebody's own in it."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "theirnets.py").write_text(FACTORY)
    yield tmp_path
    sys.modules.pop("theirnets", None)


def call(*arguments: str | Path) -> str:
    result = CliRunner().invoke(group, [str(argument) for argument in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def check(bundle: Bundle, module: TinyNet, *, statistics: bool = True) -> None:
    """The bundle says what the module says, and its norm layers are all there."""
    images, _ = tiny_images(4, seed=9)
    x = to_input(images)
    with torch.no_grad():
        logits, embedding = module(torch.from_numpy(x))
    session = onnxruntime.InferenceSession(bundle.fast_model(bundle.artifact("onnxruntime"), {}))
    outputs = session.run(["logits", "embedding"], {"input": x})
    np.testing.assert_allclose(outputs[0], logits.numpy(), atol=1e-3)
    np.testing.assert_allclose(outputs[1], embedding.numpy(), atol=1e-4)
    assert [layer.name for layer in bundle.manifest.norm_layers] == ["norm1", "norm2"]
    assert bundle.manifest.has_statistics == statistics


def export(module: nn.Module, path: Path) -> None:
    """As somebody exports a model: with a batch of one and folded constants."""
    torch.onnx.export(
        module,
        (torch.rand(1, 1, 28, 28),),
        path,
        dynamo=False,
        opset_version=14,
        output_names=["scores", "e"],
    )


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_an_onnx_file_and_a_folder_of_pictures(tmp_path: Path, pictures: Path) -> None:
    module = tiny_module(0, "layer")
    export(module, tmp_path / "tiny.onnx")
    out = tmp_path / "bundle"
    text = call("compile", "--onnx", tmp_path / "tiny.onnx", "--calibration", pictures, "--out", out)
    bundle = read_folder(out)
    assert bundle.manifest.name == "tiny"
    assert bundle.manifest.classes == CLASSES  # the sub-folders, which are as many as the logits
    assert [layer.kind for layer in bundle.manifest.norm_layers] == ["layer", "layer"]
    for words in (
        "found as",
        "head",
        "embedding",
        "the given file",
        "note: class names are those of the sub-fo",
    ):
        assert words in text
    images, labels = tiny_images(60, seed=1)
    with torch.no_grad():
        _, embedding = module(torch.from_numpy(to_input(images)))
    third = embedding.numpy()[labels == 3].mean(axis=0)
    np.testing.assert_allclose(bundle.calibration.prototypes[3], third, rtol=1e-3, atol=1e-4)


def test_a_file_of_torchs_newer_exporter(tmp_path: Path, pictures: Path) -> None:
    """It folds BatchNorm away: the convolutions are the layers, with statistics measured on the pictures."""
    module, path = tiny_module(0), tmp_path / "tiny.onnx"
    example, open_batch = torch.rand(2, 1, 28, 28), ({0: torch.export.Dim("n")},)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module,
            (example,),
            path,
            dynamo=True,
            dynamic_shapes=open_batch,
            external_data=True,
            verbose=False,
        )
    out = tmp_path / "bundle"
    call("compile", "--onnx", path, "--calibration", pictures, "--out", out, "--target", "onnx,tflite")
    bundle = read_folder(out)
    layers = bundle.manifest.norm_layers
    assert [(layer.kind, layer.name) for layer in layers] == [("channel", "conv1"), ("channel", "conv2")]
    images, _ = tiny_images(60, seed=1)
    with torch.no_grad():
        raw = module.norm1(module.conv1(torch.from_numpy(to_input(images)))).numpy()
        expected, _ = module(torch.from_numpy(to_input(images[:4])))
    mean = bundle.base_slots()[layers[0].mean]
    np.testing.assert_allclose(mean, raw.mean(axis=(0, 2, 3)), rtol=1e-3, atol=1e-4)
    session = onnxruntime.InferenceSession(bundle.fast_model(bundle.artifact("onnxruntime"), {}))
    logits = session.run(["logits"], {"input": to_input(images[:4])})[0]
    np.testing.assert_allclose(logits, expected.numpy(), atol=1e-3)


def test_a_factory_with_weights(package: Path, pictures: Path) -> None:
    module = tiny_module(0)
    state = {f"module.{name}": value for name, value in module.state_dict().items()}
    torch.save({"epoch": 3, "state_dict": state}, package / "state.pt")
    arguments = ("--torch", "theirnets:build", "--weights", package / "state.pt", "--input-shape", "1,28,28")
    text = call(
        "compile", *arguments, "--calibration", pictures, "--out", package / "b", "--name", "gratings"
    )
    assert "under 'state_dict'" in text
    assert "'module.' taken off" in text
    bundle = read_folder(package / "b")
    assert bundle.manifest.name == "gratings"
    check(bundle, module)


def test_a_program(tmp_path: Path, pictures: Path) -> None:
    module = tiny_module(0)
    program = torch.export.export(module, (torch.rand(1, 1, 28, 28),))
    torch.export.save(program, tmp_path / "tiny.pt2")
    classes = ",".join(CLASSES)
    call(
        *("compile", "--program", tmp_path / "tiny.pt2", "--calibration", pictures, "--out", tmp_path / "b"),
        *("--classes", classes),
    )
    check(read_folder(tmp_path / "b"), module)


def test_unlabelled_arrays_and_other_artifacts(package: Path) -> None:
    images, _ = tiny_images(40, seed=1)
    np.save(package / "frames.npy", images)
    torch.save(tiny_module(0).state_dict(), package / "state.pt")
    text = call(
        *("compile", "--torch", "theirnets:build", "--weights", package / "state.pt"),
        *(
            "--calibration",
            package / "frames.npy",
            "--out",
            package / "b",
            "--target",
            "onnx,tflite",
            "--int8",
        ),
    )
    bundle = read_folder(package / "b")
    titles = {artifact.title for artifact in bundle.manifest.artifacts}
    assert titles == {"onnxruntime float32", "onnxruntime int8", "tflite float32", "tflite int8"}
    assert "prototypes of 10 of 10 classes are from the model's own predictions" in text
    assert "8 bits against float" in text
    check(bundle, tiny_module(0))
    inspected = call("inspect", package / "b")
    for title in titles:
        assert f"{title}: probe graph gives" in inspected


def test_prompts_and_adapters(package: Path, pictures: Path) -> None:
    torch.save(tiny_module(0).state_dict(), package / "state.pt")
    text = call(
        *("compile", "--torch", "theirnets:build", "--weights", package / "state.pt", "--out", package / "b"),
        *(
            "--input-shape",
            "1,28,28",
            "--calibration",
            pictures,
            "--prompt",
            "border:2",
            "--adapters",
            "conv:all",
        ),
    )
    kinds = {slot.kind for slot in read_folder(package / "b").manifest.slots}
    assert {"input_prompt", "conv_adapter"} <= kinds
    assert "every slot" in text


def test_extract_writes_a_model_that_runs_by_itself(tmp_path: Path, batch_folder: Path) -> None:
    text = call("extract", batch_folder, "--out", tmp_path / "deep" / "m.onnx", "--probe")
    model = onnx.load(tmp_path / "deep" / "m.onnx")
    assert len(model.graph.output) == 4
    session = onnxruntime.InferenceSession(str(tmp_path / "deep" / "m.onnx"))
    images, _ = tiny_images(4, seed=9)
    with torch.no_grad():
        expected = tiny_module(0)(torch.from_numpy(to_input(images)))[0].numpy()
    np.testing.assert_allclose(session.run(["logits"], {"input": to_input(images)})[0], expected, atol=1e-3)
    assert "onnxruntime float32" in text
    with pytest.raises(Exception, match="no artifact for onnxruntime int8"):
        call("extract", batch_folder, "--out", tmp_path / "x.onnx", "--precision", "int8")


def test_a_folder_of_other_things_is_told_before_the_work(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "one.jpg").touch()
    folder = str(tmp_path / "photos")
    command = ["compile", "--torch", "no.such:module", "--calibration", folder, "--out", folder]
    with pytest.raises(CompileError, match="is no bundle; name another folder"):
        CliRunner().invoke(group, command, catch_exceptions=False)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "name a network of the zoo, or give one of"),
        (("fashion-mnist/resnet8", "--torch", "a:b"), "name a network of the zoo, or give one of"),
        (("--torch", "a:b"), "give source data for your model"),
        (("fashion-mnist/resnet8", "--calibration", "."), "--calibration: for your own model"),
        (
            ("fashion-mnist/resnet8", "--mean", "0.5", "--layout", "NHWC"),
            "--mean, --layout: for your own model",
        ),
        (("fashion-mnist/resnet8", "--folded-layers", "always"), "--folded-layers: for your own model"),
        (("--torch", "a:b", "--calibration", ".", "--embedding", "pool"), "--embedding: for --onnx"),
        (("--torch", "a:b", "--calibration", ".", "--root", "."), "--root: for a network of the zoo"),
        (("--torch", "a:b", "--target", "coreml", "--calibration", "."), "expected onnx, tflite"),
        (("--torch", "a:b", "--mean", "0.5;0.5", "--calibration", "."), "numbers with commas"),
        (("--torch", "a:b", "--input-shape", "3x4", "--calibration", "."), "whole numbers with commas"),
    ],
)
def test_what_does_not_go_together(arguments: tuple[str, ...], message: str, tmp_path: Path) -> None:
    result = CliRunner().invoke(group, ["compile", *arguments, "--out", str(tmp_path / "b")])
    assert result.exit_code == click.UsageError.exit_code
    assert message in " ".join(result.output.split())


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("theirnets", r"expected package\.module:factory"),
        ("nowhere:build", "ModuleNotFoundError"),
        ("theirnets:absent", "AttributeError"),
        ("theirnets:broken", "RuntimeError: out of memory, say"),
        ("theirnets:number", "returned int, not a torch module"),
    ],
)
def test_factories_that_make_no_module(target: str, message: str, package: Path) -> None:
    with pytest.raises(CompileError, match=message):
        make_module(target, folder=package)


def test_weights(tmp_path: Path) -> None:
    module, trained = TinyNet("batch"), tiny_module(0)
    save_file(trained.state_dict(), tmp_path / "state.safetensors")
    assert load_weights(module, tmp_path / "state.safetensors") == ()
    assert torch.equal(module.conv1.weight, trained.conv1.weight)
    torch.save(trained, tmp_path / "whole.pt")
    torch.save([1, 2], tmp_path / "list.pt")
    torch.save(nn.Linear(2, 2).state_dict(), tmp_path / "other.pt")
    torch.save({**trained.state_dict(), "head.weight": torch.zeros(3, 3)}, tmp_path / "size.pt")
    (tmp_path / "noise.pt").write_bytes(b"no weights")
    (tmp_path / "noise.safetensors").write_bytes(b"no weights")
    for name, message in {
        "whole.pt": r"would run code: save model\.state_dict\(\)",
        "list.pt": "holds no state dict",
        "other.pt": r"missing .*conv1\.weight.*not in the module weight, bias",
        "size.pt": "size mismatch",
        "noise.pt": "noise.pt",
        "noise.safetensors": "cannot be read as weights",
        "absent.pt": "cannot be read as weights",
    }.items():
        with pytest.raises(CompileError, match=f"(?s){message}"):
            load_weights(TinyNet("batch"), tmp_path / name)


def test_a_file_that_is_no_program(tmp_path: Path) -> None:
    (tmp_path / "noise.pt2").write_bytes(b"no program")
    with pytest.raises(CompileError, match=r"is no exported program.*torch\.export\.save"):
        load_program(tmp_path / "noise.pt2")
