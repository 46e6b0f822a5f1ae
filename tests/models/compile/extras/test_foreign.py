"""Extras on graphs as other exporters write them: heads, paddings and matrices of every form."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from torch.nn import functional

from edgeadapt.errors import CompileError
from edgeadapt_models.compile.compiler import Compilation
from tests.models.compile.extras import networks
from tests.models.compile.extras.test_parity import close
from tests.models.compile.foreign.builder import Array, Net, as_input, compiled, fast, pictures, run

RNG = np.random.default_rng(8)
KERNEL = RNG.normal(0, 0.3, (8, 3, 3, 3)).astype(np.float32)
SECOND = RNG.normal(0, 0.2, (8, 8, 3, 3)).astype(np.float32)
HEAD = RNG.normal(0, 0.5, (4, 8)).astype(np.float32)
BIAS = RNG.normal(0, 0.5, 4).astype(np.float32)
X = as_input(pictures(5, seed=3))


def entry(net: Net) -> str:
    """A convolution and a BatchNorm."""
    y = net.op("Conv", "image", net.const(KERNEL), pads=[1] * 4)
    values = [RNG.uniform(0.5, 1.5, 8).astype(np.float32) for _ in range(4)]
    return net.op("Relu", net.op("BatchNormalization", y, *(net.const(v) for v in values)))


def pooled(net: Net, y: str) -> str:
    return net.op("Flatten", net.op("GlobalAveragePool", y))


def gemm(net: Net, y: str) -> str:
    return net.op("Gemm", pooled(net, y), net.const(HEAD), net.const(BIAS), transB=1)


def gemm_without_bias(net: Net, y: str) -> str:
    return net.op("Gemm", pooled(net, y), net.const(HEAD.T))


def product(net: Net, y: str) -> str:
    return net.op("MatMul", pooled(net, y), net.const(HEAD.T))


def product_and_sum(net: Net, y: str) -> str:
    return net.op("Add", net.const(BIAS), product(net, y))


def convolution(net: Net, y: str) -> str:
    kernel = net.const(HEAD[:, :, None, None])
    return net.op("Flatten", net.op("Conv", net.op("GlobalAveragePool", y), kernel, net.const(BIAS)))


def convolution_without_bias_before_the_mean(net: Net, y: str) -> str:
    made = net.op("Conv", y, net.const(HEAD[:, :, None, None]))
    return net.op("Flatten", net.op("GlobalAveragePool", made))


def one_bias_for_all(net: Net, y: str) -> str:
    return net.op("Gemm", pooled(net, y), net.const(HEAD), net.const(np.full(1, 0.3, np.float32)), transB=1)


def shared_weights(net: Net, y: str) -> str:
    """The head's matrix is read elsewhere, too: a patch must change the head alone."""
    held = net.const(HEAD)
    first = net.op("Gemm", pooled(net, y), held, transB=1)
    spread = net.op("Gemm", first, held)
    return net.op("Gemm", net.op("Relu", spread), held, net.const(BIAS), transB=1)


HEADS: list[Callable[[Net, str], str]] = [
    gemm,
    gemm_without_bias,
    product,
    product_and_sum,
    convolution,
    convolution_without_bias_before_the_mean,
    one_bias_for_all,
    shared_weights,
]


def made(folder: Path, *words: str, end: Callable[[Net, str], str] = gemm, middle: Any = None) -> Compilation:
    net = Net()
    y = entry(net)
    logits = end(net, y if middle is None else middle(net, y))
    model = net.model({"image": ["n", 3, 16, 16]}, logits)
    return compiled(model, folder, extras=networks.wanted("", *words))


