"""The int8 artifact against its float one: at the base, under patches, and as the probe sees it."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import numpy_helper

from edgeadapt.bundle import Copy, SlotValues, materialise
from edgeadapt.bundle.writes import ConvAdapter, FoldNorm, FoldNormInt8, HeadShift, Prompt, regions
from edgeadapt.errors import BundleError, CompileError
from edgeadapt_models.compile.quantise.artifact import QuantisedModel, quantised_artifact
from edgeadapt_models.compile.quantise.graph import FloatArtifact
from tests.models.compile.quantise.nets import Net, moments, noise, norm_patch, patched, run

IMAGE = (0.0, 1.0)


def quantise(net: Net, limits: tuple[float, float] | None = IMAGE) -> tuple[FloatArtifact, QuantisedModel]:
    source = net.artifact()
    return source, quantised_artifact(source, net.frames, limits=limits)


def fast(made: QuantisedModel, source: FloatArtifact, values: SlotValues) -> bytes:
    data = made.files[made.artifact.file]
    return materialise(data, made.artifact, source.layers, values, source.base)


def probe(made: QuantisedModel, source: FloatArtifact, values: SlotValues) -> bytes:
    return fast(made, source, values) + made.files[made.artifact.probe_suffix]


def fused(model: bytes, folder: Path) -> Counter[str]:
    """Operators that ONNX Runtime is left with."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.optimized_model_filepath = str(folder / "fused.onnx")
    onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    return Counter(node.op_type for node in onnx.load(folder / "fused.onnx").graph.node)


def agree(net: Net, source: FloatArtifact, made: QuantisedModel, values: SlotValues, bound: float) -> None:
    """Logits and embedding of int8 and float differ by less than `bound` standard deviations."""
    expected, actual = run(patched(source, values), net.frames), run(fast(made, source, values), net.frames)
    for name in ("logits", "embedding"):
        assert noise(expected[name], actual[name]) < bound, name


def residual() -> Net:
    """Stem, a residual block, a depthwise and a grouped convolution, ReLU6, pools, and a head."""
    net = Net((3, 12, 12))
    centred = net.op("Sub", "input", net.constant(np.full((1, 3, 1, 1), 0.5)))
    stem = net.op("Relu", net.norm(net.conv(centred, 8)))
    inner = net.op("Relu", net.norm(net.conv(stem, 8), np.linspace(-1.5, 1.5, 8, dtype=np.float32)))
    outer = net.norm(net.conv(inner, 8, bias=True))
    joined = net.op("Relu", net.op("Add", outer, stem))
    pooled = net.op("MaxPool", joined, kernel_shape=[2, 2], strides=[2, 2])
    depthwise = net.norm(net.conv(pooled, 8, group=8))
    low, high = net.constant(np.float32(0)), net.constant(np.float32(6))
    clipped = net.op("Clip", depthwise, low, high)
    grouped = net.op("Relu", net.norm(net.conv(clipped, 16, group=2)))
    net.head(net.op("AveragePool", grouped, kernel_shape=[2, 2], strides=[2, 2]))
    return net


@pytest.fixture(scope="module")
def whole() -> tuple[Net, FloatArtifact, QuantisedModel]:
    net = residual()
    source, made = quantise(net)
    return net, source, made


def test_the_base_says_what_the_float_model_says(
    whole: tuple[Net, FloatArtifact, QuantisedModel], tmp_path: Path
) -> None:
    net, source, made = whole
    agree(net, source, made, {}, 0.12)
    assert list(made.kept) == ["head.weight"]
    left = fused(fast(made, source, {}), tmp_path)
    assert (left["QLinearConv"], left["QLinearAdd"], left["QLinearAveragePool"]) == (5, 1, 1)
    assert not left.keys() & {"Conv", "Add", "Relu", "Clip", "BatchNormalization", "MaxPool"}


def test_processors_without_vnni_get_the_same_answers(
    whole: tuple[Net, FloatArtifact, QuantisedModel],
) -> None:
    """Engines ask for it there; the runtime then rewrites the weights, which it cannot do to every model."""
    net, source, made = whole
    options = onnxruntime.SessionOptions()
    options.add_session_config_entry("session.x64quantprecision", "1")
    session = onnxruntime.InferenceSession(
        fast(made, source, {}), options, providers=["CPUExecutionProvider"]
    )
    (logits,) = session.run(["logits"], {"input": net.frames})
    np.testing.assert_allclose(logits, run(fast(made, source, {}), net.frames)["logits"], atol=1e-4)


