"""Further artifacts: which are made, that they fit the bundle, and what is said when one cannot be."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from torch import Tensor, nn

from edgeadapt.bundle import Bundle
from edgeadapt.errors import CompileError
from edgeadapt_models.compile import tiny_images
from edgeadapt_models.compile.runtime import to_input
from edgeadapt_models.compile.targets import TargetRequest, extend
from tests.models.compile.modules import Twins, compile_small

X = to_input(tiny_images(64)[0])


@pytest.mark.parametrize(
    ("request_", "titles"),
    [
        (TargetRequest(frozenset({"tflite"})), ["onnxruntime float32", "tflite float32"]),
        (TargetRequest(frozenset({"onnx"}), int8=True), ["onnxruntime float32", "onnxruntime int8"]),
        (
            TargetRequest(frozenset({"onnx", "tflite"}), int8=True),
            ["onnxruntime float32", "onnxruntime int8", "tflite float32", "tflite int8"],
        ),
    ],
)
def test_a_bundle_gets_the_artifacts_that_are_asked_for(
    bundles: dict[str, Bundle], request_: TargetRequest, titles: list[str]
) -> None:
    extended = extend(bundles["batch"], request_, X)
    assert [artifact.title for artifact in extended.bundle.manifest.artifacts] == titles
    assert set(extended.int8) == {title for title in titles if title.endswith("int8")}
    assert bool(extended.parity) == ("tflite" in request_.runtimes)
    assert Bundle.from_files(extended.files).digest == extended.bundle.digest != bundles["batch"].digest


def test_artifacts_are_replaced_not_doubled(bundles: dict[str, Bundle]) -> None:
    request = TargetRequest(frozenset({"tflite"}))
    once = extend(bundles["layer"], request, X)
    assert extend(once.bundle, request, X).bundle.digest == once.bundle.digest


def test_how_many_frames_are_wanted_follows_from_their_size() -> None:
    assert TargetRequest().plain
    assert TargetRequest().frames(3 * 224 * 224) == 16
    wanted = TargetRequest(int8=True)
    assert (wanted.frames(28 * 28), wanted.frames(3 * 224 * 224)) == (512, 128)


class Erf(Twins):
    """Uses an operator that LiteRT lacks."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(logits, embedding)."""
        return super().forward(torch.erf(x))


def test_what_litert_lacks_is_named_with_the_way_out(tmp_path: object) -> None:
    module: nn.Module = Erf().eval()
    bundle = compile_small(module, tmp_path / "bundle")  # type: ignore[operator]
    with pytest.raises(CompileError, match=r"Erf \(node .*\): it has no counterpart.*--target onnx can"):
        extend(bundle, TargetRequest(frozenset({"tflite"})), X)


def test_without_litert_the_extra_is_named() -> None:
    """In a process of its own, in which LiteRT cannot be imported."""
    script = """
import sys, tempfile, pathlib
sys.modules["ai_edge_litert"] = None
from edgeadapt.errors import CompileError
from edgeadapt_models.compile import tiny_bundle, tiny_images
from edgeadapt_models.compile.runtime import to_input
from edgeadapt_models.compile.targets import TargetRequest, extend
with tempfile.TemporaryDirectory() as folder:
    bundle = tiny_bundle(pathlib.Path(folder) / "bundle")
    try:
        extend(bundle, TargetRequest(frozenset({"tflite"})), to_input(tiny_images(16)[0]))
    except CompileError as error:
        sys.stdout.write(str(error))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert "pip install 'edgeadapt[tflite]'" in done.stdout
