"""Files as other tools leave them compile, and say after a patch what the file with other numbers says."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from edgeadapt.bundle import read_folder
from edgeadapt_models.compile.compiler import Compilation
from edgeadapt_models.compile.graph.inputs import Preprocessing
from edgeadapt_models.compile.source.onnx_file import Chosen
from tests.models.compile.foreign import norms
from tests.models.compile.foreign.builder import Array, Net, as_input, compiled, fast, pictures, run
from tests.models.compile.foreign.norms import Values

RNG = np.random.default_rng(3)
KERNEL = RNG.normal(0, 0.3, (8, 3, 3, 3)).astype(np.float32)
DEPTHWISE = RNG.normal(0, 0.3, (8, 1, 3, 3)).astype(np.float32)
HEAD = RNG.normal(0, 1, (8, 5)).astype(np.float32)
BIAS = RNG.normal(0, 1, 5).astype(np.float32)
FIRST, SECOND, OTHER = (Values.random(8, seed) for seed in (1, 2, 3))


def outputs_agree(compilation: Compilation, model: onnx.ModelProto, feed: Array, x: Array) -> None:
    """The bundle's logits on x are the model's first output on `feed`."""
    expected = run(model, feed)[0]
    np.testing.assert_allclose(run(fast(compilation, {}), x)[0], expected, atol=2e-5, rtol=1e-4)


def first_layer(compilation: Compilation) -> dict[str, Array]:
    """Slot values that make the first layer `OTHER`."""
    layer = compilation.bundle.manifest.norm_layers[0]
    pairs = (
        (layer.scale, OTHER.scale),
        (layer.bias, OTHER.bias),
        (layer.mean, OTHER.mean),
        (layer.var, OTHER.var),
    )
    return {name: value for name, value in pairs if name and value is not None}


def tensorflow_style(batch: int | str = "unk__7", softmax: bool = True) -> onnx.ModelProto:
    """As tf2onnx writes a small MobileNet: NHWC, folded convolutions, Clip at 6, long names with slashes."""
    stem, net = "StatefulPartitionedCall/model", Net(15)
    x = net.op("Transpose", "input_1", perm=[0, 3, 1, 2], output=f"{stem}/Conv1/Conv2D__6:0")
    for index, (weight, group, values) in enumerate(((KERNEL, 1, FIRST), (DEPTHWISE, 8, SECOND))):
        assert values.bias is not None
        name = f"{stem}/Conv{index + 1}/Conv2D"
        held = [
            net.const(weight, f"{name}/ReadVariableOp:0"),
            net.const(values.bias, f"{name}_bias_fused_bn"),
        ]
        x = net.op("Conv", x, *held, group=group, auto_pad="SAME_UPPER", strides=[2, 2], output=f"{name}:0")
        limits = [net.const(np.array(limit, np.float32)) for limit in (0.0, 6.0)]
        x = net.op("Clip", x, *limits, output=f"{stem}/Conv{index + 1}_relu/Relu6:0")
    pooled = net.op("GlobalAveragePool", x, output=f"{stem}/global_average_pooling2d/Mean:0")
    flat = net.op("Squeeze", pooled, net.const(np.array([2, 3], np.int64)), output=f"{stem}/pool__12:0")
    product = net.op("MatMul", flat, net.const(HEAD, f"{stem}/predictions/MatMul/ReadVariableOp:0"))
    logits = net.op("Add", product, net.const(BIAS, f"{stem}/predictions/BiasAdd/ReadVariableOp:0"))
    out = net.op("Softmax", logits, axis=1, output="predictions") if softmax else logits
    return net.model({"input_1": [batch, 16, 16, 3]}, out)


def test_tensorflow_style(tmp_path: Path) -> None:
    frames = pictures(20)
    compilation = compiled(tensorflow_style(), tmp_path, frames)
    bundle = compilation.bundle
    assert bundle.manifest.input.shape == (3, 16, 16)
    assert [layer.kind for layer in bundle.manifest.norm_layers] == ["channel", "channel"]
    assert bundle.manifest.norm_layers[1].name == "StatefulPartitionedCall/model/Conv2/Conv2D"
    assert any("Softmax" in note for note in compilation.notes)
    assert compilation.findings.head is not None
    x = as_input(frames)
    plain = tensorflow_style(softmax=False)
    outputs_agree(compilation, plain, x.transpose(0, 2, 3, 1), x)
    graph = onnx.load_from_string(fast(compilation, {})).graph
    assert "Transpose" not in {node.op_type for node in graph.node}


def test_a_batch_of_one_is_opened(tmp_path: Path) -> None:
    compilation = compiled(tensorflow_style(batch=1), tmp_path)
    x = as_input(pictures(3, seed=4))
    outputs_agree(compilation, tensorflow_style(softmax=False), x.transpose(0, 2, 3, 1), x)
    assert any("batch axis was fixed" in note for note in compilation.notes)


def test_a_batch_of_one_inside_a_file_that_takes_any_is_opened(tmp_path: Path) -> None:
    """x.view(1, -1) under an exporter that was told that the batch axis is dynamic."""
    net = Net()
    x = norms.batch(net, net.op("Conv", "x", net.const(KERNEL), pads=[1, 1, 1, 1]), FIRST)
    pooled = net.op("Reshape", net.op("GlobalAveragePool", x), net.shape(1, -1))
    model = net.model({"x": ["n", 3, 16, 16]}, net.op("Gemm", pooled, net.const(HEAD)))
    compilation = compiled(model, tmp_path)
    x3 = as_input(pictures(3, seed=4))
    alone = np.concatenate([run(model, x3[i : i + 1])[0] for i in range(3)])
    np.testing.assert_allclose(run(fast(compilation, {}), x3)[0], alone, atol=2e-5, rtol=1e-4)
    assert any("batch axis was fixed" in note for note in compilation.notes)


def test_a_batch_of_one_behind_an_operator_whose_shapes_are_not_inferred(tmp_path: Path) -> None:
    """GroupNormalization is one."""
    net = Net(21)
    x = norms.group_per_channel(net, net.op("Conv", "x", net.const(KERNEL), pads=[1, 1, 1, 1]), FIRST)
    pooled = net.op("Reshape", net.op("GlobalAveragePool", net.op("Relu", x)), net.shape(1, 8))
    model = net.model({"x": [1, 3, 16, 16]}, net.op("Gemm", pooled, net.const(HEAD)))
    compilation = compiled(model, tmp_path)
    x3 = as_input(pictures(3, seed=4))
    alone = np.concatenate([run(model, x3[i : i + 1])[0] for i in range(3)])
    np.testing.assert_allclose(run(fast(compilation, {}), x3)[0], alone, atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize("heads", [2, 4])
def test_attention_of_torch_for_one_image_takes_a_batch(heads: int, tmp_path: Path) -> None:
    """Tokens come first and images second there; images share an axis with the heads, then the tokens."""
    torch.manual_seed(0)
    layer = torch.nn.TransformerEncoderLayer(16, heads, 32, batch_first=True, norm_first=True)
    module = torch.nn.Sequential(
        torch.nn.Conv2d(3, 16, 4, 4),
        torch.nn.Flatten(2),
        torch.nn.TransformerEncoder(layer, 2, enable_nested_tensor=False),
        torch.nn.Flatten(),
        torch.nn.Linear(256, 5),
    ).eval()
    torch.backends.mha.set_fastpath_enabled(False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(module, (torch.rand(1, 3, 16, 16),), tmp_path / "vit.onnx", dynamo=False)
    torch.backends.mha.set_fastpath_enabled(True)
    compilation = compiled(onnx.load(tmp_path / "vit.onnx"), tmp_path)
    x = as_input(pictures(3, seed=4))
    with torch.no_grad():
        expected = module(torch.from_numpy(x)).numpy()
    np.testing.assert_allclose(run(fast(compilation, {}), x)[0], expected, atol=2e-5, rtol=1e-4)
    assert any("batch axis was fixed" in note for note in compilation.notes)


def old_style(first: Values = FIRST) -> onnx.ModelProto:
    """Opset 13 with weights in Constant nodes, in float_data, and among the inputs; numbers for names."""
    net = Net(13)
    kernel = numpy_helper.from_array(KERNEL)
    net.graph.node.append(helper.make_node("Constant", [], ["12"], value=kernel))
    conv = net.op("Conv", "0", "12", output="13", pads=[1, 1, 1, 1])
    for name, value in zip("3456", (first.scale, first.bias, first.mean, first.var), strict=True):
        assert value is not None
        net.graph.initializer.append(helper.make_tensor(name, TensorProto.FLOAT, [8], value.tolist()))
    normal = net.op("BatchNormalization", conv, "3", "4", "5", "6", output="14", epsilon=norms.EPSILON)
    dropped = net.op("Dropout", net.op("Relu", normal))
    flat = net.op("Flatten", net.op("GlobalAveragePool", net.op("Identity", dropped)))
    net.const(HEAD, "8")
    logits = net.op("Gemm", flat, "8", net.const(BIAS, "9"), output="15")
    model = net.model({"0": [1, 3, 16, 16]}, logits)
    for name in "34568":
        model.graph.input.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, None))
    return model


def test_slots_of_a_folded_layer_are_not_its_own_bias(tmp_path: Path) -> None:
    """A convolution named as torch names it has a bias that its virtual norm layer's must not replace."""
    net = Net()
    held = [net.const(KERNEL, "stem.weight"), net.const(FIRST.mean, "stem.bias")]
    x = net.op("Relu", net.op("Conv", "x", *held))
    taken = net.const(np.float32(2) * np.ones(1, np.float32), "stem.norm.scale")
    flat = net.op("Flatten", net.op("GlobalAveragePool", net.op("Mul", x, taken)))
    logits = net.op("Gemm", flat, net.const(HEAD), net.const(BIAS))
    model = net.model({"x": ["n", 3, 16, 16]}, logits)
    compilation = compiled(model, tmp_path)
    x_batch = as_input(pictures(4, seed=4))
    outputs_agree(compilation, model, x_batch, x_batch)
    graph = onnx.load_from_string(fast(compilation, {})).graph
    constants = {tensor.name for tensor in graph.initializer}
    layer = compilation.bundle.manifest.norm_layers[0]
    assert layer.name == "stem"
    assert {"stem.weight", "stem.bias", "stem.norm.scale"} <= constants
    assert not constants.intersection({layer.scale, layer.bias, layer.mean, layer.var})


