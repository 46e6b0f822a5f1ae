"""Nets of many kinds as int8 artifacts: what becomes integers, what stays float, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from edgeadapt.bundle import Copy
from edgeadapt.bundle.writes import ConvAdapter, FoldNorm, FoldNormInt8, HeadShift, Prompt
from edgeadapt.errors import CompileError
from edgeadapt_models.compile.quantise.artifact import quantised_artifact
from edgeadapt_models.compile.quantise.graph import FloatArtifact
from tests.models.compile.quantise.made import IMAGE, agree, fast, fused, probe, quantise, residual
from tests.models.compile.quantise.nets import Net, moments, noise, norm_patch, patched, run


def test_a_norm_layer_that_is_folded_already() -> None:
    """A convolution and a matrix with a bias, both "channel" layers: their raw weights are in the file."""
    net = Net((3, 10, 10))
    weight, bias = net.constant(net.random(8, 3, 3, 3), "w"), net.constant(net.rng.normal(size=8), "b")
    made_of = net.op("Conv", "input", weight, bias, pads=[1] * 4)
    one = net.channel(made_of)
    net.write(lambda at: FoldNorm(one.name, at("w"), 0, at("b")))
    flat = net.op("Flatten", net.op("GlobalAveragePool", net.op("Relu", made_of)))
    matrix, added = net.constant(net.random(8, 12), "m"), net.constant(net.rng.normal(size=12), "d")
    dense = net.op("Add", net.op("MatMul", flat, matrix), added)
    two = net.channel(dense)
    net.write(lambda at: FoldNorm(two.name, at("m"), 1, at("d")))
    net.op("Relu", dense, name="embedding")
    net.op("MatMul", "embedding", net.constant(net.random(12, 6)), name="logits")
    source, made = quantise(net)
    assert [type(write) for write in made.artifact.writes] == [FoldNormInt8, FoldNormInt8]
    assert made.artifact.measured == ("output", "output")
    agree(net, source, made, {}, 0.1)
    values = norm_patch(source, strength=0.2)
    agree(net, source, made, values, 0.12)
    expected = moments(
        source.artifact, run(patched(source, values) + source.probe, net.frames), source, values
    )
    actual = moments(made.artifact, run(probe(made, source, values), net.frames), source, values)
    np.testing.assert_allclose(actual[1], expected[1], rtol=0.1)


def test_a_norm_layer_that_fits_no_kernel_stays_a_node(tmp_path: Path) -> None:
    """Before its convolution (pre-activation), or behind one that others read too."""
    net = Net((3, 10, 10))
    stem = net.conv("input", 8)
    first = net.op("Relu", net.norm(stem))
    joined = net.op("Add", net.conv(first, 8), stem)
    net.head(net.op("Relu", net.norm(joined)))
    source, made = quantise(net)
    assert all(isinstance(write, Copy) for write in made.artifact.writes)
    assert made.artifact.measured == ("input", "input")
    assert fused(fast(made, source, {}), tmp_path)["QLinearConv"] == 2
    for values in ({}, norm_patch(source)):
        agree(net, source, made, values, 0.12)
        expected = run(patched(source, values) + source.probe, net.frames)
        actual = run(probe(made, source, values), net.frames)
        assert noise(expected["probe_mean"], actual["probe_mean"]) < 0.05


def test_a_transformer_keeps_its_norm_layers_and_its_softmax(tmp_path: Path) -> None:
    net = Net((4, 6, 6), opset=17)
    tokens = net.op(
        "Transpose", net.op("Reshape", "input", net.constant(np.array([0, 4, 36]))), perm=[0, 2, 1]
    )
    lifted = net.op("MatMul", tokens, net.constant(net.random(4, 16) * 2))
    for _ in range(2):
        slots = net.slots("layer", scale=net.rng.uniform(0.5, 1.5, 16), bias=net.rng.normal(size=16) * 0.2)
        net.measured.append((lifted, "input"))
        normal = net.op("LayerNormalization", lifted, *slots, axis=-1)
        share = net.op("Softmax", net.op("MatMul", normal, net.constant(net.random(16, 16))), axis=-1)
        mixed = net.op("Mul", share, net.op("MatMul", normal, net.constant(net.random(16, 16))))
        lifted = net.op("Add", lifted, mixed)
    net.op("ReduceMean", lifted, name="embedding", axes=[1], keepdims=0)
    net.op("Gemm", "embedding", net.constant(net.random(16, 6)), name="logits")
    source, made = quantise(net)
    assert all(isinstance(write, Copy) for write in made.artifact.writes)
    agree(net, source, made, {}, 0.1)
    agree(net, source, made, norm_patch(source), 0.12)
    left = fused(fast(made, source, {}), tmp_path)
    assert (left["MatMulIntegerToFloat"], left["Gemm"]) == (5, 1)
    assert (left["LayerNormalization"], left["Softmax"], left["MatMul"]) == (2, 2, 0)


def test_squeeze_and_excitation_with_hard_swish() -> None:
    net = Net((3, 12, 12))
    stem = net.norm(net.conv("input", 8))
    swish = net.op("Mul", stem, net.op("HardSigmoid", stem, alpha=1 / 6, beta=0.5))
    squeezed = net.op("Relu", net.conv(net.op("GlobalAveragePool", swish), 4, 1, bias=True))
    gate = net.op("HardSigmoid", net.conv(squeezed, 8, 1, bias=True), alpha=1 / 6, beta=0.5)
    net.head(net.op("Relu", net.norm(net.conv(net.op("Mul", swish, gate), 8))))
    source, made = quantise(net)
    assert len(made.int8) == 4
    agree(net, source, made, {}, 0.12)
    agree(net, source, made, norm_patch(source), 0.15)


def test_a_series_and_a_concatenation() -> None:
    net = Net((3, 40))
    first = net.op("Relu", net.norm(net.conv("input", 6, 5)))
    second = net.op("Relu", net.norm(net.conv(first, 6, 3)))
    net.head(net.op("Relu", net.norm(net.conv(net.op("Concat", first, second, axis=1), 12, 1))))
    source, made = quantise(net, limits=None)
    agree(net, source, made, {}, 0.12)
    agree(net, source, made, norm_patch(source), 0.15)


def test_what_a_patch_changes_otherwise_stays_float() -> None:
    """A head that is a slot, a shifted embedding, an adapter on a kernel: their writes go along."""
    net = Net((3, 8, 8))
    adapted = net.constant(net.random(8, 3, 3, 3), "adapted")
    first = net.op("Relu", net.norm(net.op("Conv", "input", adapted, pads=[1] * 4)))
    net.head(net.op("Relu", net.norm(net.conv(first, 8))))
    net.base |= {"adapter": np.zeros((8, 3), np.float32), "shift": np.zeros(8, np.float32)}
    net.write(lambda at: ConvAdapter("adapter", at("adapted"), (2, 3)))
    net.write(lambda at: HeadShift("shift", at("head.weight"), at("head.bias")))
    source, made = quantise(net)
    assert set(made.kept) == {"adapted", "head.weight"}
    assert "adapted" not in made.int8
    assert all(reason == "a patch may change it" for reason in made.kept.values())
    assert len(made.int8) == 1
    values = norm_patch(source) | {
        "adapter": (net.rng.normal(size=(8, 3)) * 0.3).astype(np.float32),
        "shift": net.rng.normal(size=8).astype(np.float32),
    }
    agree(net, source, made, values, 0.1)
    plain, moved = (run(fast(made, source, v), net.frames)["logits"] for v in ({}, values))
    assert noise(plain, moved) > 0.3


def test_a_large_head_becomes_integers(tmp_path: Path) -> None:
    net = Net((3, 8, 8))
    net.head(net.op("Relu", net.norm(net.conv("input", 16))), classes=1100)
    source, made = quantise(net)
    assert not made.kept
    assert fused(fast(made, source, {}), tmp_path)["QGemm"] == 1
    agree(net, source, made, {}, 0.1)
    agree(net, source, made, norm_patch(source), 0.12)


def test_a_prompt_finds_room_beside_the_frames() -> None:
    net = Net((3, 8, 8))
    prompted = net.op("Add", "input", net.constant(np.zeros((3, 8, 8)), "prompt.at"))
    net.head(net.op("Relu", net.norm(net.conv(prompted, 8))))
    net.base["prompt"] = np.zeros((3, 8, 8), np.float32)
    net.write(lambda at: Prompt("prompt", at("prompt.at"), "full", (1.0, 1.0, 1.0)))
    source, made = quantise(net)
    agree(net, source, made, {}, 0.1)
    bright = np.full((3, 8, 8), 0.2, np.float32)
    agree(net, source, made, {"prompt": bright}, 0.12)


def test_constants_of_the_probe_alone_come_along() -> None:
    """A probe may compute a way a second time, with the float graph's weights."""
    net = Net((3, 8, 8))
    weight = net.constant(net.random(8, 3, 3, 3), "w")
    net.head(net.op("Relu", net.norm(net.op("Conv", "input", weight, pads=[1] * 4))))
    source = net.artifact()
    suffix = onnx.load_from_string(source.probe)
    suffix.graph.node.append(onnx.helper.make_node("Conv", ["input", "w"], ["signature/copy"], pads=[1] * 4))
    suffix.graph.output.append(
        onnx.helper.make_tensor_value_info("signature/copy", onnx.TensorProto.FLOAT, None)
    )
    source = FloatArtifact(
        source.model, suffix.SerializeToString(), source.artifact, source.layers, source.base
    )
    made = quantised_artifact(source, net.frames, limits=IMAGE)
    actual = run(probe(made, source, {}), net.frames)["signature/copy"]
    np.testing.assert_allclose(
        actual, run(source.model + source.probe, net.frames)["signature/copy"], atol=1e-5
    )


