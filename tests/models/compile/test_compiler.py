"""Compiled graphs equal torch for any slot values; what cannot be compiled is refused with what was found."""

from __future__ import annotations

import copy
import itertools
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import pytest
import torch
from torch import nn

from edgeadapt.bundle import Bundle, Copy, read_folder
from edgeadapt.bundle.writes import regions
from edgeadapt.errors import BundleError, CompileError
from edgeadapt_models.compile import compile_model, tiny_bundle, tiny_images, tiny_module
from tests.models.compile import modules

Norm = Literal["batch", "layer"]
NORMS: tuple[Norm, ...] = ("batch", "layer")


def run(model: bytes, x: npt.NDArray[np.float32]) -> dict[str, npt.NDArray[np.float32]]:
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, {"input": x}), strict=True))


def inputs(count: int = 6) -> npt.NDArray[np.float32]:
    images, _ = tiny_images(count, seed=7)
    return np.ascontiguousarray(images.transpose(0, 3, 1, 2), dtype=np.float32) / np.float32(255)


def disturbed(bundle: Bundle, seed: int) -> dict[str, npt.NDArray[np.float32]]:
    rng = np.random.default_rng(seed)
    values = {}
    for slot in bundle.manifest.slots:
        if slot.kind == "embedding_shift":  # no parameter of the module; see `extras`
            continue
        base = bundle.base_slots()[slot.name]
        noise = (
            rng.uniform(0.5, 1.5, base.shape) if slot.kind == "norm_var" else rng.normal(0, 0.3, base.shape)
        )
        values[slot.name] = (base * noise if slot.kind == "norm_var" else base + noise).astype(np.float32)
    return values


def patched(module: nn.Module, values: dict[str, npt.NDArray[np.float32]]) -> nn.Module:
    changed = copy.deepcopy(module).eval()
    state = {name: torch.from_numpy(value) for name, value in values.items()}
    assert not changed.load_state_dict(state, strict=False).unexpected_keys
    return changed


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("seed", [None, 1, 2])
def test_both_graphs_equal_torch(bundles: dict[str, Bundle], norm: Norm, seed: int | None) -> None:
    bundle, x = bundles[norm], inputs()
    values = {} if seed is None else disturbed(bundle, seed)
    with torch.no_grad():
        logits, embedding = patched(tiny_module(0, norm), values)(torch.from_numpy(x))
        base_logits, _ = tiny_module(0, norm)(torch.from_numpy(x))
    assert (seed is None) == bool(torch.allclose(logits, base_logits, atol=1e-2))
    for model in (
        bundle.fast_model(bundle.artifact("onnxruntime"), values),
        bundle.probe_model(bundle.artifact("onnxruntime"), values),
    ):
        outputs = run(model, x)
        scale = float(logits.abs().max())
        np.testing.assert_allclose(outputs["logits"], logits.numpy(), atol=1e-4 * scale, rtol=0)
        np.testing.assert_allclose(outputs["embedding"], embedding.numpy(), atol=1e-4)


def test_probe_moments_of_images(bundles: dict[str, Bundle]) -> None:
    module, x = tiny_module(0), torch.from_numpy(inputs())
    with torch.no_grad():
        first = module.conv1(x)
        second = module.conv2(module.norm1(first).relu())
    arrays = [tensor.numpy().astype(np.float64) for tensor in (first, second)]
    outputs = run(bundles["batch"].probe_model(bundles["batch"].artifact("onnxruntime"), {}), x.numpy())
    for name, power in (("probe_mean", 1), ("probe_mean_square", 2)):
        expected = np.concatenate([(a**power).mean(axis=(2, 3)) for a in arrays], axis=1)
        np.testing.assert_allclose(outputs[name], expected, rtol=1e-4, atol=1e-5)


