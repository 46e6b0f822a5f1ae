"""What cannot become a bundle is refused with what was found and what to do; nothing is written."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgeadapt.errors import CompileError
from edgeadapt_models.compile.graph.inputs import Preprocessing
from edgeadapt_models.compile.own import parse_classes
from edgeadapt_models.compile.source.onnx_file import Chosen, read_onnx
from tests.models.compile.foreign import norms
from tests.models.compile.foreign.builder import Net, compiled, pictures
from tests.models.compile.foreign.test_files import BIAS, FIRST, HEAD, KERNEL, small


def _edited(change: Callable[[onnx.ModelProto], None]) -> onnx.ModelProto:
    model = small()
    change(model)
    return model


def _opset(version: int) -> Callable[[onnx.ModelProto], None]:
    def change(model: onnx.ModelProto) -> None:
        model.opset_import[0].version = version

    return change


def _nan(model: onnx.ModelProto) -> None:
    value = numpy_helper.to_array(model.graph.initializer[0]).copy()
    value[0, 0, 0, 0] = np.nan
    model.graph.initializer[0].CopyFrom(numpy_helper.from_array(value, "kernel"))
    model.graph.node[0].input[1] = "kernel"


def _infinite(model: onnx.ModelProto) -> None:
    tensor = next(t for t in model.graph.initializer if t.name == model.graph.node[1].input[3])
    tensor.CopyFrom(numpy_helper.from_array(np.full(8, -np.inf, np.float32), tensor.name))


def _two_inputs(model: onnx.ModelProto) -> None:
    model.graph.input.append(helper.make_tensor_value_info("mask", TensorProto.FLOAT, ["n", 1]))


def _own_operator(model: onnx.ModelProto) -> None:
    model.graph.node[2].op_type, model.graph.node[2].domain = "QuickGelu", "com.microsoft"
    model.opset_import.append(helper.make_opsetid("com.microsoft", 1))


def _training(model: onnx.ModelProto) -> None:
    node = model.graph.node[1]
    node.attribute.append(helper.make_attribute("training_mode", 1))
    node.output.extend(["running_mean", "running_var"])


def _no_norm(model: onnx.ModelProto) -> None:
    net = Net()
    out = net.op("Gemm", net.op("Flatten", "x"), net.const(np.ones((768, 5), np.float32)))
    model.CopyFrom(net.model({"x": ["n", 3, 16, 16]}, out))


def _batch_of_eight(model: onnx.ModelProto) -> None:
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 8


def _quantised(model: onnx.ModelProto) -> None:
    """As ONNX Runtime's own tool does it: weights and activations through integers."""
    net = Net()
    scale, zero = net.const(np.array(0.02, np.float32)), net.const(np.array(128, np.uint8))
    rounded = net.op("DequantizeLinear", net.op("QuantizeLinear", "x", scale, zero), scale, zero)
    x = norms.batch(net, net.op("Conv", rounded, net.const(KERNEL)), FIRST)
    pooled = net.op("Flatten", net.op("GlobalAveragePool", x))
    model.CopyFrom(net.model({"x": ["n", 3, 16, 16]}, net.op("Gemm", pooled, net.const(HEAD))))


def _words(model: onnx.ModelProto) -> None:
    model.graph.input[0].type.tensor_type.elem_type = TensorProto.INT32


def _over_the_batch(model: onnx.ModelProto) -> None:
    net = Net()
    x = norms.batch(net, net.op("Conv", "x", net.const(KERNEL)), FIRST)
    pooled = net.op("Flatten", net.op("GlobalAveragePool", x))
    centred = net.op("Sub", pooled, net.mean(pooled, [0]))
    model.CopyFrom(net.model({"x": ["n", 3, 16, 16]}, net.op("Gemm", centred, net.const(HEAD))))


def _control_flow(model: onnx.ModelProto) -> None:
    net = Net()
    x = norms.batch(net, net.op("Conv", "x", net.const(KERNEL)), FIRST)
    bright = net.op("Greater", net.mean(x, [0, 1, 2, 3], keepdims=0), net.const(np.array(0.5, np.float32)))
    branches = {}
    for name in ("then_branch", "else_branch"):
        body = helper.make_node("Identity", [x], [name])
        info = helper.make_tensor_value_info(name, TensorProto.FLOAT, None)
        branches[name] = helper.make_graph([body], name, [], [info])
    y = net.op("If", bright, **branches)
    out = net.op("Gemm", net.op("Flatten", net.op("GlobalAveragePool", y)), net.const(HEAD))
    model.CopyFrom(net.model({"x": ["n", 3, 16, 16]}, out))