def test_old_style(tmp_path: Path) -> None:
    compilation = compiled(old_style(), tmp_path)
    x = as_input(pictures(1, seed=4))
    outputs_agree(compilation, old_style(), x, x)
    changed = run(fast(compilation, first_layer(compilation)), x)[0]
    np.testing.assert_allclose(changed, run(old_style(OTHER), x)[0], atol=2e-5, rtol=1e-4)


def shared(first: Values = FIRST, second: Values = FIRST, *, together: bool = True) -> onnx.ModelProto:
    """Two norm layers that read the very same constants, behind convolutions that share theirs."""
    net, x = Net(17), "x"
    square = net.const(RNG.permuted(KERNEL[:, :1].repeat(8, axis=1) * 0.3, axis=0))
    net.graph.initializer[-1].CopyFrom(
        numpy_helper.from_array((DEPTHWISE.repeat(8, axis=1) * 0.3).astype(np.float32), square)
    )
    x = net.op("Conv", x, net.const(KERNEL))
    names = [net.const(v) for v in (first.scale, first.bias, first.mean, first.var) if v is not None]
    for values in (first, second):
        if not together:
            names = [
                net.const(v) for v in (values.scale, values.bias, values.mean, values.var) if v is not None
            ]
        x = net.op("Conv", net.op("Relu", x), square, pads=[1, 1, 1, 1])
        x = net.op("BatchNormalization", x, *names, epsilon=norms.EPSILON)
    flat = net.op("Flatten", net.op("GlobalAveragePool", x))
    return net.model({"x": ["n", 3, 16, 16]}, net.op("Gemm", flat, net.const(HEAD), net.const(BIAS)))