def test_one_tensor_of_weights_in_two_kernels() -> None:
    net = Net((3, 8, 8))
    shared = net.constant(net.random(3, 3, 3, 3), "shared")
    first = net.op("Relu", net.norm(net.op("Conv", "input", shared, pads=[1] * 4)))
    second = net.op("Relu", net.norm(net.op("Conv", first, shared, pads=[1] * 4), -np.ones(3, np.float32)))
    net.head(net.op("Relu", net.conv(second, 8)))
    source, made = quantise(net)
    assert made.int8.count("shared") == 2
    agree(net, source, made, {}, 0.1)
    agree(net, source, made, norm_patch(source), 0.15)


def test_activations_that_are_constant() -> None:
    """Everything behind a dead layer is zero, or a bias: there is a step for it, and an answer."""
    net = Net((3, 8, 8))
    dead = net.norm(net.conv("input", 4))
    net.base["norm0.bias"] = np.full(4, -50, np.float32)
    net.constants["norm0.bias"] = net.base["norm0.bias"]
    net.head(net.op("Relu", net.conv(net.op("Relu", dead), 8, bias=True)))
    source, made = quantise(net)
    expected, actual = (
        run(model, net.frames)["logits"] for model in (patched(source, {}), fast(made, source, {}))
    )
    np.testing.assert_allclose(actual, expected, atol=0.05)
    values = {"norm0.bias": np.full(4, 0.4, np.float32)}
    assert np.isfinite(run(fast(made, source, values), net.frames)["logits"]).all()