@pytest.mark.parametrize("head", HEADS)
def test_heads(head: Callable[[Net, str], str], tmp_path: Path) -> None:
    compilation = made(tmp_path, end=head)
    rng, base = np.random.default_rng(1), compilation.bundle.base_slots()
    (weight,) = (s.name for s in compilation.bundle.manifest.slots if s.kind == "head_weight")
    (bias,) = (s.name for s in compilation.bundle.manifest.slots if s.kind == "head_bias")
    assert base[weight].shape == (4, 8)
    np.testing.assert_array_equal(base[weight], HEAD)
    values = {
        weight: base[weight] + rng.normal(0, 0.5, (4, 8)).astype(np.float32),
        bias: base[bias] + rng.normal(0, 0.5, 4).astype(np.float32),
        "embedding_shift": rng.normal(0, 1, 8).astype(np.float32),
    }
    _, embedding = run(fast(compilation, {}), X)
    for chosen in ({}, *({name: value} for name, value in values.items()), values):
        held = {**base, **chosen}
        logits, unmoved = run(fast(compilation, chosen), X)
        np.testing.assert_array_equal(unmoved, embedding)
        close(logits, (embedding + held["embedding_shift"]) @ held[weight].T + held[bias])


CENTRED: dict[str, tuple[tuple[int, int], dict[str, Any]]] = {
    "padded": ((3, 3), {"pads": [1] * 4}),
    "strided": ((3, 3), {"pads": [1] * 4, "strides": [2, 2]}),
    "dilated": ((3, 3), {"pads": [2] * 4, "dilations": [2, 2]}),
    "oblong": ((1, 5), {"pads": [0, 2, 0, 2]}),
    "same": ((3, 3), {"auto_pad": "SAME_UPPER"}),
    "one pixel": ((1, 1), {"auto_pad": "VALID", "strides": [2, 2]}),
}
OFF_CENTRE: dict[str, tuple[tuple[int, int], dict[str, Any]]] = {
    "unpadded": ((3, 3), {}),
    "valid": ((3, 3), {"auto_pad": "VALID"}),
    "one side": ((3, 3), {"pads": [0, 0, 2, 2]}),
    "same, strided": ((3, 3), {"auto_pad": "SAME_UPPER", "strides": [2, 2]}),
    "even": ((2, 2), {"strides": [2, 2]}),
}


def second(kernel: tuple[int, int], attributes: dict[str, Any]) -> Callable[[Net, str], str]:
    def middle(net: Net, y: str) -> str:
        values = RNG.normal(0, 0.2, (8, 8, *kernel)).astype(np.float32)
        z = net.op("Conv", y, net.const(values, "second.weight"), **attributes)
        held = (net.const(RNG.uniform(0.5, 1.5, 8).astype(np.float32)) for _ in range(4))
        return net.op("BatchNormalization", z, *held)

    return middle


@pytest.mark.parametrize("name", CENTRED)
def test_where_the_centre_stays_on_the_pixel(name: str, tmp_path: Path) -> None:
    """Compiling holds every slot against a branch in the graph; a wrong fold would be refused."""
    kernel, attributes = CENTRED[name]
    compilation = made(tmp_path, "conv:all", middle=second(kernel, attributes))
    assert [f.output for f in compilation.parity if f.values == "every slot"]
    adapters = [s.name for s in compilation.bundle.manifest.slots if s.kind == "conv_adapter"]
    assert adapters == ["second.adapter"]
    moved = {"second.adapter": np.full((8, 8), 0.1, np.float32)}
    assert np.abs(run(fast(compilation, moved), X)[0] - run(fast(compilation, {}), X)[0]).max() > 0.01


@pytest.mark.parametrize("name", OFF_CENTRE)
def test_where_it_does_not_there_is_no_adapter(name: str, tmp_path: Path) -> None:
    kernel, attributes = OFF_CENTRE[name]
    with pytest.raises(CompileError, match=r"no convolution for 'all'; .* there are: none"):
        made(tmp_path, "conv:all", middle=second(kernel, attributes))


