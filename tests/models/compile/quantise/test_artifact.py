"""The int8 artifact against its float one: at the base, under patches, and as the probe sees it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from edgeadapt.bundle.writes import FoldNormInt8, regions
from edgeadapt.errors import BundleError
from edgeadapt_models.compile.quantise.artifact import QuantisedModel
from edgeadapt_models.compile.quantise.graph import FloatArtifact
from tests.models.compile.quantise.made import agree, fast, fused, probe, quantise, residual
from tests.models.compile.quantise.nets import Net, moments, noise, norm_patch, patched, run


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
