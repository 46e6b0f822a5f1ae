"""Every spelling of every norm layer is found, and patched as the graph rebuilt with other numbers says."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest

from edgeadapt_models.compile.compiler import Compilation
from tests.models.compile.foreign import norms
from tests.models.compile.foreign.builder import Array, Net, as_input, compiled, fast, pictures, run
from tests.models.compile.foreign.norms import Norm, Values

CHANNELS = (8, 12)
CLASSES = 5
LAYER = [
    norms.layer,
    norms.layer_div,
    norms.layer_reciprocal,
    norms.layer_mean_and_variance,
    norms.layer_axes_put_back,
    norms.layer_power,
    norms.layer_one_over,
    norms.layer_scale_first,
    norms.layer_tensorflow,
    norms.layer_channels_first,
]
GROUP = [norms.group_by_instance, norms.group_written_out, norms.group_of_all]
INSTANCE = [norms.instance, norms.instance_written_out]
KINDS: list[tuple[Norm, str, int]] = [
    (norms.batch, "batch", 17),
    *[(norm, "layer", 17) for norm in LAYER],
    *[(norm, "group", 17) for norm in GROUP],
    *[(norm, "instance", 17) for norm in INSTANCE],
    (norms.group_per_group, "group", 18),
    (norms.group_per_channel, "group", 21),
]
MATRIX = [
    *[(norms.batch, opset) for opset in range(13, 22)],
    *[(norms.layer_div if opset < 17 else norms.layer, opset) for opset in range(13, 22)],
    *[(norms.layer_div, opset) for opset in (18, 21)],
    *[(norms.group_by_instance, opset) for opset in range(13, 22)],
    *[(norms.group_per_group, opset) for opset in (19, 20)],
]


def network(norm: Norm, layers: list[Values], opset: int = 17) -> onnx.ModelProto:
    """Two convolutions with a norm layer behind each, pooled, and a head: images [N, 3, 16, 16] to [N, 5]."""
    net, rng, x = Net(opset), np.random.default_rng(5), "x"
    width = 3
    for channels, values in zip(CHANNELS, layers, strict=True):
        weight = rng.normal(0, 0.3, (channels, width, 3, 3)).astype(np.float32)
        stride = 2 if width == 3 else 1
        pads = [0, 0, 0, 0] if width == 3 else [1, 1, 1, 1]
        x = net.op("Conv", x, net.const(weight), strides=[stride, stride], pads=pads)
        x, width = net.op("Relu", norm(net, x, values)), channels
    pooled = net.op("Flatten", net.op("GlobalAveragePool", x))
    head = rng.normal(0, 1, (CLASSES, width)).astype(np.float32)
    bias = rng.normal(0, 1, CLASSES).astype(np.float32)
    logits = net.op("Gemm", pooled, net.const(head), net.const(bias), transB=1)
    return net.model({"x": ["n", 3, 16, 16]}, logits)


def values(seed: int) -> list[Values]:
    return [Values.random(channels, seed + index) for index, channels in enumerate(CHANNELS)]


def patch(compilation: Compilation, new: list[Values]) -> dict[str, Array]:
    """Slot values from layers' values."""
    slots: dict[str, Array] = {}
    for layer, given in zip(compilation.bundle.manifest.norm_layers, new, strict=True):
        for name, value in zip(
            (layer.scale, layer.bias, layer.mean, layer.var),
            (given.scale, given.bias, given.mean, given.var),
            strict=True,
        ):
            if name and value is not None:
                slots[name] = value
    return slots


def check(norm: Norm, base: list[Values], opset: int, folder: Path) -> Compilation:
    """Compile, then compare base and patch with graphs that were built with those numbers."""
    model = network(norm, base, opset)
    x = as_input(pictures(6, seed=9))
    compilation = compiled(model, folder)
    np.testing.assert_allclose(run(fast(compilation, {}), x)[0], run(model, x)[0], atol=2e-5, rtol=1e-4)
    new = values(50)
    changed = run(fast(compilation, patch(compilation, new)), x)[0]
    np.testing.assert_allclose(changed, run(network(norm, new, opset), x)[0], atol=2e-5, rtol=1e-4)
    assert np.abs(changed - run(model, x)[0]).max() > 0.01
    return compilation


