"""Published structures, small: compiled as anybody would, given an int8 model, and patched."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgeadapt.bundle import Bundle, InputSpec
from edgeadapt.bundle.limits import check_values
from edgeadapt.bundle.writes import FoldNormInt8
from edgeadapt.tensors import FloatArray
from edgeadapt_models.compile.compiler import compile_module
from edgeadapt_models.compile.quantise.compare import compare
from edgeadapt_models.compile.runtime import Runner, frames_to_input
from edgeadapt_models.compile.source.frames import Frames
from edgeadapt_models.compile.targets import TargetRequest, extend
from edgeadapt_models.zoo.structures.base import build, examples
from edgeadapt_models.zoo.structures.registry import structure

COUNT = 64
# Networks of linear bottlenecks have nothing but their channels' spread to hold on to while untrained.
NOISE = {"mobilenet_v2": 0.45, "mobilenet_v3_small": 0.35}
# Norm layers that are in an int8 kernel; all others stay nodes.
FOLDED = {
    "convnext_tiny": 0,
    "deit_tiny": 0,
    "densenet121": 7,
    "ds_cnn": 5,
    "mobilenet_v2": 22,
    "mobilenet_v3_small": 16,
    "preact_resnet18": 4,
    "resnet18_group": 0,
    "series_fcn": 3,
}


def made(name: str, folder: Path) -> tuple[Bundle, FloatArray]:
    """A bundle of both precisions, and frames as its models take them."""
    found = structure(name)
    spec = InputSpec(found.small.shape, found.kind)
    x = examples(found, found.small, COUNT)
    data = Frames(
        np.rint(x.transpose(0, 2, 3, 1) * 255).astype(np.uint8) if found.kind == "image" else x,
        np.arange(COUNT) % found.small.classes,
    )
    classes = [str(index) for index in range(found.small.classes)]
    bundle = compile_module(
        build(found), name=name, classes=classes, spec=spec, data=data, out=folder / "bundle"
    ).bundle
    frames = frames_to_input(spec, data.frames)
    return extend(bundle, TargetRequest(int8=True), frames).bundle, frames


@pytest.mark.parametrize("name", FOLDED)
def test_int8_says_what_float_says(name: str, tmp_path: Path) -> None:
    bundle, frames = made(name, tmp_path)
    int8 = bundle.artifact("onnxruntime", "int8")
    assert sum(isinstance(write, FoldNormInt8) for write in int8.writes) == FOLDED[name]
    found = compare(bundle, frames)
    bound = NOISE.get(name, 0.2)
    assert found.logits < bound
    assert found.signature < 0.2
    rng = np.random.default_rng(0)
    values = {
        slot.name: (bundle.slots[slot.name] * rng.uniform(0.8, 1.25, slot.shape)).astype(np.float32)
        for slot in bundle.manifest.slots
        if slot.kind in ("norm_scale", "norm_bias")
    }
    check_values(bundle, int8, values)
    plain, patched = (
        Runner(bundle.fast_model(bundle.artifact("onnxruntime", precision), values)).run(frames)["logits"]
        for precision in ("float32", "int8")
    )
    assert np.sqrt(np.mean((plain - patched) ** 2)) < 1.3 * bound * plain.std()