def _output(kind: str) -> Callable[[onnx.ModelProto], None]:
    """A model whose output is no logits."""

    def change(model: onnx.ModelProto) -> None:
        net = Net()
        x = net.op("Relu", norms.batch(net, net.op("Conv", "x", net.const(KERNEL)), FIRST))
        flat = net.op("Flatten", net.op("GlobalAveragePool", x))
        logits = net.op("Gemm", flat, net.const(HEAD), net.const(BIAS))
        outputs: tuple[str, ...] = (logits,)
        if kind == "map":
            outputs = (net.op("Conv", x, net.const(HEAD.T[:, :, None, None])),)
        elif kind == "boxes":
            boxes = net.op("Reshape", x, net.shape(0, -1, 4))
            outputs = (boxes, net.op("Reshape", x, net.shape(0, -1, 7)))
        elif kind == "one":
            outputs = (net.op("Sigmoid", net.op("Gemm", flat, net.const(HEAD[:, :1]))),)
        elif kind == "number":
            outputs = (net.op("ArgMax", logits, axis=1),)
        elif kind == "twins":
            outputs = (logits, net.op("Gemm", flat, net.const(HEAD)))
        elif kind == "probabilities":  # a softmax in elementary operators
            power = net.op("Exp", logits)
            total = net.op("ReduceSum", power, net.const(np.array([1], np.int64)))
            outputs = (net.op("Div", power, total),)
        model.CopyFrom(net.model({"x": ["n", 3, 16, 16]}, *outputs))
        if kind == "number":
            model.graph.output[0].type.tensor_type.elem_type = TensorProto.INT64

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_opset(12), r"opset 12; 13 to 21 can be compiled: convert it with onnx\.version_converter"),
        (_opset(22), r"opset 22; 13 to 21"),
        (_nan, "kernel holds NaN"),
        (_infinite, "NaN or infinity"),
        (_two_inputs, "must have one input, this one has: 'x', 'mask'"),
        (_own_operator, r"com\.microsoft\.QuickGelu, an operator of one runtime only"),
        (_training, "export the model in eval mode"),
        (_no_norm, "no norm layer and no convolution.*found: Flatten x1, Gemm x1"),
        (_quantised, r"quantised already \(QuantizeLinear and 1 more\).*Give the float model.*--int8"),
        (_words, "input 'x' is int32; it must be float or uint8"),
        (_batch_of_eight, "batches of 8 only"),
        (_over_the_batch, "depends on what else is in the batch"),
        (_control_flow, "holds If .*control flow cannot be compiled"),
        (_output("map"), r"returns no logits \[N, K\].*\[1, 5, 14, 14\].*Detection, segmentation"),
        (_output("boxes"), r"returns no logits \[N, K\].*\[1, 392, 4\].*\[1, 224, 7\]"),
        (_output("number"), r"number of a class .*--logits gemm_13"),
        (_output("one"), "returns one number.*two logits"),
        (_output("twins"), r"several outputs that may be the logits.*name one \(--logits\)"),
        (_output("probabilities"), "returns probabilities.*without its softmax"),
    ],
)
def test_models(change: Callable[[onnx.ModelProto], None], message: str, tmp_path: Path) -> None:
    model = _edited(change)
    with pytest.raises(CompileError, match=f"(?s){message}"):
        compiled(model, tmp_path)
    assert not (tmp_path / "bundle").exists()


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({"classes": ("a", "b", "c")}, "5 outputs, but 3 class names"),
        ({"shape": (3, 20, 20)}, r"takes float \[N, 3, 16, 16\] \(NCHW\), not inputs of shape \(3, 20, 20\)"),
        ({"chosen": Chosen(logits="nothing")}, "has no tensor 'nothing'; its outputs are"),
        (
            {"chosen": Chosen(embedding="conv_2")},
            r"embedding is of shape \[2, 8, 14, 14\].*behind the pooling",
        ),
        ({"chosen": Chosen(embedding="gemm_13")}, "'gemm_13' holds the logits"),
        ({"chosen": Chosen(layout="NHWC")}, r"\(NHWC\), not inputs"),
        ({"chosen": Chosen(preprocessing=Preprocessing(mean=(0.5,)))}, "mean has 1 values.*3 channels"),
        ({"calibration": Path("nowhere")}, "neither a folder nor"),
    ],
)
def test_what_is_said_must_fit(said: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(CompileError, match=message):
        compiled(small(), tmp_path, **said)
    assert not (tmp_path / "bundle").exists()


def test_frames_must_fit_the_model(tmp_path: Path) -> None:
    with pytest.raises(CompileError, match=r"takes float \[N, 3, 16, 16\]"):
        compiled(small(), tmp_path, pictures(4, (20, 20, 3)))
    with pytest.raises(CompileError, match="at least 2"):
        compiled(small(), tmp_path, pictures(1))
    with pytest.raises(CompileError, match="NaN or infinity"):
        compiled(small(), tmp_path, np.full((3, 3, 16, 16), np.nan, np.float32))


@pytest.mark.parametrize("factor", [{"std": (0.0,)}, {"scale": 0.0}, {"mean": (float("inf"),)}])
def test_factors_that_cannot_be(factor: dict[str, Any]) -> None:
    with pytest.raises(CompileError, match="must be finite"):
        Preprocessing(**factor)


def test_files_that_are_no_model(tmp_path: Path) -> None:
    data = small().SerializeToString()
    bad = {"text": b"# not a model\n", "empty": b"", "short": data[: len(data) // 2], "noise": b"\xff" * 50}
    for name, content in bad.items():
        path = tmp_path / name
        path.write_bytes(content)
        with pytest.raises(CompileError, match="is no ONNX model, or is cut short"):
            read_onnx(path)
    with pytest.raises(CompileError, match="cannot be read"):
        read_onnx(tmp_path / "missing")


def test_missing_external_data(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    onnx.save(small(), path, save_as_external_data=True, location="weights.bin", size_threshold=0)
    (tmp_path / "weights.bin").unlink()
    with pytest.raises(CompileError, match=r"weights in other files.*put them beside it"):
        read_onnx(path)


def test_class_names(tmp_path: Path) -> None:
    listed = tmp_path / "classes.txt"
    listed.write_text("cat\ndog\n\n fox \n")
    assert parse_classes(str(listed)) == ("cat", "dog", "fox") == parse_classes("cat, dog,fox")
    for text, message in (("a,b,a", "must differ: a"), (" , ", "no class names")):
        with pytest.raises(CompileError, match=message):
            parse_classes(text)
    # Longer than a file's name may be, and than a path.
    for count in (60, 2000):
        many = tuple(f"kind {number}" for number in range(count))
        assert parse_classes(", ".join(many)) == many
    listed.write_bytes(b"\xff\xfe")
    with pytest.raises(CompileError, match="cannot be read as class names"):
        parse_classes(str(listed))