@pytest.mark.parametrize(("norm", "kind", "opset"), KINDS)
def test_every_spelling(norm: Norm, kind: str, opset: int, tmp_path: Path) -> None:
    compilation = check(norm, values(1), opset, tmp_path)
    layers = compilation.bundle.manifest.norm_layers
    assert [layer.kind for layer in layers] == [kind, kind]
    assert [layer.channels for layer in layers] == list(CHANNELS)
    assert [layer.epsilon for layer in layers] == pytest.approx([norms.EPSILON] * 2)
    assert all(bool(layer.mean) == (kind == "batch") for layer in layers)


@pytest.mark.parametrize(("norm", "opset"), MATRIX)
def test_every_opset(norm: Norm, opset: int, tmp_path: Path) -> None:
    check(norm, values(1), opset, tmp_path)


@pytest.mark.parametrize("norm", [norms.layer_div, norms.layer_channels_first, norms.group_by_instance])
@pytest.mark.parametrize("missing", ["bias", "scale", "both"])
def test_a_missing_scale_or_bias_becomes_a_slot(norm: Norm, missing: str, tmp_path: Path) -> None:
    gone = {"bias": ["bias"], "scale": ["scale"], "both": ["scale", "bias"]}[missing]
    base = [
        replace(
            layer,
            scale=None if "scale" in gone else layer.scale,
            bias=None if "bias" in gone else layer.bias,
        )
        for layer in values(1)
    ]
    compilation = check(norm, base, 17, tmp_path)
    slots = compilation.bundle.base_slots()
    for layer in compilation.bundle.manifest.norm_layers:
        assert np.all(slots[layer.bias] == 0) == ("bias" in gone)
        assert np.all(slots[layer.scale] == 1) == ("scale" in gone)


def test_a_native_layer_norm_without_bias(tmp_path: Path) -> None:
    base = [replace(layer, bias=None) for layer in values(1)]
    compilation = check(norms.layer, base, 17, tmp_path)
    assert not any(
        compilation.bundle.base_slots()[n.bias].any() for n in compilation.bundle.manifest.norm_layers
    )


@pytest.mark.parametrize("norm", [norms.nothing, norms.frozen])
def test_folded_layers_have_virtual_statistics(norm: Norm, tmp_path: Path) -> None:
    """At the base they change nothing; a patch acts as a norm layer behind the convolution would."""
    base = values(1)
    model = network(norm, base)
    x = as_input(pictures(6, seed=9))
    compilation = compiled(model, tmp_path)
    layers = compilation.bundle.manifest.norm_layers
    assert [layer.kind for layer in layers] == ["channel", "channel"]
    np.testing.assert_allclose(run(fast(compilation, {}), x)[0], run(model, x)[0], atol=2e-5, rtol=1e-4)
    new = [
        Values(gain * np.sqrt(var.var + layer.epsilon).astype(np.float32), var.bias, var.mean, var.var)
        for layer, var, gain in zip(layers, values(50), (np.float32(0.7), np.float32(1.2)), strict=True)
    ]
    changed = run(fast(compilation, patch(compilation, new)), x)[0]
    oracle = [
        replace(v, scale=v.scale / np.sqrt(v.var + layer.epsilon) * np.sqrt(v.var + norms.EPSILON))
        for v, layer in zip(new, layers, strict=True)
        if v.scale is not None
    ]
    expected = run(network(norms.frozen, oracle), x)[0]
    np.testing.assert_allclose(changed, expected, atol=2e-5, rtol=1e-4)


def test_statistics_of_folded_layers_are_the_source_s(tmp_path: Path) -> None:
    model = network(norms.nothing, values(1))
    frames = pictures(20)
    bundle = compiled(model, tmp_path, frames).bundle
    shown = onnx.ModelProto()
    shown.CopyFrom(model)
    first = next(node.output[0] for node in model.graph.node if node.op_type == "Conv")
    shown.graph.output.extend([onnx.ValueInfoProto(name=first)])
    raw = run(shown, as_input(frames))[1].astype(np.float64)
    layer, slots = bundle.manifest.norm_layers[0], bundle.base_slots()
    np.testing.assert_allclose(slots[layer.mean], raw.mean((0, 2, 3)), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(slots[layer.var], raw.var((0, 2, 3)), rtol=1e-3)
    np.testing.assert_allclose(slots[layer.bias], slots[layer.mean], rtol=1e-5)
    np.testing.assert_allclose(slots[layer.scale], np.sqrt(slots[layer.var] + layer.epsilon), rtol=1e-5)