def test_equal_models_give_equal_bytes() -> None:
    one, two = (quantise(residual())[1] for _ in range(2))
    assert one.files == two.files
    assert one.artifact == two.artifact


def test_frames_of_eight_bits_enter_exactly() -> None:
    net = Net((1, 16, 16))
    net.head(net.op("Relu", net.norm(net.conv("input", 4))))
    _, made = quantise(net)
    graph = onnx.load_from_string(made.files[made.artifact.file]).graph
    named = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    assert float(named["input/q_scale"]) == pytest.approx(1 / 255, rel=1e-6)
    assert int(named["input/q_zero"]) == 0


@pytest.mark.parametrize("opset", [13, 15, 18, 20])
def test_opsets(opset: int) -> None:
    net = Net((3, 8, 8), opset=opset)
    net.head(net.op("Relu", net.norm(net.conv("input", 8))))
    source = net.artifact()
    made = quantised_artifact(source, net.frames, limits=IMAGE)
    agree(net, source, made, {}, 0.1)
    assert np.isfinite(run(probe(made, source, {}), net.frames)["probe_mean"]).all()


def test_what_cannot_be_quantised_is_named() -> None:
    old = Net((3, 8, 8), opset=12)
    old.head(old.op("Relu", old.norm(old.conv("input", 8))))
    with pytest.raises(CompileError, match="need opset 13 or newer, the model has 12"):
        quantise(old)
    few = Net((3, 8, 8), count=8)
    few.head(few.conv("input", 8))
    with pytest.raises(CompileError, match="at least 16 calibration images, got 8"):
        quantise(few)
    nothing = Net((3, 8, 8))
    net_out = nothing.op("Relu", nothing.norm("input"))
    nothing.op("Flatten", nothing.op("GlobalAveragePool", net_out), name="embedding")
    nothing.op("Identity", "embedding", name="logits")
    with pytest.raises(CompileError, match="nothing in this model can be int8: it has no convolution"):
        quantise(nothing)
    slots = Net((3, 8, 8))
    slots.head("input")
    slots.base["head.weight"] = slots.constants["head.weight"]
    with pytest.raises(CompileError, match=r"head\.weight: a patch may change it"):
        quantise(slots)