def test_probe_moments_of_tokens(bundles: dict[str, Bundle]) -> None:
    module, x = tiny_module(0, "layer"), torch.from_numpy(inputs())
    with torch.no_grad():
        first = module.conv1(x).numpy().astype(np.float64)
    outputs = run(bundles["layer"].probe_model(bundles["layer"].artifact("onnxruntime"), {}), x.numpy())
    width = first.shape[1]
    np.testing.assert_allclose(outputs["probe_mean"][:, :width], first.mean((2, 3)), rtol=1e-4, atol=1e-5)
    expected = (first**2).mean((2, 3))
    np.testing.assert_allclose(outputs["probe_mean_square"][:, :width], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("norm", NORMS)
def test_writes_point_at_the_bytes(bundles: dict[str, Bundle], norm: Norm) -> None:
    bundle = bundles[norm]
    artifact = bundle.artifact("onnxruntime")
    data = bundle.files[artifact.file]
    writes = [write for write in artifact.writes if isinstance(write, Copy)]
    assert len(writes) == {"batch": 10, "layer": 6}[norm]
    for write in writes:
        assert data[write.at.offset : write.at.end] == bundle.slots[write.slot].tobytes()
        changed = np.linspace(0.1, 0.9, write.at.size, dtype=np.float32).reshape(write.at.shape)
        model = onnx.load_from_string(
            bundle.fast_model(bundle.artifact("onnxruntime"), {write.slot: changed})
        )
        arrays = {t.name: onnx.numpy_helper.to_array(t) for t in model.graph.initializer}
        np.testing.assert_array_equal(arrays[write.slot], changed)


def test_base_statistics_are_those_of_the_source(tmp_path: Path) -> None:
    module, (images, labels) = tiny_module(0), tiny_images(200, seed=4)
    with torch.no_grad():  # as if it had been trained on augmented images
        module.state_dict()["norm1.running_var"].mul_(3.0)
        module.state_dict()["norm2.running_mean"].add_(0.4)
    bundle = compile_model(
        module,
        name="augmented",
        classes=[str(k) for k in range(10)],
        input_shape=(1, 28, 28),
        calibration_images=images,
        calibration_labels=labels,
        out=tmp_path / "bundle",
    )
    slots, calibration = bundle.slots, bundle.calibration
    for index, part in ((1, slice(0, 8)), (2, slice(8, 20))):
        np.testing.assert_array_equal(slots[f"norm{index}.running_mean"], calibration.norm_mean[part])
        np.testing.assert_array_equal(slots[f"norm{index}.running_var"], calibration.norm_var[part])
    with torch.no_grad():
        logits, _ = module(torch.from_numpy(inputs()))
    found = run(bundle.fast_model(bundle.artifact("onnxruntime"), {}), inputs())["logits"]
    np.testing.assert_allclose(found, logits.numpy(), atol=1e-4 * float(logits.abs().max()))


@pytest.mark.parametrize("kind", [modules.Twins, modules.Tied])
def test_equal_tensors_get_bytes_of_their_own(tmp_path: Path, kind: type[modules.Twins]) -> None:
    torch.manual_seed(3)
    module = kind().eval()
    bundle = modules.compile_small(module, tmp_path / "twins")
    spans = sorted({(r.offset, r.end) for w in bundle.artifact("onnxruntime").writes for r in regions(w)})
    assert len(spans) == 10
    assert all(end <= start for (_, end), (start, _) in itertools.pairwise(spans))
    values = {"norm2.weight": np.array([2, -1, 0.5, 3], np.float32)}
    with torch.no_grad():
        module.norm2.weight = nn.Parameter(torch.from_numpy(values["norm2.weight"]))
        module.norm2.bias = nn.Parameter(torch.from_numpy(bundle.slots["norm2.bias"]))
        module.norm2.running_mean = torch.from_numpy(bundle.slots["norm2.running_mean"])
        module.norm2.running_var = torch.from_numpy(bundle.slots["norm2.running_var"])
        _, expected = module(torch.from_numpy(inputs()))
    actual = run(bundle.fast_model(bundle.artifact("onnxruntime"), values), inputs())["embedding"]
    np.testing.assert_allclose(actual, expected.numpy(), atol=1e-4)


@pytest.mark.parametrize(
    ("kind", "kinds"),
    [
        (modules.LogitsOnly, ["batch", "batch"]),
        (modules.Grouped, ["batch", "group", "batch"]),
        (modules.Instanced, ["batch", "instance", "batch"]),
        (modules.Synchronised, ["batch", "batch"]),
        (modules.ByShape, ["batch", "batch"]),
        (modules.Handwritten, ["layer", "batch"]),
    ],
)
def test_slots_are_the_module_s_parameters(
    tmp_path: Path, kind: type[modules.Twins], kinds: list[str]
) -> None:
    torch.manual_seed(3)
    module = kind().eval()
    bundle = modules.compile_small(module, tmp_path / "bundle")
    assert [layer.kind for layer in bundle.manifest.norm_layers] == kinds
    names = {name for layer in bundle.manifest.norm_layers for name in (layer.scale, layer.bias)}
    own = {name for name, _ in module.named_parameters()}
    absent = {"mix.1.weight", "mix.1.bias"} if kind is modules.Instanced else set()
    assert names - absent <= own
    values = {name: value for name, value in disturbed(bundle, 1).items() if name not in absent}
    changed = patched(module, values)
    with torch.no_grad():
        returned = changed(torch.from_numpy(inputs()))
    logits = returned if isinstance(returned, torch.Tensor) else returned[0]
    actual = run(bundle.fast_model(bundle.artifact("onnxruntime"), values), inputs())["logits"]
    np.testing.assert_allclose(actual, logits.numpy(), atol=1e-4)


def test_the_embedding_is_what_the_head_takes(tmp_path: Path) -> None:
    torch.manual_seed(3)
    module = modules.LogitsOnly().eval()
    bundle = modules.compile_small(module, tmp_path / "bundle")
    with torch.no_grad():
        _, expected = modules.Twins.forward(module, torch.from_numpy(inputs()))
    actual = run(bundle.fast_model(bundle.artifact("onnxruntime"), {}), inputs())["embedding"]
    np.testing.assert_allclose(actual, expected.numpy(), atol=1e-5)


def test_a_module_without_norm_layers_gets_virtual_ones(tmp_path: Path) -> None:
    """They are no parameters of the module, whose own biases stay what they are."""
    torch.manual_seed(3)
    module = modules.Plain().eval()
    bundle = modules.compile_small(module, tmp_path / "bundle")
    layers = bundle.manifest.norm_layers
    assert [(layer.kind, layer.name) for layer in layers] == [("channel", "conv"), ("channel", "mix")]
    assert not {slot.name for slot in bundle.manifest.slots if slot.kind.startswith("norm_")} & set(
        module.state_dict()
    )
    base, layer = bundle.base_slots(), layers[1]
    values = {
        layer.bias: base[layer.bias] + np.float32(0.2),
        layer.scale: base[layer.scale] * np.float32(1.5),
    }
    with torch.no_grad():  # scaled about its mean, then shifted
        mean = torch.from_numpy(base[layer.mean])
        module.mix.weight.mul_(1.5)
        module.mix.bias.mul_(1.5).sub_(0.5 * mean).add_(0.2)  # type: ignore[union-attr]
        logits, _ = module(torch.from_numpy(inputs()))
    actual = run(bundle.fast_model(bundle.artifact("onnxruntime"), values), inputs())["logits"]
    np.testing.assert_allclose(actual, logits.numpy(), atol=1e-4)


def test_functional_norms_are_passed_over(tmp_path: Path) -> None:
    bundle = modules.compile_small(modules.Functional(), tmp_path / "bundle")
    assert [layer.name for layer in bundle.manifest.norm_layers] == ["norm1", "norm2"]


def test_compiling_twice_gives_the_same_digest(tmp_path: Path, bundles: dict[str, Bundle]) -> None:
    assert tiny_bundle(tmp_path / "again").digest == bundles["batch"].digest
    assert tiny_bundle(tmp_path / "other", seed=1).digest != bundles["batch"].digest


def test_the_module_is_left_alone(tmp_path: Path) -> None:
    module = modules.Tied().train()
    before = {name: value.clone() for name, value in module.state_dict().items()}
    modules.compile_small(module, tmp_path / "bundle")
    assert module.training
    assert module.norm1.weight is module.norm2.weight
    assert all(torch.equal(before[name], value) for name, value in module.state_dict().items())


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (modules.NoNorm, r"no norm layer and no convolution.*found: Flatten x1, Gemm x1"),
        (modules.Branching, r"dynamic control flow.*BatchNorm2d x2, Conv2d x2, Linear x1"),
        (modules.SpatialEmbedding, r"must return logits.*float32 \[16, 1, 28, 28\].*wrap the model"),
        (modules.Named, r"must return logits.*got dict"),
        (modules.NineClasses, r"9 outputs, but 10 class names"),
        (modules.Repeated, r"'norm1' runs more than once"),
        (modules.Inexportable, r"cannot be exported.*bessel_j0"),
        (modules.NotFinite, r"NaN or infinity.*not finite: norm1.running_mean"),
        (modules.Overflowing, r"NaN or infinity.*not finite: none"),
        (modules.Scripted, r"cannot be copied: .*not TorchScript.*found: BatchNorm2d x2"),
        (modules.Lazy, r"cannot be copied: ValueError: .*found: BatchNorm2d x1.*LazyBatchNorm2d x1"),
        (modules.WithoutStatistics, r"'norm1' keeps no running statistics"),
    ],
)
def test_what_cannot_be_compiled_is_refused(tmp_path: Path, kind: type[nn.Module], message: str) -> None:
    with pytest.raises(CompileError, match=f"(?s){message}"):
        modules.compile_small(kind(), tmp_path / "bundle")
    assert list(tmp_path.iterdir()) == []


