"""Writes: what a device writes into the ONNX model, it can write into the LiteRT one to the same effect."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from edgeadapt.bundle import Copy, Region, materialise
from edgeadapt.bundle.writes import Affine, ConvAdapter, FoldNorm, HeadShift, LowRank, Prompt, Write
from edgeadapt.errors import CompileError
from edgeadapt.tensors import FloatArray
from edgeadapt_models.compile.runtime import Runner
from edgeadapt_models.compile.tflite import TfliteModel, tflite_model
from edgeadapt_models.compile.tflite.runtime import TfliteRunner
from tests.models.compile.tflite.changeable import SHAPE, Changeable, changeable
from tests.models.compile.tflite.graphs import relative

TOLERANCE = 1e-5
FRAMES = np.random.default_rng(5).standard_normal((3, *SHAPE[1:])).astype(np.float32)


@pytest.fixture(scope="module")
def source() -> Changeable:
    return changeable()


@pytest.fixture(scope="module")
def model(source: Changeable) -> TfliteModel:
    return tflite_model(source.data, b"", source.artifact, source.layers, image=True)


def _outputs(
    source: Changeable, model: TfliteModel, values: dict[str, FloatArray]
) -> list[tuple[FloatArray, FloatArray]]:
    """(ONNX Runtime's answer, LiteRT's) for each output, both with `values` written."""
    onnx = materialise(source.data, source.artifact, source.layers, values, source.base)
    tflite = materialise(model.data, model.artifact, source.layers, values, source.base)
    runner, fast = Runner(onnx), TfliteRunner(tflite).run("fast", FRAMES.transpose(0, 2, 3, 1))
    answers = [runner.run(frame[None]) for frame in FRAMES]
    return [(np.concatenate([answer[name] for answer in answers]), fast[name]) for name in runner.outputs]


def test_at_the_base_both_models_agree(source: Changeable, model: TfliteModel) -> None:
    assert all(relative(*pair) < TOLERANCE for pair in _outputs(source, model, {}))


@pytest.mark.parametrize("slot", sorted(changeable().base))
def test_each_slot_moves_both_models_alike(source: Changeable, model: TfliteModel, slot: str) -> None:
    values = {name: value for name, value in source.random_values().items() if name == slot}
    pairs = _outputs(source, model, values)
    base = _outputs(source, model, {})
    assert all(relative(*pair) < TOLERANCE for pair in pairs)
    if slot not in ("down", "up"):  # one of a pair whose other half is zero
        assert any(relative(before[1], after[1]) > 1e-3 for before, after in zip(base, pairs, strict=True))


@pytest.mark.parametrize("seed", range(3))
def test_all_slots_together_move_both_models_alike(source: Changeable, model: TfliteModel, seed: int) -> None:
    pairs = _outputs(source, model, source.random_values(seed))
    assert all(relative(*pair) < TOLERANCE for pair in pairs)


def test_norm_layers_are_folded_where_they_can_be(model: TfliteModel) -> None:
    kinds = {write.layer: type(write) for write in model.artifact.writes if hasattr(write, "layer")}
    assert kinds == {"folded": FoldNorm, "channel": FoldNorm, "affine": Affine, "alone": Affine}
    assert model.artifact.measured == ("output", "output", "input", "input", "input")


def test_raw_weights_change_before_a_norm_layer_multiplies_them(model: TfliteModel) -> None:
    order: list[type[Write]] = [type(write) for write in model.artifact.writes]
    last = max(i for i, kind in enumerate(order) if kind in (Copy, ConvAdapter, LowRank, Prompt, HeadShift))
    assert last < min(i for i, kind in enumerate(order) if kind in (FoldNorm, Affine))


def test_a_write_into_nothing_is_refused(source: Changeable) -> None:
    astray = Copy("head.bias", Region(1, (5,)))
    artifact = msgspec.structs.replace(source.artifact, writes=(*source.artifact.writes, astray))
    with pytest.raises(CompileError, match="byte 1"):
        tflite_model(source.data, b"", artifact, source.layers, image=True)
