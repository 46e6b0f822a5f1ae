"""`edgeadapt model compile` and `inspect`, on the package's weights and on generated images."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from click.testing import CliRunner

from edgeadapt.bundle import read_folder
from edgeadapt.errors import BundleError, ConfigError
from edgeadapt_models.cli import group
from edgeadapt_models.compile import compile_model, compile_pretrained, tiny_images
from edgeadapt_models.compile.pretrained import CALIBRATION_IMAGES
from edgeadapt_models.compile_cli import compile_command
from edgeadapt_models.train.split import HOLDOUT
from edgeadapt_models.zoo import load_pretrained, weights_card

NAME = "fashion-mnist/resnet8"
_FIT = 200


def write_idx(path: Path, array: npt.NDArray[Any]) -> None:
    header = bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    path.write_bytes(gzip.compress(header + array.astype(np.uint8).tobytes(), compresslevel=1))


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Gratings in Fashion-MNIST's files: 200 to fit on, then white images that are kept back."""
    folder = tmp_path_factory.mktemp("data")
    images, labels = tiny_images(_FIT, seed=5)
    kept_back = np.full((HOLDOUT, 28, 28), 255, np.uint8)
    write_idx(folder / "train-images-idx3-ubyte.gz", np.concatenate([images[..., 0], kept_back]))
    write_idx(folder / "train-labels-idx1-ubyte.gz", np.concatenate([labels, np.zeros(HOLDOUT)]))
    write_idx(folder / "t10k-images-idx3-ubyte.gz", images[:10, ..., 0])
    write_idx(folder / "t10k-labels-idx1-ubyte.gz", labels[:10])
    return folder


def call(*arguments: str | Path) -> str:
    result = CliRunner().invoke(group, [str(argument) for argument in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def test_compile_then_inspect(tmp_path: Path, root: Path) -> None:
    out = tmp_path / "bundle"
    compiled = call("compile", NAME, "--out", out, "--images", "150", "--root", root)
    bundle = read_folder(out)
    assert bundle.manifest.name == NAME
    assert bundle.manifest.classes == weights_card(NAME).classes
    inspected = call("inspect", out)
    assert "Parity (largest" in compiled
    assert "torch" in compiled
    assert "probe graph gives logits, embedding, probe_mean, probe_mean_square" in inspected
    assert bundle.digest in compiled
    assert "p-values from 150 frames: the holdout split, which the model was not trained on" in compiled
    assert "fdbd, vim; " in inspected
    for text in (compiled, inspected):
        for layer in bundle.manifest.norm_layers:
            assert f" {layer.name} " in text
        for entry in bundle.manifest.files:
            assert f"{entry.size_bytes:,}" in text
            assert entry.sha256[:16] in text


def test_calibration_is_measured_on_the_fit_split_only(tmp_path: Path, root: Path) -> None:
    bundle = compile_pretrained(NAME, tmp_path / "all", images=10**6, root=root).bundle
    images, labels = tiny_images(_FIT, seed=5)
    expected = compile_model(
        load_pretrained(NAME),
        name=NAME,
        classes=weights_card(NAME).classes,
        input_shape=(1, 28, 28),
        calibration_images=images,
        calibration_labels=labels,
        out=tmp_path / "direct",
    ).calibration
    np.testing.assert_allclose(bundle.calibration.norm_mean, expected.norm_mean, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(bundle.calibration.prototypes, expected.prototypes, rtol=1e-4, atol=1e-5)


def test_the_sample_is_the_same_every_time(tmp_path: Path, root: Path) -> None:
    digests = {
        compile_pretrained(NAME, tmp_path / out, images=100, root=root).bundle.digest for out in ("a", "b")
    }
    assert len(digests) == 1


def test_inspect_refuses_a_damaged_bundle(tmp_path: Path, batch_folder: Path) -> None:
    for path in batch_folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    model = tmp_path / "model.onnx"
    model.write_bytes(model.read_bytes()[:-1])
    with pytest.raises(BundleError, match=r"model\.onnx"):
        call("inspect", tmp_path)


def test_the_default_number_of_images_is_the_library_s() -> None:
    option = next(param for param in compile_command.params if param.name == "images")
    assert option.default == CALIBRATION_IMAGES


def test_unknown_weights_list_the_known(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=NAME):
        call("compile", "fashion-mnist/nothing", "--out", tmp_path / "bundle")


@pytest.mark.parametrize("command", ["compile", "inspect"])
def test_help(command: str) -> None:
    text = call(command, "--help")
    assert "bundle" in text
    assert f"{command} [OPTIONS]" in text