def test_calibration_data_must_fit(tmp_path: Path) -> None:
    images, labels = tiny_images(40, seed=1)
    cases: list[tuple[npt.NDArray[Any], npt.NDArray[np.int64], str]] = [
        (images.astype(np.float64), labels, "must be uint8"),
        (images.astype(np.float32), labels, "must be uint8"),
        (images[:, :14], labels, "must be uint8"),
        (images, labels[:-1], "integer label for each"),
        (images, labels + 1, "labels run from 1 to 10"),
    ]
    for bad_images, bad_labels, message in cases:
        with pytest.raises(CompileError, match=message):
            compile_model(
                tiny_module(),
                name="tiny",
                classes=modules.CLASSES,
                input_shape=(1, 28, 28),
                calibration_images=bad_images,
                calibration_labels=bad_labels,
                out=tmp_path / "bundle",
            )


@pytest.mark.parametrize("name", ["manifest.json", "model.onnx", "probe.bin", "calibration.safetensors"])
@pytest.mark.parametrize("damage", ["edited", "truncated", "swapped", "missing"])
def test_damaged_files_are_named(tmp_path: Path, batch_folder: Path, name: str, damage: str) -> None:
    files = {path.name: path.read_bytes() for path in batch_folder.iterdir()}
    data = files.pop(name)
    if damage == "edited":
        middle = len(data) // 2
        files[name] = data[:middle] + b"\xff" + data[middle + 1 :]
    elif damage == "truncated":
        files[name] = data[:-5]
    elif damage == "swapped":
        files[name] = files["probe.bin" if name != "probe.bin" else "model.onnx"]
    for file, content in files.items():
        (tmp_path / file).write_bytes(content)
    with pytest.raises(BundleError, match=name):
        read_folder(tmp_path)