def test_shared_constants_are_parted(tmp_path: Path) -> None:
    compilation = compiled(shared(), tmp_path)
    slots = [slot.name for slot in compilation.bundle.manifest.slots if slot.kind.startswith("norm_")]
    assert len(slots) == len(set(slots)) == 8
    x = as_input(pictures(4, seed=4))
    changed = run(fast(compilation, first_layer(compilation)), x)[0]
    np.testing.assert_allclose(changed, run(shared(OTHER, FIRST, together=False), x)[0], atol=2e-5, rtol=1e-4)


def small(
    weight: Callable[[Net, Array], str] = Net.const,
    *,
    kind: int = TensorProto.FLOAT,
    values: Values = FIRST,
    ending: str = "gemm",
    shape: tuple[object, ...] = (3, 16, 16),
) -> onnx.ModelProto:
    """One convolution, BatchNorm, and one of several heads."""
    net = Net(17)
    x = "x"
    if kind == TensorProto.UINT8:
        x = net.op("Mul", net.op("Cast", x, to=TensorProto.FLOAT), net.const(np.array(1 / 255, np.float32)))
    x = net.op("Relu", norms.batch(net, net.op("Conv", x, weight(net, KERNEL)), values))
    if ending == "gemm":
        out = net.op(
            "Gemm", net.op("Flatten", net.op("GlobalAveragePool", x)), net.const(HEAD), net.const(BIAS)
        )
    else:
        kernel, bias = net.const(HEAD.T[:, :, None, None]), net.const(BIAS)
        if ending == "conv":
            out = net.op("Conv", net.op("GlobalAveragePool", x), kernel, bias)
        else:
            y = net.op("Conv", x, kernel, bias)
            y = net.op("Relu", y) if ending == "relu" else y
            out = net.op("GlobalAveragePool", y)
        out = out if ending == "conv" else net.op("Flatten", out)
    return net.model({"x": ["n", *shape]}, out, kind=kind)