@pytest.mark.parametrize("seed", range(4))
def test_a_norm_patch_changes_scales_and_biases_only(
    whole: tuple[Net, FloatArtifact, QuantisedModel], seed: int
) -> None:
    net, source, made = whole
    values = norm_patch(source, seed=seed)
    agree(net, source, made, values, 0.15)
    base, new = fast(made, source, {}), fast(made, source, values)
    folds = [write for write in made.artifact.writes if isinstance(write, FoldNormInt8)]
    assert len(folds) == len(source.layers) == 5
    touched = np.zeros(len(base), bool)
    for write in folds:
        for region in regions(write):
            touched[region.offset : region.end] = True
    differs = np.frombuffer(base, np.uint8) != np.frombuffer(new, np.uint8)
    assert differs.any()
    assert not (differs & ~touched).any()
    for before, after in zip(*(onnx.load_from_string(m).graph.initializer for m in (base, new)), strict=True):
        if before.data_type == onnx.TensorProto.INT8:
            assert before.raw_data == after.raw_data
        if before.name.endswith(("/scale", "/bias")) and "logits" not in before.name:
            assert before.raw_data != after.raw_data


def test_a_sign_is_in_the_weights_and_one_that_turns_is_refused(
    whole: tuple[Net, FloatArtifact, QuantisedModel],
) -> None:
    _, source, made = whole
    layer = source.layers[1]
    fold = next(w for w in made.artifact.writes if isinstance(w, FoldNormInt8) and w.layer == layer.name)
    assert fold.negative == (0, 1, 2, 3)
    turned = source.base[layer.scale].copy()
    turned[5] *= -1
    with pytest.raises(BundleError, match=f"norm layer {layer.name}: channel 5 would change its sign"):
        fast(made, source, {layer.scale: turned})


def test_a_channel_that_is_dead_at_the_base_can_be_woken() -> None:
    net = Net((3, 8, 8))
    scale = np.array([0.0, 1.0, 0.0, -1.0], np.float32)
    first = net.op("Relu", net.norm(net.conv("input", 4), scale))
    net.head(net.op("Relu", net.norm(net.conv(first, 8))))
    source, made = quantise(net)
    agree(net, source, made, {}, 0.1)
    awake = norm_patch(source, keep={source.layers[0].scale: np.array([0.8, 1.0, 0.0, -1.0])})
    agree(net, source, made, awake, 0.15)


def test_the_probe_gives_the_moments_of_the_float_model(
    whole: tuple[Net, FloatArtifact, QuantisedModel],
) -> None:
    """Under the base, under a patch, and under norm values far beyond what 8 bits hold.

    What a norm layer makes of its input is no matter to its own input's moments.
    """
    net, source, made = whole
    assert made.artifact.measured == ("output", *("input",) * 4)
    first, second = source.layers[:2]
    beyond = {first.bias: source.base[first.bias] + 40}
    flat = {second.scale: source.base[second.scale] * np.float32(1e-3)}
    for values, layers in (({}, 5), (norm_patch(source, strength=0.1), 5), (beyond, 1), (flat, 2)):
        expected = moments(
            source.artifact, run(patched(source, values) + source.probe, net.frames), source, values
        )
        actual = moments(made.artifact, run(probe(made, source, values), net.frames), source, values)
        part = slice(0, sum(layer.channels for layer in source.layers[:layers]))
        deviation = np.sqrt(expected[1])[part]
        assert (np.abs(actual[0] - expected[0])[part] < 0.06 * deviation).all()
        np.testing.assert_allclose(actual[1][part], expected[1][part], rtol=0.08)


def test_the_probe_computes_in_integers_too(
    whole: tuple[Net, FloatArtifact, QuantisedModel], tmp_path: Path
) -> None:
    """All but the first convolution, of which the signature is made: once for the answer, once to measure."""
    _, source, made = whole
    left = fused(probe(made, source, {}), tmp_path)
    assert (left["Conv"], left["QLinearConv"]) == (1, 8)


def test_a_deviation_that_shrinks_is_still_measured() -> None:
    """Steps are an eighth of the source's deviation."""
    net = Net((3, 16, 16))
    first = net.op("Relu", net.norm(net.conv("input", 8)))
    net.head(net.op("Relu", net.norm(net.conv(first, 8))))
    source, made = quantise(net)
    faint = {source.layers[0].scale: source.base[source.layers[0].scale] * np.float32(0.1)}
    expected = moments(source.artifact, run(patched(source, faint) + source.probe, net.frames), source, faint)
    actual = moments(made.artifact, run(probe(made, source, faint), net.frames), source, faint)
    source_deviation = np.sqrt(source.base[source.layers[1].var])
    assert (np.sqrt(expected[1])[8:] < 0.3 * source_deviation).all()
    assert (np.abs(actual[0] - expected[0])[8:] < 0.05 * source_deviation).all()
    assert (np.abs(np.sqrt(actual[1]) - np.sqrt(expected[1]))[8:] < 0.05 * source_deviation).all()


def test_the_probe_scores_like_the_fast_graph(whole: tuple[Net, FloatArtifact, QuantisedModel]) -> None:
    net, source, made = whole
    one, two = run(fast(made, source, {}), net.frames), run(probe(made, source, {}), net.frames)
    assert noise(one["logits"], two["logits"]) < 0.1


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
