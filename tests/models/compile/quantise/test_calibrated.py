"""Headroom: who gets how much, and what a patch may not leave."""

from __future__ import annotations

import numpy as np
import pytest

from edgeadapt.bundle.writes import FoldNormInt8
from edgeadapt_models.compile.quantise.artifact import quantised_artifact
from edgeadapt_models.compile.quantise.calibrated import calibrated_params
from edgeadapt_models.compile.quantise.qparams import ActivationParams
from tests.models.compile.quantise.nets import Net


def params(
    net: Net, *tensors: str, limits: tuple[float, float] | None = (0.0, 1.0), **options: object
) -> list[ActivationParams]:
    net.head(net.conv("input", 4))
    model = net.artifact().base_model()
    found = calibrated_params(
        model,
        net.frames,
        tensors,
        limits=limits,
        method="minmax",
        **options,  # type: ignore[arg-type]
    )
    return [found[name] for name in tensors]


def test_what_comes_of_the_input_alone_is_exact_whatever_the_frames_hold() -> None:
    net = Net((3, 6, 6))
    net.frames = net.frames * 0.5 + 0.1  # neither black nor white
    mean, deviation = net.constant(np.full((1, 3, 1, 1), 0.25)), net.constant(np.full((1, 3, 1, 1), 0.5))
    scaled = net.op("Div", net.op("Sub", "input", mean), deviation)
    first, last = params(net, "input", scaled)
    assert (first.low, first.high) == pytest.approx((0.0, 1.0))
    assert (last.low, last.high) == pytest.approx((-0.5, 1.5), abs=last.scale)
    other = Net((3, 6, 6))
    other.frames = net.frames
    (array,) = params(other, "input", limits=None)
    assert array.high == pytest.approx(1.25 * float(net.frames.max()), rel=0.01)


def test_activations_get_a_quarter_and_means_the_double() -> None:
    net = Net((3, 6, 6))
    active = net.op("Relu", net.conv("input", 4))
    pooled = net.op("Flatten", net.op("GlobalAveragePool", active))
    one, two = params(net, active, pooled)
    assert one.high == pytest.approx(1.25 * float(net.value(active).max()), rel=0.01)
    assert two.high == pytest.approx(2.0 * float(net.value(pooled).max()), rel=0.01)


def test_bounds_of_an_activation_are_bounds_of_its_range() -> None:
    net = Net((3, 6, 6))
    raw = net.conv("input", 4, bias=True)
    top = float(net.value(raw).max())
    low, high = net.constant(np.float32(-0.1)), net.constant(np.float32(0.9 * top))
    clipped = net.op("Clip", raw, low, high)
    gate = net.op("HardSigmoid", raw)
    one, two = params(net, clipped, gate)
    assert (one.low, one.high) == pytest.approx((-0.1, 0.9 * top), abs=one.scale)
    assert (two.low, two.high) == pytest.approx((0.0, 1.0), abs=1e-6)


def test_what_a_prompt_moves_gets_headroom_on_both_sides() -> None:
    net = Net((3, 6, 6))
    prompted = net.op("Add", "input", net.constant(np.zeros((3, 6, 6)), "prompt"))
    (fixed,) = params(net, prompted)
    assert fixed.high == pytest.approx(1.0)
    model = net.artifact().base_model()
    (moved,) = calibrated_params(
        model, net.frames, [prompted], limits=(0.0, 1.0), movable=["prompt"]
    ).values()
    assert (moved.low, moved.high) == pytest.approx((-0.125, 1.125), abs=2 * moved.scale)


def test_a_layers_limits_are_those_of_the_tensor_that_holds_it() -> None:
    net = Net((3, 8, 8))
    first = net.op("Relu", net.norm(net.conv("input", 8)))
    bounds = net.constant(np.float32(0.0)), net.constant(np.float32(0.5))
    second = net.op("Clip", net.norm(net.conv(first, 8)), *bounds)
    third = net.norm(net.conv(second, 8))
    net.head(net.op("Relu", net.op("Add", third, first)))
    made = quantised_artifact(net.artifact(), net.frames, limits=(0.0, 1.0))
    folds = {write.layer: write for write in made.artifact.writes if isinstance(write, FoldNormInt8)}
    relu, clip, plain = (folds[f"norm{index}"] for index in range(3))
    assert relu.low is None
    assert relu.high is not None
    assert relu.high > float(net.value(first).max())
    assert (clip.low, clip.high) == (None, None)  # whatever the values, the activation is what cuts them
    assert plain.low is not None
    assert plain.high is not None
    values = net.value(third)
    assert plain.low < 0.7 * float(values.min())
    assert plain.high > 0.7 * float(values.max())