def _half(net: Net, value: Array) -> str:
    return net.op("Cast", net.const(value.astype(np.float16)), to=TensorProto.FLOAT)


def _integers(net: Net, value: Array) -> str:
    scale = np.float32(np.abs(value).max() / 127)
    held = net.const(np.rint(value / scale).astype(np.int8))
    return net.op("DequantizeLinear", held, net.const(np.array(scale)), net.const(np.array(0, np.int8)))


def _turned(net: Net, value: Array) -> str:
    return net.op("Transpose", net.const(value.transpose(2, 3, 1, 0)), perm=[3, 2, 0, 1])


@pytest.mark.parametrize("weight", [_half, _integers, _turned])
def test_weights_with_operators_in_between(weight: Callable[[Net, Array], str], tmp_path: Path) -> None:
    compilation = compiled(small(weight), tmp_path)
    x = as_input(pictures(4, seed=4))
    outputs_agree(compilation, small(weight), x, x)
    graph = onnx.load_from_string(fast(compilation, {})).graph
    assert [node.op_type for node in graph.node][:2] == ["Conv", "BatchNormalization"]
    changed = run(fast(compilation, first_layer(compilation)), x)[0]
    np.testing.assert_allclose(changed, run(small(weight, values=OTHER), x)[0], atol=2e-5, rtol=1e-4)


def test_half_precision_becomes_single(tmp_path: Path) -> None:
    model = small()
    for tensor in model.graph.initializer:
        tensor.CopyFrom(
            numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float16), tensor.name)
        )
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.elem_type = TensorProto.FLOAT16
    compilation = compiled(model, tmp_path)
    assert any("half precision" in note for note in compilation.notes)
    x = as_input(pictures(4, seed=4))
    expected = run(model, x.astype(np.float16))[0].astype(np.float32)
    np.testing.assert_allclose(run(fast(compilation, {}), x)[0], expected, atol=2e-2)
    np.testing.assert_allclose(run(fast(compilation, {}), x)[0], run(small(), x)[0], atol=2e-2)


def test_external_data(tmp_path: Path) -> None:
    tmp_path.joinpath("given").mkdir()
    onnx.save(
        small(),
        tmp_path / "given" / "model.onnx",
        save_as_external_data=True,
        location="weights.bin",
        size_threshold=0,
    )
    compilation = compiled(small(), tmp_path, onnx=tmp_path / "given" / "model.onnx")
    x = as_input(pictures(4, seed=4))
    outputs_agree(compilation, small(), x, x)
    assert compilation.bundle.digest == read_folder(tmp_path / "bundle").digest


def test_integer_images(tmp_path: Path) -> None:
    frames = pictures(8, seed=4)
    compilation = compiled(small(kind=TensorProto.UINT8), tmp_path, frames)
    x = as_input(frames)
    outputs_agree(compilation, small(kind=TensorProto.UINT8), frames.transpose(0, 3, 1, 2), x)


def test_mean_std_and_scale_go_into_the_graph(tmp_path: Path) -> None:
    wanted = Preprocessing(mean=(120.0, 110.0, 100.0), std=(60.0, 50.0, 40.0), scale=255.0)
    frames = pictures(8, seed=4)
    compilation = compiled(small(), tmp_path, frames, chosen=Chosen(preprocessing=wanted))
    x = as_input(frames)
    mean, std = (np.array(v, np.float32)[:, None, None] for v in (wanted.mean, wanted.std))
    outputs_agree(compilation, small(), (255 * x - mean) / std, x)


