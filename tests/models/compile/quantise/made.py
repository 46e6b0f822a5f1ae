"""int8 artifacts of nets, and what tests ask of them."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import onnxruntime

from edgeadapt.bundle import SlotValues, materialise
from edgeadapt_models.compile.quantise.artifact import QuantisedModel, quantised_artifact
from edgeadapt_models.compile.quantise.graph import FloatArtifact
from tests.models.compile.quantise.nets import Net, noise, patched, run

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
