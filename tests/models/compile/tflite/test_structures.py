"""Networks as people bring them: equal in LiteRT and ONNX Runtime before and after a patch of every slot."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgeadapt.bundle import Bundle, InputSpec
from edgeadapt_models.compile.compiler import compile_module
from edgeadapt_models.compile.extras.request import AdapterRequest, ExtrasRequest, PromptRequest
from edgeadapt_models.compile.source.frames import Frames
from edgeadapt_models.compile.targets import TargetRequest
from edgeadapt_models.compile.tflite.check import TITLE
from edgeadapt_models.compile.tflite.extend import tflite_int8_of, tflite_of
from edgeadapt_models.compile.tflite.file.flatbuffer import serialise
from edgeadapt_models.compile.tflite.file.program import Program
from edgeadapt_models.compile.tflite.runtime import TfliteRunner
from edgeadapt_models.zoo import create
from edgeadapt_models.zoo.base import InputSpec as NetworkSpec
from edgeadapt_models.zoo.structures import Structure, build, examples, structure, structure_names

TARGETS = TargetRequest(frozenset({"onnx", "tflite"}))
# Torch itself is further than 1e-5 from double precision on these: tiny variances of few examples.
NOISY = {"mobilenet_v2", "efficientnet_lite0"}
# A pool with padding behind a layer whose results may be negative needs PADV2, which XNNPACK lacks.
LEFT = {"preact_resnet18": 1}


def _frames(network: Structure, count: int = 20) -> Frames:
    values = examples(network, network.small, count)
    if network.kind == "array":
        return Frames(values)
    return Frames(np.rint(values * 255).astype(np.uint8).transpose(0, 2, 3, 1).copy())


def _compiled(network: Structure, out: Path, extras: ExtrasRequest | None = None) -> Bundle:
    compilation = compile_module(
        build(network),
        name=network.name,
        classes=[f"class-{index}" for index in range(network.small.classes)],
        spec=InputSpec(network.small.shape, network.kind),
        data=_frames(network),
        out=out,
        extras=extras or ExtrasRequest(),
        targets=TARGETS,
    )
    figures = [figure for figure in compilation.parity if figure.against == TITLE]
    assert {(figure.values, figure.graph) for figure in figures} == {
        (values, graph) for values in ("base", "patch", "every slot") for graph in ("fast", "probe")
    }
    assert max(figure.difference for figure in figures) < (5e-5 if network.name in NOISY else 1e-5)
    return compilation.bundle


@pytest.mark.parametrize("name", structure_names())
def test_a_structure_is_equal_in_float_and_runs_in_xnnpack_in_float_and_in_8_bits(
    name: str, tmp_path: Path
) -> None:
    network = structure(name)
    bundle = _compiled(network, tmp_path / name)
    model = tflite_of(bundle)
    frames = _frames(network).frames
    x = frames.transpose(0, 3, 1, 2) / np.float32(255) if network.kind == "image" else frames
    for made in (model, tflite_int8_of(bundle, model, np.ascontiguousarray(x, np.float32))):
        for subgraph in made.program.subgraphs:
            alone = serialise(Program((subgraph,), made.program.constants))
            assert TfliteRunner(alone.data).delegates()[1] == LEFT.get(name, 0), subgraph.name


@pytest.mark.parametrize("name", ["resnet8", "wide_resnet", "vit_small"])
def test_a_network_of_the_zoo_is_equal(name: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (8, 28, 28, 1), dtype=np.uint8)
    compilation = compile_module(
        create(name, NetworkSpec(1, 28, 28, 10)),
        name=name,
        classes=[str(index) for index in range(10)],
        spec=InputSpec((1, 28, 28)),
        data=Frames(images),
        out=tmp_path / name,
        targets=TARGETS,
    )
    assert max(f.difference for f in compilation.parity if f.against == TITLE) < 1e-5


@pytest.mark.parametrize(
    ("name", "extras"),
    [
        (
            "resnet18",
            ExtrasRequest(
                prompt=PromptRequest("low", grid=(3, 3)), adapters=(AdapterRequest("conv"),), head=True
            ),
        ),
        ("mobilenet_v3_small", ExtrasRequest(prompt=PromptRequest("border", border=2), head=True)),
        (
            "deit_tiny",
            ExtrasRequest(adapters=(AdapterRequest("lowrank", size=2), AdapterRequest("tokens", size=3))),
        ),
        ("series_fcn", ExtrasRequest(prompt=PromptRequest("full"), adapters=(AdapterRequest("conv"),))),
        ("convnext_tiny", ExtrasRequest(adapters=(AdapterRequest("bottleneck", size=4),))),
    ],
)
def test_prompts_adapters_and_heads_move_both_models_alike(
    name: str, extras: ExtrasRequest, tmp_path: Path
) -> None:
    bundle = _compiled(structure(name), tmp_path / name, extras)
    kinds = {slot.kind for slot in bundle.manifest.slots}
    assert len(kinds - {"norm_scale", "norm_bias", "norm_mean", "norm_var"}) >= 1