def test_an_adapter_on_a_convolution_whose_norm_was_folded_away(tmp_path: Path) -> None:
    """Two writes on one kernel: the branch joins before the virtual norm layer scales both."""
    bias = RNG.normal(0, 0.2, 8).astype(np.float32)
    net = Net()
    y = net.op("Relu", net.op("Conv", "image", net.const(KERNEL), net.const(bias), pads=[1] * 4))
    z = net.op("Conv", y, net.const(SECOND, "second.weight"), net.const(bias), pads=[1] * 4)
    model = net.model({"image": ["n", 3, 16, 16]}, gemm(net, z))
    compilation = compiled(model, tmp_path, extras=networks.wanted("", "conv:all"))
    layer = compilation.bundle.manifest.norm_layers[1]
    assert layer.kind == "channel"
    rng, base = np.random.default_rng(2), compilation.bundle.base_slots()
    adapter = rng.normal(0, 0.1, (8, 8)).astype(np.float32)
    values = {
        "second.adapter": adapter,
        layer.scale: base[layer.scale] * np.float32(1.5),
        layer.mean: base[layer.mean] + np.float32(0.2),
    }
    x = functional.conv2d(
        torch.from_numpy(X), torch.from_numpy(KERNEL), torch.from_numpy(bias), padding=1
    ).relu()
    raw = functional.conv2d(x, torch.from_numpy(SECOND), torch.from_numpy(bias), padding=1)
    raw = raw + functional.conv2d(x, torch.from_numpy(adapter[..., None, None]))
    held = {
        name: torch.from_numpy(value)[:, None, None]
        for name, value in {**base, **values}.items()
        if value.ndim == 1
    }
    normal = (raw - held[layer.mean]) / (held[layer.var] + layer.epsilon).sqrt()
    expected = (normal * held[layer.scale] + held[layer.bias]).mean(dim=(2, 3)).numpy()
    close(run(fast(compilation, values), X)[1], expected)


def matrix(kind: str) -> Callable[[Net, str], str]:
    weight = np.random.default_rng(6).normal(0, 0.3, (6, 8)).astype(np.float32)

    def middle(net: Net, y: str) -> str:
        flat = pooled(net, y)
        if kind == "Gemm transB":
            flat = net.op("Gemm", flat, net.const(weight, "dense.weight"), transB=1)
        elif kind == "Gemm":
            flat = net.op("Gemm", flat, net.const(weight.T, "dense.weight"))
        else:
            flat = net.op("MatMul", flat, net.const(weight.T, "dense.weight"))
        return net.op("Unsqueeze", net.op("Relu", flat), net.shape(2, 3))

    return middle


def narrow(net: Net, y: str) -> str:
    flat = net.op("Flatten", y)
    return net.op("Gemm", flat, net.const(HEAD[:, :6]), net.const(BIAS), transB=1)


@pytest.mark.parametrize("kind", ["Gemm transB", "Gemm", "MatMul"])
def test_a_low_rank_path_whichever_way_the_matrix_lies(kind: str, tmp_path: Path) -> None:
    compilation = made(tmp_path, "lowrank:all:2", end=narrow, middle=matrix(kind))
    base = compilation.bundle.base_slots()
    assert base["dense.down"].shape == (2, 8)
    assert base["dense.up"].shape == (6, 2)
    up = np.random.default_rng(4).normal(0, 0.5, (6, 2)).astype(np.float32)
    weight = np.random.default_rng(6).normal(0, 0.3, (6, 8)).astype(np.float32)
    inputs: Array = hidden(compilation)
    expected = np.maximum(inputs @ (weight + up @ base["dense.down"]).T, 0)
    close(run(fast(compilation, {"dense.up": up}), X)[1], expected)


def hidden(compilation: Compilation) -> Array:
    """What goes into the matrix, by ONNX Runtime."""
    model = onnx.load_from_string(fast(compilation, {}))
    (node,) = (n for n in model.graph.node if "dense.weight" in n.input)
    model.graph.output.append(onnx.ValueInfoProto(name=node.input[0]))
    return run(model, X)[-1]


def test_a_model_without_a_linear_end_has_no_head_slots(tmp_path: Path) -> None:
    def clipped(net: Net, y: str) -> str:
        return net.op("Relu", gemm(net, y))

    compilation = made(tmp_path, end=clipped)
    kinds = {slot.kind for slot in compilation.bundle.manifest.slots}
    assert not kinds & {"head_weight", "head_bias", "embedding_shift"}
    assert any("not linear" in note for note in compilation.notes)