@pytest.mark.parametrize(
    ("ending", "operator"), [("gemm", "Gemm"), ("conv", "Conv"), ("pooled", "Conv"), ("relu", None)]
)
def test_heads_and_embeddings(ending: str, operator: str | None, tmp_path: Path) -> None:
    compilation = compiled(small(ending=ending), tmp_path)
    head = compilation.findings.head
    assert (None if head is None else head.operator) == operator
    x = as_input(pictures(4, seed=4))
    logits, embedding = run(fast(compilation, {}), x)
    assert compilation.bundle.manifest.embedding_dim == 8
    expected = run(small(ending=ending), x)[0].reshape(4, -1)
    np.testing.assert_allclose(logits, expected, atol=2e-5, rtol=1e-4)
    linear = embedding @ HEAD + BIAS
    assert np.allclose(linear, logits, atol=1e-4) == (operator is not None)
    assert any("not linear" in note for note in compilation.notes) == (operator is None)


def test_logits_with_further_axes_and_in_double_precision(tmp_path: Path) -> None:
    model = small()
    graph, logits = model.graph, model.graph.output[0].name
    graph.initializer.append(numpy_helper.from_array(np.array([2, 3], np.int64), "axes"))
    graph.node.append(helper.make_node("Unsqueeze", [logits, "axes"], ["wide"], name="wide"))
    graph.node.append(helper.make_node("Cast", ["wide"], ["exact"], name="exact", to=TensorProto.DOUBLE))
    graph.node.append(helper.make_node("Softmax", ["exact"], ["p"], name="p", axis=1))
    graph.output[0].CopyFrom(helper.make_tensor_value_info("p", TensorProto.DOUBLE, None))
    compilation = compiled(model, tmp_path)
    assert compilation.findings.head is not None
    assert "Softmax at the end taken off" in compilation.notes
    x = as_input(pictures(4, seed=4))
    np.testing.assert_allclose(run(fast(compilation, {}), x)[0], run(small(), x)[0], atol=2e-5, rtol=1e-4)


def test_open_sizes_are_taken_from_the_data(tmp_path: Path) -> None:
    compilation = compiled(small(shape=("c", "h", "w")), tmp_path)
    assert compilation.bundle.manifest.input.shape == (3, 16, 16)


def test_a_file_with_several_outputs(tmp_path: Path) -> None:
    model = small()
    relu = next(node.output[0] for node in model.graph.node if node.op_type == "Relu")
    model.graph.output.append(helper.make_tensor_value_info(relu, TensorProto.FLOAT, None))
    compilation = compiled(model, tmp_path)
    assert any(f"outputs left out: {relu}" in note for note in compilation.notes)
    pooled = next(node.output[0] for node in model.graph.node if node.op_type == "Flatten")
    logits = model.graph.output[0].name
    named = compiled(model, tmp_path / "named", chosen=Chosen(logits=logits, embedding=pooled))
    x = as_input(pictures(4, seed=4))
    np.testing.assert_array_equal(run(fast(named, {}), x)[1], run(fast(compilation, {}), x)[1])


def perceptron(values: Values = FIRST) -> onnx.ModelProto:
    """Two matrices over readings: there is no convolution to take, so matrices count."""
    net, rng = Net(17), np.random.default_rng(8)
    x = net.op("MatMul", "readings", net.const(rng.normal(0, 1, (6, 8)).astype(np.float32)))
    assert values.bias is not None
    x = net.op("Relu", net.op("Add", x, net.const(values.bias)))
    return net.model({"readings": ["n", 6]}, net.op("Gemm", x, net.const(HEAD), net.const(BIAS)))


def test_arrays_go_in_as_they_are(tmp_path: Path) -> None:
    frames = np.random.default_rng(2).normal(0, 2, (30, 6)).astype(np.float32)
    compilation = compiled(perceptron(), tmp_path, frames)
    manifest = compilation.bundle.manifest
    assert (manifest.input.kind, manifest.input.shape) == ("array", (6,))
    assert [layer.kind for layer in manifest.norm_layers] == ["channel"]
    outputs_agree(compilation, perceptron(), frames, frames)
